from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from singleshot.cli.main import run
from singleshot.errors import UnknownNameError
from singleshot.models.ssd import SSD
from singleshot.runtime.detector import Detector
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from pathlib import Path

SPEC = SSDLITE320_MOBILENETV2.with_input_size(64, 64)
CPU = torch.device("cpu")


@pytest.fixture
def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(3)]


@pytest.fixture
def as_compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], list[int]]]:
    """Stands in for torch.compile, which takes a minute: notes how it was called and with batches of what sizes."""
    calls: list[tuple[dict[str, Any], list[int]]] = []

    def compiled(network: SSD, **options: Any) -> Any:
        sizes: list[int] = []
        calls.append((options, sizes))

        def forward(inputs: torch.Tensor) -> Any:
            assert inputs.is_contiguous(memory_format=torch.channels_last)
            sizes.append(len(inputs))
            return network(inputs)

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    return calls


def test_bf16_finds_nearly_the_same(images: list[np.ndarray]) -> None:
    inputs = torch.rand(2, 3, 64, 64)
    exact = TorchBackend(SSD(SPEC, seed=0), CPU).predict(inputs)
    half = TorchBackend(SSD(SPEC, seed=0), CPU, precision="bf16").predict(inputs)
    assert half.logits.dtype == torch.bfloat16
    torch.testing.assert_close(half.logits.float(), exact.logits, rtol=0.05, atol=0.05)
    assert not torch.equal(half.logits.float(), exact.logits)
    assert len(TorchBackend(SSD(SPEC, seed=0), CPU, precision="bf16")(images)) == 3


def test_compiled_batches_are_filled_up_and_cut_again(
    images: list[np.ndarray], as_compiled: list[tuple[dict[str, Any], list[int]]]
) -> None:
    expected = TorchBackend(SSD(SPEC, seed=0), CPU)(images)
    backend = TorchBackend(SSD(SPEC, seed=0), CPU, compiled=True)
    detections = backend(images)
    backend(images[:1])
    backend(images[:2])
    ((options, sizes),) = as_compiled
    assert options == {"mode": "reduce-overhead", "dynamic": False}
    assert sizes == [4, 1, 2]
    assert len(detections) == len(expected) == 3
    for compiled, plain in zip(detections, expected, strict=True):
        np.testing.assert_allclose(compiled.scores, plain.scores, atol=1e-6)


def test_another_precision_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="fp64"):
        TorchBackend(SSD(SPEC, seed=0), CPU, precision="fp64")


def test_precision_and_compile_are_asked_for_by_the_command(
    tmp_path: Path,
    as_compiled: list[tuple[dict[str, Any], list[int]]],
    capsys: pytest.CaptureFixture[str],
    images: list[np.ndarray],
) -> None:
    import cv2

    save_network(tmp_path / "model", SSD(SPEC, seed=0), card="")
    cv2.imwrite(str(tmp_path / "a.png"), images[0])
    command = ["detect", str(tmp_path / "a.png"), "--model", str(tmp_path / "model")]
    assert run([*command, "--precision", "bf16", "--compile"]) == 0
    assert [sizes for _, sizes in as_compiled] == [[1]]
    assert run([*command, "--precision", "int4"]) == 2
    assert "int4" in capsys.readouterr().err


def test_an_export_keeps_its_own_precision(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "export"
    assert run(["export", "ssdlite320-mobilenetv2", "--out", str(out)]) == 0
    assert run(["detect", "README.md", "--model", str(out), "--precision", "bf16"]) == 2
    assert "ssd export --precision" in capsys.readouterr().err


def test_a_shipped_model_runs_in_bf16_too() -> None:
    assert isinstance(Detector.load(precision="bf16").backend, TorchBackend)
