"""Exported models that are damaged, or no models of ours, are refused and not run."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
import pytest

from export_fixtures import SMALL
from singleshot.errors import HashError, ModelError, RequestError
from singleshot.photographs import CHELSEA
from singleshot.runtime.backends import load_engine, start_engine
from singleshot.runtime.detector import Detector
from singleshot.runtime.onnx_backend import OnnxBackend
from singleshot.weights.build import load_network
from singleshot.weights.folder import read_folder

if TYPE_CHECKING:
    from pathlib import Path


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
    folder = read_folder(engine_folder)
    assert folder.export is not None
    for other in (replace(SMALL, class_names=("cat",)), replace(SMALL, input_size_hw=(40, 57))):
        with pytest.raises(ModelError, match=r"does not fit its config.json: expected images"):
            start_engine(folder.export.engine, other, folder.engine_files(), precision="fp32", origin="it")


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
        with pytest.raises(ModelError, match="ordinary file"):
            Detector.load(folder)


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


def test_files_that_are_no_graph_of_ours(onnx_exported: Path, exported: Path, tmp_path: Path) -> None:
    for engine, files in (("onnx", {"model.onnx": b"x"}), ("openvino", {"model.xml": b"<net/>", "model.bin": b""})):
        with pytest.raises(ModelError, match=r"cannot be read by"):
            start_engine(engine, SMALL, files, precision="fp32", origin="it")
    (exported / "other.onnx").write_bytes(b"x")
    for stranger, told in (
        (exported / "other.onnx", "ssd weights import"),
        (tmp_path / "lonely.xml", "is no model by itself"),
    ):
        stranger.touch()
        with pytest.raises(RequestError, match=told):
            Detector.load(stranger)
    (exported / "other.onnx").unlink()
