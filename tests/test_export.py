"""Exported models: equal to their source, verified before they are written, refused when damaged, free of torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import pytest
import torch
from safetensors.numpy import load_file

from data_fixtures import voc
from singleshot.cli.main import run
from singleshot.errors import DataError, HashError, ModelError, PictureError, RequestError, VerificationError
from singleshot.export import calibrate, export
from singleshot.export.export import export_model
from singleshot.export.openvino_ir import to_openvino
from singleshot.models.ssd import SSD
from singleshot.photographs import CHELSEA, PHOTOGRAPHS
from singleshot.runtime.backends import load_backend
from singleshot.runtime.detector import Detector
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.spec import SSD300_MOBILENETV1, SSD300_VGG16, SSDLITE320_MOBILENETV2
from singleshot.weights.build import load_network, save_network

if TYPE_CHECKING:
    from pathlib import Path

SMALL = replace(SSDLITE320_MOBILENETV2.with_input_size(96, 128), class_names=("cat", "dog"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "model"
    network = SSD(SMALL, seed=3)
    with torch.no_grad():
        for layer in network.heads.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight *= 8  # scores that differ, as a trained network's do
    save_network(folder, network, card="# small\n")
    return folder


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "lite"
    export_model(str(source), folder)
    return folder


def test_an_export_detects_what_its_source_detects(source: Path, exported: Path) -> None:
    pictures = [photograph.pixels() for photograph in PHOTOGRAPHS]
    expected = TorchBackend(load_network(source), torch.device("cpu"))(pictures)
    engine = OpenVINOBackend.load(exported)
    assert engine.spec == SMALL
    for found in (engine(pictures), [engine([one])[0] for one in pictures]):
        for here, there in zip(found, expected, strict=True):
            assert len(here) == len(there) > 0
            np.testing.assert_array_equal(np.sort(here.labels), np.sort(there.labels))
            np.testing.assert_allclose(here.scores, there.scores, atol=1e-5)
            # rows of equal score may have changed places
            np.testing.assert_allclose(np.sort(here.boxes_xyxy, axis=0), np.sort(there.boxes_xyxy, axis=0), atol=1e-4)


def test_many_files_come_in_order_whatever_lane_they_took(exported: Path, tmp_path: Path) -> None:
    paths = [photograph.path for photograph in PHOTOGRAPHS] * 2
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    detector = Detector(OpenVINOBackend.load(exported, threads=3), name="three lanes")
    found = list(detector.stream([*paths[:5], tmp_path / "bad.jpg", *paths[5:]]))
    assert isinstance(found.pop(5), PictureError)
    assert [item[0] for item in found if not isinstance(item, PictureError)] == paths
    for item in found[:3]:
        assert not isinstance(item, PictureError)
        expected = detector(item[0])
        np.testing.assert_array_equal(item[2].labels, expected.labels)
        np.testing.assert_allclose(item[2].scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize(
    "spec", [replace(SSD300_VGG16, width=1 / 16), replace(SSD300_MOBILENETV1, width=1 / 4)], ids=lambda spec: spec.name
)
def test_every_family_can_be_exported(spec: object, tmp_path: Path) -> None:
    save_network(tmp_path / "source", SSD(spec), card="")  # type: ignore[arg-type]
    done = export_model(str(tmp_path / "source"), tmp_path / "out", precision="bf16")
    assert done.differences.pictures == 4
    assert len(Detector.load(tmp_path / "out")(CHELSEA.path)) > 0


def test_half_precision_halves_the_file(source: Path, exported: Path, tmp_path: Path) -> None:
    export_model(str(source), tmp_path / "half", precision="bf16")
    assert (tmp_path / "half/model.bin").stat().st_size < 0.6 * (exported / "model.bin").stat().st_size
    assert len(Detector.load(tmp_path / "half")(CHELSEA.path)) > 0


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures: dict[str, Any] = {f"p{i}": [("cat" if i % 2 else "dog", (2 + i, 3, 20 + i, 22))] for i in range(12)}
    return voc(tmp_path_factory.mktemp("set") / "voc", pictures)


def test_int8_is_measured_and_judged_on_the_users_pictures(
    source: Path, exported: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(source), "--precision", "int8", "--out", str(tmp_path / "int8")]
    assert run(arguments) == 2
    assert "--calibrate DATA" in capsys.readouterr().err
    assert run([*arguments, "--calibrate", str(labelled), "--json", str(tmp_path / "j.json")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("mAP ")
    assert told[0].endswith("on 2 pictures")
    figures = json.loads((tmp_path / "j.json").read_text())
    assert abs(figures["mAP_before"] - figures["mAP_after"]) <= 1
    assert (tmp_path / "int8/model.bin").stat().st_size < 0.4 * (exported / "model.bin").stat().st_size
    assert len(Detector.load(tmp_path / "int8")(CHELSEA.path)) > 0


def test_an_export_that_loses_too_much_is_not_left_behind(
    source: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "MOST_LOST", -2.0)
    with pytest.raises(VerificationError, match=r"lost too much: mAP .*% before, .*; it was not kept"):
        export_model(str(source), tmp_path / "out", calibrate=str(labelled))
    assert not (tmp_path / "out").exists()


def test_pictures_of_other_things_do_not_calibrate(source: Path, tmp_path: Path) -> None:
    others = voc(tmp_path / "others", {f"p{i}": [("bus", (2, 3, 20, 22))] for i in range(12)})
    with pytest.raises(DataError, match="none of the model's classes: cat, dog"):
        export_model(str(source), tmp_path / "out", precision="int8", calibrate=str(others))


def test_the_graph_tells_others_what_it_is(exported: Path) -> None:
    graph = openvino.Core().read_model(exported / "model.xml")
    told = json.loads(graph.get_rt_info("singleshot").astype(str))
    assert told["class_names"] == ["cat", "dog"]
    assert told["preprocess"]["mean_rgb"] == [127.5] * 3
    assert graph.input("pictures").partial_shape.to_string() == "[?,96,128,3]"


def test_an_export_that_differs_is_not_left_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "to_openvino", lambda network: to_openvino(SSD(network.spec, seed=4)))
    with pytest.raises(VerificationError, match=r"differs from its source: boxes by .* pixels .*; it was not kept"):
        export_model(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    maps = tuple(replace(one, aspect_ratios=(2.5, 3.5)) for one in SMALL.boxes.maps)

    def with_other_boxes(network: SSD) -> openvino.Model:
        other = SSD(replace(network.spec, boxes=replace(SMALL.boxes, maps=maps)))
        other.load_state_dict(network.state_dict())
        return to_openvino(other)

    monkeypatch.setattr(export, "to_openvino", with_other_boxes)
    with pytest.raises(VerificationError, match="other default boxes than its source"):
        export_model(str(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_export_is_refused(exported: Path, source: Path, tmp_path: Path) -> None:
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
        OpenVINOBackend.load(source)


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


def test_openvino_reports_to_nobody() -> None:
    program = (
        "import sys; from singleshot.runtime.openvino_backend import OpenVINOBackend; "
        "from openvino.tools.ovc import telemetry_utils; "
        "sys.exit('stub' not in telemetry_utils.tm.__name__)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
