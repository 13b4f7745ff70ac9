"""Exported models: equal to their source, verified before they are written, refused when damaged, free of torch."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
import torch
from safetensors.numpy import load_file

from data_fixtures import voc
from export_fixtures import SMALL
from singleshot.cli.main import run
from singleshot.errors import DataError, HashError, ModelError, PictureError, RequestError, VerificationError
from singleshot.export import export, onnx_graph
from singleshot.export.detection_graph import detection_graph
from singleshot.export.export import export_model
from singleshot.export.openvino_ir import to_openvino
from singleshot.models.ssd import SSD
from singleshot.photographs import CHELSEA, PHOTOGRAPHS
from singleshot.runtime.backends import load_backend, load_engine, start_engine
from singleshot.runtime.detector import Detector
from singleshot.runtime.onnx_backend import OnnxBackend
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.runtime.quiet_openvino import core
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.spec import (
    MULTIBOX_MOBILENETV2,
    SSD300_MOBILENETV1,
    SSD300_VGG16,
    SSDLITE320_MOBILENETV2,
    ModelSpec,
    Postprocess,
)
from singleshot.weights.build import load_network, save_network
from singleshot.weights.folder import read_export


def test_an_export_detects_what_its_source_detects(source: Path, engine_folder: Path) -> None:
    pictures = [photograph.pixels() for photograph in PHOTOGRAPHS]
    expected = TorchBackend(load_network(source), torch.device("cpu"))(pictures)
    engine = load_engine(engine_folder)
    assert engine.spec == SMALL
    for here, there in zip(engine(pictures), expected, strict=True):
        assert len(here) == len(there) > 0
        np.testing.assert_array_equal(np.sort(here.labels), np.sort(there.labels))
        np.testing.assert_allclose(here.scores, there.scores, atol=1e-5)
        # rows of equal score may have changed places
        np.testing.assert_allclose(np.sort(here.boxes_xyxy, axis=0), np.sort(there.boxes_xyxy, axis=0), atol=1e-4)


def test_a_batch_gives_what_its_pictures_give(engine_folder: Path) -> None:
    pictures = [photograph.pixels() for photograph in PHOTOGRAPHS[:3]]
    engine = load_engine(engine_folder)
    together = [array.copy() for array in engine.predict(pictures)]
    for place, picture in enumerate(pictures):
        for both, alone in zip(together, engine.predict([picture]), strict=True):
            np.testing.assert_allclose(both[place], alone[0], atol=1e-5)


def test_many_files_come_in_order_whatever_lane_they_took(engine_folder: Path, tmp_path: Path) -> None:
    paths = [photograph.path for photograph in PHOTOGRAPHS] * 2
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    detector = Detector(load_engine(engine_folder, threads=3), name="three lanes")
    found = list(detector.stream([*paths[:5], tmp_path / "bad.jpg", *paths[5:]]))
    assert isinstance(found.pop(5), PictureError)
    assert [item[0] for item in found if not isinstance(item, PictureError)] == paths
    for item in found[:3]:
        assert not isinstance(item, PictureError)
        expected = detector(item[0])
        np.testing.assert_array_equal(item[2].labels, expected.labels)
        np.testing.assert_allclose(item[2].scores, expected.scores, atol=1e-5)


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
    done = export_model(str(tmp_path / "source"), tmp_path / "out", engine=engine)
    assert done.differences.pictures == 4
    assert len(Detector.load(tmp_path / "out")(CHELSEA.path)) > 0


def test_half_precision_halves_the_file(source: Path, exported: Path, tmp_path: Path) -> None:
    export_model(str(source), tmp_path / "half", precision="bf16")
    assert (tmp_path / "half/model.bin").stat().st_size < 0.6 * (exported / "model.bin").stat().st_size
    assert len(Detector.load(tmp_path / "half")(CHELSEA.path)) > 0


def test_int8_is_measured_and_judged_on_the_users_pictures(
    source: Path,
    exported: Path,
    labelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "MOST_LOST", 1.0)  # of an untrained network on two pictures
    arguments = ["export", str(source), "--precision", "int8", "--out", str(tmp_path / "int8")]
    assert run(arguments) == 2
    assert "--calibrate DATA" in capsys.readouterr().err
    assert run([*arguments, "--calibrate", str(labelled), "--json", str(tmp_path / "j.json")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("mAP ")
    assert told[0].endswith("points), on 2 pictures, a fifth held out")
    assert told[1].startswith("single boxes differ, as lower precision rounds: at worst by ")
    figures = json.loads((tmp_path / "j.json").read_text())
    assert abs(figures["mAP_before"] - figures["mAP_after"]) <= 1
    assert (tmp_path / "int8/model.bin").stat().st_size < 0.4 * (exported / "model.bin").stat().st_size
    assert len(Detector.load(tmp_path / "int8")(CHELSEA.path)) > 0


def test_an_export_that_loses_too_much_is_not_left_behind(
    source: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MOST_LOST", -2.0)
    with pytest.raises(VerificationError, match=r"lost too much: mAP .*% before, .*; it was not kept"):
        export_model(str(source), tmp_path / "out", calibrate=str(labelled))
    assert not (tmp_path / "out").exists()


def test_pictures_of_other_things_do_not_calibrate(source: Path, tmp_path: Path) -> None:
    others = voc(tmp_path / "others", {f"p{i}": [("bus", (2, 3, 20, 22))] for i in range(12)})
    with pytest.raises(DataError, match="none of the model's classes: cat, dog"):
        export_model(str(source), tmp_path / "out", precision="int8", calibrate=str(others))


def test_the_graph_tells_others_what_it_is(exported: Path) -> None:
    graph = core().read_model(exported / "model.xml")
    told = json.loads(graph.get_rt_info("singleshot").astype(str))
    assert told["class_names"] == ["cat", "dog"]
    assert told["preprocess"]["mean_rgb"] == [123, 117, 104]
    assert graph.input("pictures").partial_shape.to_string() == "[?,40,56,3]"


def test_an_export_that_differs_is_not_left_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "to_openvino", lambda network, **how: to_openvino(SSD(network.spec, seed=4), **how))
    with pytest.raises(VerificationError, match=r"differs from its source: boxes by .* pixels .*; it was not kept"):
        export_model(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    maps = tuple(
        replace(one, aspect_ratios=tuple(ratio + 0.5 for ratio in one.aspect_ratios)) for one in SMALL.boxes.maps
    )

    def with_other_boxes(network: SSD, **how: str) -> openvino.Model:
        other = SSD(replace(network.spec, boxes=replace(SMALL.boxes, maps=maps)))
        other.load_state_dict(network.state_dict())
        return to_openvino(other, **how)

    monkeypatch.setattr(export, "to_openvino", with_other_boxes)
    with pytest.raises(VerificationError, match="other default boxes than its source"):
        export_model(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_export_is_refused(exported: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is exported as torch, which is not run here"):
        start_engine("torch", SMALL, {"model.pt2": b""}, precision="fp32", origin="it")
    for name in ("model.xml", "model.bin", "config.json"):
        shutil.copytree(exported, tmp_path / name)
        content = bytearray((exported / name).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / name / name).write_bytes(content)
        with pytest.raises(HashError, match=name):
            Detector.load(tmp_path / name)
    with pytest.raises(RequestError, match="exported for the processor"):
        Detector.load(exported, device="cuda")
    with pytest.raises(ModelError, match="exported for openvino; this needs the model it came from"):
        load_network(exported)
    with pytest.raises(ModelError, match="holds no exported model"):
        load_engine(source)


def test_a_graph_that_is_not_what_its_configuration_says(engine_folder: Path) -> None:
    configuration, files = read_export(engine_folder)
    assert configuration.export is not None
    for other in (replace(SMALL, class_names=("cat",)), replace(SMALL, input_size_hw=(40, 57))):
        with pytest.raises(ModelError, match=r"does not fit its config.json: expected pictures"):
            start_engine(configuration.export.engine, other, files, precision="fp32", origin="it")


def test_a_graph_that_contradicts_itself_is_refused_and_not_run(exported: Path, tmp_path: Path) -> None:
    """OpenVINO reads a view of 96 values as 24, and then writes past the end of its memory."""
    folder = shutil.copytree(exported, tmp_path / "made-up")
    graph = (folder / "model.xml").read_text()
    changed = graph.replace('strides="2, 2"', 'strides="1, 1"', 1)
    assert changed != graph
    (folder / "model.xml").write_text(changed)
    sums = (folder / "SHA256SUMS").read_text()
    old, new = (hashlib.sha256(text.encode()).hexdigest() for text in (graph, changed))
    (folder / "SHA256SUMS").write_text(sums.replace(old, new))
    with pytest.raises(ModelError, match=r"is damaged: .* turns \d+ values into \d+"):
        Detector.load(folder)(CHELSEA.path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_in_a_folder_are_not_opened(exported: Path, tmp_path: Path) -> None:
    for name in ("config.json", "SHA256SUMS", "model.bin"):
        folder = shutil.copytree(exported, tmp_path / name)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(ModelError, match="no ordinary file"):
            Detector.load(folder)


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    def unexpected(stage: str) -> None:
        raise AssertionError(stage)

    with pytest.raises(RequestError, match=r"file/out: .*file is no folder that can be written to"):
        export_model(str(source), tmp_path / "file/out", on_stage=unexpected)


def test_threads_may_share_a_detector(engine_folder: Path) -> None:
    detector = Detector.load(engine_folder)
    pictures = [photograph.pixels() for photograph in PHOTOGRAPHS[:4]]
    expected = [detector(picture).scores for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(detector, pictures * 10)):
            np.testing.assert_allclose(found.scores, expected[number % 4], atol=1e-5)


def test_the_engine_inside_a_model_folder_is_used_while_it_fits(source: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "m")
    (tmp_path / "m/another").mkdir()
    (tmp_path / "m/another/config.json").write_text("{}")  # some other tool's
    shutil.copytree(exported, tmp_path / "m/openvino")
    assert isinstance(load_backend(tmp_path / "m"), OpenVINOBackend)
    assert isinstance(load_backend(tmp_path / "m", "cpu"), OpenVINOBackend)
    save_network(tmp_path / "m", SSD(SMALL, seed=9), card="")  # trained on; the engine stays behind
    assert (tmp_path / "m/openvino").is_dir()
    assert isinstance(load_backend(tmp_path / "m"), TorchBackend)


def test_detection_with_an_exported_model_loads_no_torch(exported: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from singleshot.cli.main import run; "
        f"code = run(['detect', {str(CHELSEA.path)!r}, '--model', {str(exported / 'model.xml')!r}, "
        f"'--json', {str(tmp_path / 'found.json')!r}, '--score', '0']); "
        "sys.exit(code or int('torch' in sys.modules) * 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert json.loads((tmp_path / "found.json").read_text())["images"][0]["detections"]


def test_wrong_requests_are_one_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    for arguments, message in (
        (["--format", "openvin"], "did you mean openvino"),
        (["--precision", "fp16"], "unknown precision"),
        (["--out", str(source)], "holds a model, which the export would replace"),
    ):
        code = run(["export", str(source), *(["--out", out] if "--out" not in arguments else []), *arguments])
        error = capsys.readouterr().err
        assert code == 2
        assert message in error
        assert error.count("\n") == 1
    assert load_file(source / "model.safetensors")
    assert not (tmp_path / "out").exists()


def test_others_find_the_detections_in_the_graph(source: Path, engine_folder: Path) -> None:
    """Rows of both pictures, one after the other: label, score, box; the same as ours (as the export checked)."""
    pictures = [photograph.pixels() for photograph in PHOTOGRAPHS[:2]]
    engine = load_engine(engine_folder)
    results = engine.outputs(pictures)
    assert set(results) == {"offsets", "probabilities", "default_boxes", "detections", "counts"}
    ours = engine(pictures)
    assert results["counts"].tolist() == [len(one) for one in ours]
    rows = results["detections"][: len(ours[0])]
    np.testing.assert_allclose(rows[:, 1], ours[0].scores, atol=1e-6)
    np.testing.assert_allclose(rows[0, 2:], ours[0].boxes_xyxy[0], atol=1e-5)
    assert rows[0, 0] == ours[0].labels[0]


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
    export_model(str(tmp_path / "source"), tmp_path / "out", engine=engine)
    picture = [CHELSEA.pixels()]
    engine_found = load_engine(tmp_path / "out")(picture)[0]
    expected = TorchBackend(network, torch.device("cpu"))(picture)[0]
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
        ({"keep_top_k": 3}, r"NMS in the export keeps \[3, 3, 3, 3\] boxes of the pictures, ours \["),
        ({"nms_threshold": 0.2}, "NMS in the export "),
        ({"top_k": 5}, r"NMS in the export keeps "),
    ):

        def with_other_limits(spec: ModelSpec, boxes: np.ndarray, *, to: Any = limits, **rest: int) -> onnx.ModelProto:
            return detection_graph(replace(spec, postprocess=replace(spec.postprocess, **to)), boxes, **rest)

        monkeypatch.setattr(onnx_graph, "detection_graph", with_other_limits)
        with pytest.raises(VerificationError, match=message):
            export_model(str(source), tmp_path / "out", engine="onnx")
    assert not (tmp_path / "out").exists()


def test_torch_runs_its_package_without_us(source: Path, tmp_path: Path) -> None:
    done = export_model(str(source), tmp_path / "program", engine="torch")
    assert done.differences.score < 1e-5
    program = torch.export.load(tmp_path / "program/model.pt2").module()
    offsets, probabilities = program(torch.zeros(3, 40, 56, 3, dtype=torch.uint8))
    assert offsets.shape[0] == probabilities.shape[0] == 3
    with pytest.raises(ModelError, match="is exported as torch, which is not run here"):
        Detector.load(tmp_path / "program")


def test_an_onnx_file_may_not_point_to_other_files(onnx_exported: Path) -> None:
    content = onnx.load(onnx_exported / "model.onnx")
    tensor = content.graph.initializer[0]
    for place in ("/etc/passwd", "../secret", "weights.bin"):
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=place)
        with pytest.raises(ModelError, match="keeps weights in other files"):
            OnnxBackend(SMALL, content.SerializeToString(), origin="it")


def test_an_engine_that_is_not_installed_is_named(
    onnx_exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(["detect", str(CHELSEA.path), "--model", str(onnx_exported)]) == 2
    assert "pip install onnxruntime" in capsys.readouterr().err


def test_files_that_are_no_graph_of_ours(onnx_exported: Path, exported: Path, tmp_path: Path) -> None:
    for engine, files in (("onnx", {"model.onnx": b"x"}), ("openvino", {"model.xml": b"<net/>", "model.bin": b""})):
        with pytest.raises(ModelError, match=r"cannot be read by"):
            start_engine(engine, SMALL, files, precision="fp32", origin="it")
    (exported / "other.onnx").write_bytes(b"x")
    for stranger in (exported / "other.onnx", tmp_path / "lonely.xml"):
        stranger.touch()
        with pytest.raises(RequestError, match="is no model by itself"):
            Detector.load(stranger)
    (exported / "other.onnx").unlink()


def signal_stack_is_mapped() -> bool:
    """Whether this thread's alternative signal stack, if it has one, is memory that can be written."""
    stack = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    if stack.address is None:
        return True
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, _, end = line.split()[0].partition("-")
        if int(start, 16) <= stack.address < int(end, 16):
            return "w" in line.split()[1]
    return False


class SignalStack(ctypes.Structure):
    """`stack_t`."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's memory map")
def test_engines_that_come_and_go_leave_signals_a_stack(exported: Path) -> None:
    """Two Cores of OpenVINO that end in the order of their making would leave it unmapped."""
    first, second = load_engine(exported), load_engine(exported)
    for engine in (first, second):
        engine([CHELSEA.pixels()])
    del engine, first
    gc.collect()
    del second
    gc.collect()
    assert signal_stack_is_mapped()


def test_openvino_reports_to_nobody() -> None:
    program = (
        "import sys; from singleshot.runtime.openvino_backend import OpenVINOBackend; "
        "from openvino.tools.ovc import telemetry_utils; "
        "sys.exit('stub' not in telemetry_utils.tm.__name__)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
