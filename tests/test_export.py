"""Exports: equal to their source, verified before they are written, refused where they differ or lose too much."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from data_fixtures import voc
from export_fixtures import SMALL
from singleshot.cli.main import run
from singleshot.commands import export
from singleshot.commands.export import export_model
from singleshot.commands.options import ExportOptions
from singleshot.errors import DataError, ModelError, RequestError, VerificationError
from singleshot.export import onnx_graph
from singleshot.export import source as source_module
from singleshot.export.calibration import CalibrationData
from singleshot.export.detection_graph import detection_graph
from singleshot.export.openvino_ir import to_openvino
from singleshot.export.source import NetworkSource
from singleshot.export.verify import images_to_verify_on, verify
from singleshot.models.ssd import SSD
from singleshot.photographs import CHELSEA
from singleshot.runtime.backends import load_engine
from singleshot.runtime.detector import Detector
from singleshot.runtime.engine import RAW
from singleshot.runtime.openvino_core import core
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.spec import ModelSpec, Postprocess
from singleshot.variants import MULTIBOX_MOBILENETV2, SSD300_MOBILENETV1, SSD300_VGG16, SSDLITE320_MOBILENETV2
from singleshot.weights.build import load_network, save_network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx
    import openvino


@pytest.mark.parametrize(
    ("spec", "engine"),
    [
        (replace(SSD300_VGG16, width=1 / 16), "onnx"),
        (replace(SSD300_MOBILENETV1, width=1 / 4), "openvino"),
        (SSDLITE320_MOBILENETV2.with_input_size(96, 128), "openvino"),
        (replace(MULTIBOX_MOBILENETV2, width=1 / 4), "openvino"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_family_can_be_exported(spec: ModelSpec, engine: str, tmp_path: Path) -> None:
    save_network(tmp_path / "source", SSD(spec), card="")
    done = export_model(ExportOptions(out=tmp_path / "out", model=str(tmp_path / "source"), format=engine))
    assert done.differences.images == 4
    assert len(Detector.load(tmp_path / "out")(CHELSEA.path)) > 0


def test_half_precision_halves_the_file(source: Path, exported: Path, tmp_path: Path) -> None:
    export_model(ExportOptions(out=tmp_path / "half", model=str(source), precision="bf16"))
    assert (tmp_path / "half/model.bin").stat().st_size < 0.6 * (exported / "model.bin").stat().st_size
    assert len(Detector.load(tmp_path / "half")(CHELSEA.path)) > 0


def test_int8_is_measured_and_judged_on_the_users_images(
    source: Path,
    exported: Path,
    labelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "MAX_MAP_DROP", 1.0)  # of an untrained network on two images
    arguments = ["export", str(source), "--precision", "int8", "--out", str(tmp_path / "int8")]
    assert run(arguments) == 2
    assert "--calibrate DATA" in capsys.readouterr().err
    assert run([*arguments, "--calibrate", str(labelled), "--json", str(tmp_path / "j.json")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("mAP ")
    assert told[0].endswith("points), on 2 images, a fifth held out")
    figures = json.loads((tmp_path / "j.json").read_text())
    assert told[1].startswith(f"on 4 photographs it finds {figures['matched']} of its source's {figures['detections']}")
    assert 0 < figures["matched"] <= figures["detections"]
    assert 0 < figures["matched_pixels"] <= figures["pixels"]
    assert figures["mAP_images"] == figures["mAP_pictures"] == 2
    assert (tmp_path / "int8/model.bin").stat().st_size < 0.4 * (exported / "model.bin").stat().st_size
    assert len(Detector.load(tmp_path / "int8")(CHELSEA.path)) > 0


def test_an_export_that_loses_too_much_is_not_left_behind(
    source: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_MAP_DROP", -2.0)
    with pytest.raises(VerificationError, match="max-map-drop"):
        export_model(ExportOptions(out=tmp_path / "out", model=str(source), calibrate=str(labelled)))
    assert not (tmp_path / "out").exists()


def test_images_of_other_things_do_not_calibrate(source: Path, tmp_path: Path) -> None:
    others = voc(tmp_path / "others", {f"p{i}": [("bus", (2, 3, 20, 22))] for i in range(12)})
    with pytest.raises(DataError, match="cat, dog"):
        export_model(ExportOptions(out=tmp_path / "out", model=str(source), precision="int8", calibrate=str(others)))


def test_the_graph_tells_others_what_it_is(exported: Path) -> None:
    graph = core().read_model(exported / "model.xml")
    told = json.loads(graph.get_rt_info("singleshot").astype(str))
    assert told["class_names"] == ["cat", "dog"]
    assert told["preprocess"]["mean_rgb"] == [123, 117, 104]
    assert graph.input("images").partial_shape.to_string() == "[?,40,56,3]"


def test_an_export_that_differs_is_not_left_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        source_module, "to_openvino", lambda network, **how: to_openvino(SSD(network.spec, seed=4), **how)
    )
    with pytest.raises(VerificationError, match="differs"):
        export_model(ExportOptions(out=tmp_path / "out", model=str(source)))
    assert not (tmp_path / "out").exists()
    maps = tuple(
        replace(one, aspect_ratios=tuple(ratio + 0.5 for ratio in one.aspect_ratios)) for one in SMALL.boxes.maps
    )

    def with_other_boxes(network: SSD, **how: str) -> openvino.Model:
        other = SSD(replace(network.spec, boxes=replace(SMALL.boxes, maps=maps)))
        other.load_state_dict(network.state_dict())
        return to_openvino(other, **how)

    monkeypatch.setattr(source_module, "to_openvino", with_other_boxes)
    with pytest.raises(VerificationError, match="default boxes"):
        export_model(ExportOptions(out=tmp_path / "out", model=str(source)))
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    def unexpected(stage: str) -> None:
        raise AssertionError(stage)

    with pytest.raises(RequestError, match="file/out"):
        export_model(ExportOptions(out=tmp_path / "file/out", model=str(source)), on_stage=unexpected)


def test_wrong_requests_are_one_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    for arguments, message in (
        (["--format", "openvin"], "openvino"),
        (["--precision", "fp16"], "fp16"),
        (["--out", str(source)], "--out"),
    ):
        code = run(["export", str(source), *(["--out", out] if "--out" not in arguments else []), *arguments])
        error = capsys.readouterr().err
        assert code == 2
        assert message in error
        assert error.count("\n") == 1
    assert load_file(source / "model.safetensors")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
@pytest.mark.parametrize(
    "settings",
    [Postprocess(top_k=5, keep_top_k=7), Postprocess(top_k=-1, keep_top_k=-1, nms_threshold=0.7), Postprocess(0.9999)],
    ids=["few", "all", "nothing"],
)
def test_the_limits_are_in_the_graph(source: Path, engine: str, settings: Postprocess, tmp_path: Path) -> None:
    network = load_network(source)
    network.spec = replace(network.spec, postprocess=settings)
    save_network(tmp_path / "source", network, card="")
    export_model(ExportOptions(out=tmp_path / "out", model=str(tmp_path / "source"), format=engine))
    image = [CHELSEA.pixels()]
    engine_found = load_engine(tmp_path / "out")(image)[0]
    expected = TorchBackend(network, torch.device("cpu"))(image)[0]
    assert len(engine_found) == len(expected)
    assert (len(expected) == 0) == (settings.score_threshold > 0.9)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_raw_heads_leave_nms_to_others(source: Path, exported: Path, engine: str, tmp_path: Path) -> None:
    assert run(["export", str(source), "--format", engine, "--raw", "--out", str(tmp_path / "raw")]) == 0
    assert set(load_engine(tmp_path / "raw").outputs([CHELSEA.pixels()])) == {
        "offsets", "probabilities", "default_boxes",
    }  # fmt: skip
    assert Detector.load(tmp_path / "raw")(CHELSEA.path).names == Detector.load(exported)(CHELSEA.path).names


def test_nms_that_finds_other_things_is_not_left_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limits, message in (
        ({"keep_top_k": 3}, r"NMS in the export keeps \[3, 3, 3, 3\] boxes of the images, ours \["),
        ({"nms_threshold": 0.2}, "NMS in the export "),
        ({"top_k": 5}, r"NMS in the export keeps "),
    ):

        def with_other_limits(spec: ModelSpec, boxes: np.ndarray, *, to: Any = limits, **rest: int) -> onnx.ModelProto:
            return detection_graph(replace(spec, postprocess=replace(spec.postprocess, **to)), boxes, **rest)

        monkeypatch.setattr(onnx_graph, "detection_graph", with_other_limits)
        with pytest.raises(VerificationError, match=message):
            export_model(ExportOptions(out=tmp_path / "out", model=str(source), format="onnx"))
    assert not (tmp_path / "out").exists()


def test_torch_runs_its_package_without_us(source: Path, tmp_path: Path) -> None:
    done = export_model(ExportOptions(out=tmp_path / "program", model=str(source), format="torch"))
    assert done.differences.score < 1e-5
    program = torch.export.load(tmp_path / "program/model.pt2").module()
    offsets, probabilities = program(torch.zeros(3, 40, 56, 3, dtype=torch.uint8))
    assert offsets.shape[0] == probabilities.shape[0] == 3
    with pytest.raises(ModelError, match="torch"):
        Detector.load(tmp_path / "program")


def test_machine_code_runs_without_us(source: Path, tmp_path: Path) -> None:
    exported = export_model(ExportOptions(out=tmp_path / "code", model=str(source), format="aotinductor"))
    assert exported.differences.score < 1e-4
    run_compiled = torch._inductor.aoti_load_package(str(tmp_path / "code/model.pt2"))
    offsets, probabilities = run_compiled(torch.zeros(3, 40, 56, 3, dtype=torch.uint8))
    assert offsets.shape[0] == probabilities.shape[0] == 3


@pytest.mark.parametrize("part", [0, 1], ids=["offsets", "probabilities"])
def test_not_a_number_is_never_equal(source: Path, part: int) -> None:
    """Even where the source has the same number in every other place, and whatever the precision allows."""
    network = load_network(source)
    images = images_to_verify_on()
    raw = [array.copy() for array in NetworkSource(network).raw_outputs(images)]
    best = int(raw[1][0, :, 1:].max(axis=1).argmax())
    raw[part][0, best, -1] = np.nan

    def outputs(_images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(RAW, (*raw, network.default_boxes.numpy()), strict=True))

    with pytest.raises(VerificationError, match="inf"):
        verify(outputs, NetworkSource(network), images, "bf16")


def test_int8_is_calibrated_on_other_images_than_it_is_evaluated_on(labelled: Path) -> None:
    data = CalibrationData.open(str(labelled), SMALL)
    assert len(data.calibration) + len(data.validation) == 12
    assert not set(data.calibration.files) & set(data.validation.files)


def test_calibration_images_are_spread_over_the_whole_set(tmp_path: Path) -> None:
    images = {f"p{i:02d}": [("cat", (2, 3, 20, 22))] for i in range(9)}
    folder = voc(tmp_path / "set", images, {"train": sorted(images)[:7], "val": sorted(images)[7:]})
    for i in range(9):
        Image.new("RGB", (40, 30), (25 * i, 0, 0)).save(folder / f"JPEGImages/p{i:02d}.png")
    inputs = CalibrationData.open(str(folder), SMALL).calibration_images((8, 8), most=3)
    assert [int(image[0, 0, 0, 0]) for image in inputs] == [0, 75, 150]
