"""Exported models on their engines: they detect what their source detects, in threads and by workers, without torch."""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from export_fixtures import SMALL
from singleshot.cli.main import run
from singleshot.errors import ImageError
from singleshot.models.ssd import SSD
from singleshot.photographs import CHELSEA, PHOTOGRAPHS
from singleshot.runtime.backends import RunOptions, load_backend, load_engine
from singleshot.runtime.detector import Detector
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.weights.build import load_network, save_network
from singleshot.weights.folder import read_folder


def test_an_export_detects_what_its_source_detects(source: Path, engine_folder: Path) -> None:
    images = [photograph.pixels() for photograph in PHOTOGRAPHS]
    expected = TorchBackend(load_network(source), torch.device("cpu"))(images)
    engine = load_engine(engine_folder)
    assert engine.spec == SMALL
    for here, there in zip(engine(images), expected, strict=True):
        assert len(here) == len(there) > 0
        np.testing.assert_array_equal(np.sort(here.labels), np.sort(there.labels))
        np.testing.assert_allclose(here.scores, there.scores, atol=1e-5)
        # rows of equal score may have changed places
        np.testing.assert_allclose(np.sort(here.boxes_xyxy, axis=0), np.sort(there.boxes_xyxy, axis=0), atol=1e-4)


def test_a_batch_gives_what_its_images_give(engine_folder: Path) -> None:
    images = [photograph.pixels() for photograph in PHOTOGRAPHS[:3]]
    engine = load_engine(engine_folder)
    together = [array.copy() for array in engine.predict(images)]
    for place, image in enumerate(images):
        for both, alone in zip(together, engine.predict([image]), strict=True):
            np.testing.assert_allclose(both[place], alone[0], atol=1e-5)


def test_many_files_come_in_order_whatever_lane_they_took(engine_folder: Path, tmp_path: Path) -> None:
    paths = [photograph.path for photograph in PHOTOGRAPHS] * 2
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    detector = Detector(load_engine(engine_folder, threads=3), name="three workers")
    found = list(detector.stream([*paths[:5], tmp_path / "bad.jpg", *paths[5:]]))
    assert isinstance(found.pop(5), ImageError)
    assert [item[0] for item in found if not isinstance(item, ImageError)] == paths
    for item in found[:3]:
        assert not isinstance(item, ImageError)
        expected = detector(item[0])
        np.testing.assert_array_equal(item[2].labels, expected.labels)
        np.testing.assert_allclose(item[2].scores, expected.scores, atol=1e-5)


def test_threads_may_share_a_detector(engine_folder: Path) -> None:
    detector = Detector.load(engine_folder)
    images = [photograph.pixels() for photograph in PHOTOGRAPHS[:4]]
    expected = [detector(image).scores for image in images]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(detector, images * 10)):
            np.testing.assert_allclose(found.scores, expected[number % 4], atol=1e-5)


def test_the_engine_inside_a_model_folder_is_used_while_it_fits(source: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "m")
    (tmp_path / "m/another").mkdir()
    (tmp_path / "m/another/config.json").write_text("{}")  # some other tool's
    shutil.copytree(exported, tmp_path / "m/openvino")
    assert isinstance(load_backend(read_folder(tmp_path / "m")), OpenVINOBackend)
    assert isinstance(load_backend(read_folder(tmp_path / "m"), RunOptions("cpu")), OpenVINOBackend)
    save_network(tmp_path / "m", SSD(SMALL, seed=9), card="")  # trained on; the engine stays behind
    assert (tmp_path / "m/openvino").is_dir()
    assert isinstance(load_backend(read_folder(tmp_path / "m")), TorchBackend)


def test_detection_with_an_exported_model_loads_no_torch(exported: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from singleshot.cli.main import run; "
        f"code = run(['detect', {str(CHELSEA.path)!r}, '--model', {str(exported / 'model.xml')!r}, "
        f"'--json', {str(tmp_path / 'found.json')!r}, '--score', '0']); "
        "sys.exit(code or int('torch' in sys.modules) * 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert json.loads((tmp_path / "found.json").read_text())["images"][0]["detections"]


def test_others_find_the_detections_in_the_graph(source: Path, engine_folder: Path) -> None:
    """Rows of both images, one after the other: label, score, box; the same as ours (as the export checked)."""
    images = [photograph.pixels() for photograph in PHOTOGRAPHS[:2]]
    engine = load_engine(engine_folder)
    results = engine.outputs(images)
    assert set(results) == {"offsets", "probabilities", "default_boxes", "detections", "counts"}
    ours = engine(images)
    assert results["counts"].tolist() == [len(one) for one in ours]
    rows = results["detections"][: len(ours[0])]
    np.testing.assert_allclose(rows[:, 1], ours[0].scores, atol=1e-6)
    np.testing.assert_allclose(rows[0, 2:], ours[0].boxes_xyxy[0], atol=1e-5)
    assert rows[0, 0] == ours[0].labels[0]


def test_an_engine_that_is_not_installed_is_named(
    onnx_exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(["detect", str(CHELSEA.path), "--model", str(onnx_exported)]) == 2
    assert "pip install onnxruntime" in capsys.readouterr().err


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
