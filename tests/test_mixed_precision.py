"""Mixed precision: the layers that cost the most accuracy stay at a higher precision."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from data_fixtures import voc
from singleshot.cli.main import run
from singleshot.errors import VerificationError
from singleshot.export import calibration, quantizer
from singleshot.export.calibration import AccuracyDrop
from singleshot.export.mixed_precision import choose_high_precision, layers_by_block
from singleshot.export.openvino_ir import layer_names, serialised, to_openvino
from singleshot.models.ssd import SSD
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPEC = SSDLITE320_MOBILENETV2.with_input_size(64, 64)


@pytest.fixture(scope="module")
def network() -> SSD:
    return SSD(SPEC, seed=0).eval()


def test_a_block_is_all_its_convolutions() -> None:
    names = ["backbone.stem", "backbone.block2.expand", "backbone.block2.depthwise", "heads.location.last.pointwise"]
    assert layers_by_block(names) == {
        "backbone.stem": ("backbone.stem",),
        "backbone.block2": ("backbone.block2.expand", "backbone.block2.depthwise"),
        "heads.location.last": ("heads.location.last.pointwise",),
    }


def test_all_uses_of_a_shared_layer_are_one_block() -> None:
    names = ["heads.tower.0.pointwise", "heads.tower.0.pointwise@2", "heads.other@2"]
    assert layers_by_block(names) == {"heads.tower.0": tuple(names[:2]), "heads.other": ("heads.other@2",)}


class Harm:
    """An export whose error and loss of mAP are the sums of what its lowered layers cost."""

    def __init__(self, **harm: float) -> None:
        self.harm = harm
        self.built: list[tuple[str, ...]] = []

    def error(self, high_precision: Sequence[str]) -> float:
        return sum(harm for name, harm in self.harm.items() if name not in high_precision)

    def build(self, high_precision: Sequence[str]) -> dict[str, bytes]:
        self.built.append(tuple(high_precision))
        return {"mAP": json.dumps(0.9 - self.error(high_precision)).encode()}

    def high_precision(self, min_map: float) -> tuple[str, ...]:
        return choose_high_precision(
            list(self.harm),
            min_map=min_map,
            build=self.build,
            error=self.error,
            mean_ap=lambda files: float(json.loads(files["mAP"])),
            on_stage=lambda _stage: None,
        ).blocks


def test_all_layers_are_lowered_where_little_is_lost() -> None:
    harm = Harm(a=0.001, b=0.002)
    assert harm.high_precision(0.89) == ()
    assert harm.built == [()]


def test_the_most_harmful_blocks_come_first_twice_as_many_each_time() -> None:
    harm = Harm(a=0.001, b=0.05, c=0.002, d=0.03, e=0.04)
    assert harm.high_precision(0.86) == ("b", "e")
    assert harm.built == [(), ("b",), ("b", "e")]


def test_a_drop_that_half_of_the_blocks_cannot_mend_is_refused() -> None:
    harm = Harm(a=0.1, b=0.1, c=0.1, d=0.1)
    with pytest.raises(VerificationError, match="2 of 4 blocks"):
        harm.high_precision(0.75)
    assert len(harm.built) == 3


def test_layers_bear_the_networks_own_names(network: SSD) -> None:
    graph = to_openvino(network)
    modules = dict(network.named_modules())
    layers = {layer.get_friendly_name(): layer for layer in graph.get_ops()}
    names = layer_names(graph)
    assert len(names) == len(set(names)) == sum(isinstance(one, torch.nn.Conv2d) for one in modules.values())
    for name in names:
        module = modules.get(f"{name}.convolution", modules.get(name))
        assert isinstance(module, torch.nn.Conv2d)
        assert np.prod(layers[name].input_value(1).get_shape()) == module.weight.numel()


def test_high_precision_layers_compute_in_fp32(network: SSD) -> None:
    """Every block alone: the engine fuses sums of residual blocks into convolutions, which must agree with them."""
    graph = to_openvino(network)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

    def offsets(precision: str, high_precision: Sequence[str]) -> np.ndarray:
        files = serialised(graph, high_precision=high_precision)
        backend = OpenVINOBackend(SPEC, files, precision=precision, origin="a test")
        return backend.predict([image])[0].copy()

    exact, half = offsets("fp32", ()), offsets("bf16", ())
    if np.array_equal(exact, half):
        pytest.skip("this processor has no bf16")
    for layers in layers_by_block(layer_names(graph)).values():
        assert np.isfinite(offsets("bf16", layers)).all()
    everything = offsets("bf16", layer_names(graph))
    assert np.abs(everything - exact).max() < 0.1 * np.abs(half - exact).max()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_the_command_raises_precision_until_the_drop_is_small_enough(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: SSD, capsys: pytest.CaptureFixture[str]
) -> None:
    """mAP of an untrained network is 0 whatever is done to it, so its errors stand in for it."""
    images = {"a": [("cat", (5, 5, 25, 20))], "b": [("cat", (2, 2, 30, 28))]}
    data = voc(tmp_path / "set", images, {"train": ["a"], "val": ["b"]})
    save_network(tmp_path / "model", network, card="")
    figures = iter([0.9, 0.7, 0.8, 0.88])
    monkeypatch.setattr(calibration.CalibrationData, "mean_ap", lambda _self, _backend, **_named: next(figures))
    monkeypatch.setattr(
        quantizer, "_relative_error", lambda results, exact: -float(np.abs(results[0] - exact[0]).max())
    )
    command = ["export", str(tmp_path / "model"), "--precision", precision, "--calibrate", str(data)]
    out = tmp_path / "out"
    assert run([*command, "--max-map-drop", "5", "--out", str(out), "--json", str(tmp_path / "x.json")]) == 0
    told = json.loads((tmp_path / "x.json").read_text())
    assert told["mAP_after"] == 0.88
    assert len(told["high_precision_layers"]) == 2
    assert "at a higher precision: " in (out / "README.md").read_text()
    assert f"at a higher precision: {told['high_precision_layers'][0]}" in " ".join(capsys.readouterr().out.split())
    assert run(["detect", str(data / "JPEGImages/a.png"), "--model", str(out)]) in (0, 2)


def test_what_may_be_lost_is_points_of_something_that_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "ssdlite320-mobilenetv2", "--out", str(tmp_path / "out"), "--max-map-drop", "0.5"]
    assert run([*command, "--precision", "bf16"]) == 2
    assert "--calibrate DATA" in capsys.readouterr().err
    assert run([*command[:-1], "-3", "--precision", "bf16", "--calibrate", str(tmp_path)]) == 2
    assert "0 to 100 points" in capsys.readouterr().err


def test_a_drop_counts_in_one_direction_only() -> None:
    AccuracyDrop(0.80, 0.90, 10, "split val").require_at_most(0.02)
    AccuracyDrop(0.50, 0.25, 10, "split val").require_at_most(0.25)
    with pytest.raises(VerificationError, match="max-map-drop"):
        AccuracyDrop(0.90, 0.80, 10, "split val").require_at_most(0.02)


def test_the_old_name_of_the_limit_still_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", "ssdlite320-mobilenetv2", "--out", str(tmp_path / "out"), "--precision", "bf16"]
    assert run([*command, "--most-lost", "0.5"]) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert "--max-map-drop" in note
    assert "--calibrate" in error
