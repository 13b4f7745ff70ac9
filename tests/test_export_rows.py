"""`ssd export --outputs rows`: an engine gives the rows that `ClassicRows` makes of what the network says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch

from export_fixtures import SMALL
from singleshot.cli.main import run
from singleshot.commands import export
from singleshot.commands.export import export_model
from singleshot.commands.options import ExportOptions
from singleshot.errors import VerificationError
from singleshot.export import engine_graph
from singleshot.export import source as export_source
from singleshot.export.openvino_ir import to_openvino
from singleshot.photographs import PHOTOGRAPHS
from singleshot.preprocess import to_network_input
from singleshot.runtime.backends import load_engine
from singleshot.runtime.detector import Detector
from singleshot.runtime.openvino_core import core, opset9
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.train.classic import ClassicRows
from singleshot.weights.build import load_network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import openvino

    from singleshot.models.ssd import SSD

C = SMALL.num_classes
IMAGES = [photograph.pixels() for photograph in PHOTOGRAPHS[:3]]


def classic_rows(network: SSD) -> np.ndarray:
    inputs = [to_network_input(image, SMALL.input_size_hw, SMALL.preprocess) for image in IMAGES]
    with torch.inference_mode():
        rows: np.ndarray = ClassicRows(network).of(network(torch.from_numpy(np.stack(inputs)))).numpy()
    return rows


def resized() -> np.ndarray:
    import cv2

    height, width = SMALL.input_size_hw
    return np.stack([cv2.resize(image, (width, height)) for image in IMAGES])


def by_onnxruntime(folder: Path) -> Sequence[np.ndarray]:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].name == "rows"
    return session.run(None, {"images": resized()})  # type: ignore[no-any-return]


def by_openvino(folder: Path) -> Sequence[np.ndarray]:
    compiled = core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert compiled.outputs[0].any_name == "rows"
    return list(compiled(resized()).values())


def by_torch(folder: Path) -> Sequence[np.ndarray]:
    with torch.inference_mode():
        return [
            value.numpy() for value in torch.export.load(folder / "model.pt2").module()(torch.from_numpy(resized()))
        ]


@pytest.mark.parametrize(
    ("engine", "results"), [("onnx", by_onnxruntime), ("openvino", by_openvino), ("torch", by_torch)]
)
def test_the_first_result_is_classic_rows_of_the_network(
    source: Path, engine: str, results: Callable[[Path], Sequence[np.ndarray]], tmp_path: Path
) -> None:
    """As other programs run the file, without us; our Detector runs it, too."""
    out = tmp_path / "out"
    arguments = ["export", str(source), "--format", engine, "--outputs", "rows", "--out", str(out)]
    assert run([*arguments, "--json", str(tmp_path / "j.json")]) == 0
    assert json.loads((tmp_path / "j.json").read_text())["outputs"] == "rows"
    network = load_network(source)
    rows = results(out)[0]
    assert rows.shape == (3, len(network.default_boxes), C + 4 + 8)
    np.testing.assert_allclose(rows, classic_rows(network), atol=1e-4)
    np.testing.assert_array_equal(rows[1, :, C + 4 : C + 8], network.default_boxes.numpy())
    np.testing.assert_array_equal(
        rows[2, :, C + 8 :], np.broadcast_to(np.float32([0.1, 0.1, 0.2, 0.2]), rows[2, :, :4].shape)
    )
    assert "`rows`, the first result" in (out / "README.md").read_text()
    if engine != "torch":
        expected = TorchBackend(network, torch.device("cpu"))(IMAGES)
        assert [len(found) for found in Detector.load(out)(IMAGES)] == [len(found) for found in expected]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_boxes_and_variances_keep_all_digits_at_a_lower_precision(
    source: Path, labelled: Path, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_MAP_DROP", 1.0)  # of an untrained network on two images
    export_model(
        ExportOptions(
            out=tmp_path / "out", model=str(source), precision=precision, calibrate=str(labelled), outputs="rows"
        )
    )
    results = load_engine(tmp_path / "out").outputs(IMAGES)
    rows = results["rows"]
    np.testing.assert_array_equal(rows[0, :, C + 4 : C + 8], load_network(source).default_boxes.numpy())
    np.testing.assert_array_equal(rows[..., :C], results["probabilities"])
    np.testing.assert_array_equal(rows[..., C : C + 4], results["offsets"])


def with_offsets_first(network: SSD, **how: str) -> openvino.Model:
    """The order of some other port."""
    model = to_openvino(network, **how)
    rows = model.output("rows").get_node()
    places = [*range(C, C + 4), *range(C), *range(C + 4, C + 12)]
    shuffled = opset9.gather(rows.input_value(0), opset9.constant(np.array(places)), opset9.constant(2))
    rows.input(0).replace_source_output(shuffled.output(0))
    return model


def test_rows_that_say_something_else_are_not_left_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_source, "to_openvino", with_offsets_first)
    with pytest.raises(VerificationError, match=r"the rows of the export hold other numbers .*; it was not kept"):
        export_model(ExportOptions(out=tmp_path / "out", model=str(source), outputs="rows"))
    assert not (tmp_path / "out").exists()


def test_rows_with_other_variances_are_not_left_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shifted(engine_graph.EngineGraph):
        def __init__(self, network: SSD, *, rows: bool = False) -> None:
            super().__init__(network, rows=rows)
            self.boxes_and_variances[:, 4:] = 0.2

    monkeypatch.setattr(engine_graph, "EngineGraph", Shifted)
    with pytest.raises(VerificationError, match="the rows of the export hold other numbers"):
        export_model(ExportOptions(out=tmp_path / "out", model=str(source), format="onnx", outputs="rows"))
    assert not (tmp_path / "out").exists()


def test_what_is_asked_for_is_one_thing(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(source), "--out", str(tmp_path / "out")]
    for arguments, message in (
        (["--outputs", "row"], "rows"),
        (["--raw", "--outputs", "rows"], "--raw"),
    ):
        assert run([*command, *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
