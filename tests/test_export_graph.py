"""The graph of another framework, exported as it is: each precision, what is refused, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_fixtures import voc
from singleshot import Detector
from singleshot.cli.main import run
from singleshot.commands import export
from singleshot.commands.export import export_model
from singleshot.commands.options import ExportOptions
from singleshot.errors import VerificationError
from singleshot.export import source as source_module
from singleshot.export.openvino_ir import quantised_layers
from singleshot.graphs.detector_graph import graph_of_model
from singleshot.graphs.engine import engine_files, graph_spec
from singleshot.photographs import CHELSEA, COFFEE
from singleshot.runtime.backends import load_engine
from singleshot.runtime.openvino_core import core, openvino, opset9
from singleshot.weights.folder import Export, read_folder, save_export
from tensorflow_graphs import frozen_detector

NAMES = ("cat", "dog", "owl")
SIZE = (32, 48)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an imported graph, as `ssd weights import` leaves it."""
    folder = tmp_path_factory.mktemp("graph") / "model"
    graph = graph_of_model(frozen_detector(), SIZE, "frozen.pb")
    files = engine_files(graph, NAMES)
    provenance = {"not_trainable": "it has 2 convolutions"}
    export = Export("openvino", "fp32", tuple(files))
    save_export(folder, graph_spec(graph, NAMES), files, export=export, card="", provenance=provenance)
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    return voc(tmp_path / "data", {f"p{i}": [("cat", (2, 3, 30, 28))] for i in range(12)})


def test_an_export_gives_what_its_graph_gives(imported: Path, tmp_path: Path) -> None:
    exported = export_model(ExportOptions(out=tmp_path / "out", model=str(imported)))
    assert (exported.differences.images, exported.differences.pixels) == (4, 0)
    for photograph in (CHELSEA, COFFEE):
        of_export, of_graph = (Detector.load(folder)(photograph.path) for folder in (tmp_path / "out", imported))
        assert len(of_graph) > 20
        np.testing.assert_array_equal(of_export.boxes, of_graph.boxes)
        np.testing.assert_array_equal(of_export.scores, of_graph.scores)
    results = load_engine(tmp_path / "out").outputs([CHELSEA.pixels()])
    assert list(results) == ["offsets", "probabilities", "default_boxes", "detections", "counts"]
    assert "uint8 (1, 32, 48, 3)" in (tmp_path / "out/README.md").read_text()
    assert read_folder(tmp_path / "out").provenance["not_trainable"] == "it has 2 convolutions"


def test_classic_rows_are_those_of_the_graph(imported: Path, tmp_path: Path) -> None:
    export_model(ExportOptions(out=tmp_path / "out", model=str(imported), outputs="rows"))
    rows = load_engine(tmp_path / "out").outputs([CHELSEA.pixels()])["rows"]
    assert rows.shape == (1, 60, 4 + 4 + 8)


def test_bf16_halves_the_filters(imported: Path, tmp_path: Path) -> None:
    export_model(ExportOptions(out=tmp_path / "out", model=str(imported), precision="bf16"))
    graph = core().read_model(tmp_path / "out/model.xml")
    kinds = {
        node.get_element_type()
        for node in graph.get_ops()
        if node.get_type_name() == "Constant" and len(node.shape) == 4
    }
    assert kinds == {openvino.Type.f16}
    assert len(Detector.load(tmp_path / "out")(CHELSEA.path)) > 20


def test_int8_is_measured_on_the_users_images(
    imported: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_MAP_DROP", 1.0)  # of a graph of random filters
    options = ExportOptions(out=tmp_path / "out", model=str(imported), precision="int8", calibrate=str(labelled))
    exported = export_model(options)
    assert exported.accuracy_drop is not None
    assert exported.accuracy_drop.images == 2
    graph = core().read_model(tmp_path / "out/model.xml")
    assert quantised_layers(graph) == 4
    folder = read_folder(tmp_path / "out")
    assert folder.export is not None
    assert folder.export.source == read_folder(imported).hashes["model.bin"]
    assert run(["export", str(tmp_path / "out"), "--out", str(tmp_path / "again")]) == 2  # no longer the graph itself


@pytest.mark.parametrize("engine", ["onnx", "torch", "aotinductor"])
def test_other_formats_need_a_network_and_say_why(
    imported: Path, engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(imported), "--format", engine, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "it has 2 convolutions" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_weights_of_8_bits_are_not_quantised_again(
    imported: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = core().read_model(imported / "model.xml")
    for node in model.get_ops():
        if node.get_type_name() == "Convolution":
            levels = np.round(node.input_value(1).get_node().get_data() * 50).astype(np.int8)
            scaled = opset9.multiply(opset9.convert(opset9.constant(levels), np.float32), np.float32(1 / 50))
            node.input(1).replace_source_output(scaled.output(0))
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    files = {name: (tmp_path / name).read_bytes() for name in ("model.xml", "model.bin")}
    folder = read_folder(imported)
    assert folder.export is not None
    save_export(tmp_path / "eight", folder.spec, files, export=folder.export, card="")
    request = ["export", str(tmp_path / "eight"), "--out", str(tmp_path / "out")]
    assert run([*request, "--precision", "int8", "--calibrate", str(labelled)]) == 2
    assert "8-bit weights already, in 4 " in capsys.readouterr().err
    assert run(request) == 0


def test_the_imported_graph_is_never_replaced(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (imported / "SHA256SUMS").read_bytes()
    assert run(["export", str(imported), "--out", str(imported)]) == 2
    assert "--out" in capsys.readouterr().err
    assert (imported / "SHA256SUMS").read_bytes() == before


def test_an_export_of_other_numbers_is_not_left_behind(
    imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = source_module.with_results

    def shifted(computed: dict[str, openvino.Output], *rest: object) -> openvino.Model:
        moved = opset9.add(computed["offsets"], np.float32(0.5)).output(0)
        return real({**computed, "offsets": moved}, *rest)

    monkeypatch.setattr(source_module, "with_results", shifted)
    with pytest.raises(VerificationError, match="differs"):
        export_model(ExportOptions(out=tmp_path / "out", model=str(imported)))
    assert not (tmp_path / "out").exists()


def test_it_cannot_be_explained_layer_by_layer(
    imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(CHELSEA.path), "--model", str(imported), "--report", str(tmp_path / "r.html")]) == 2
    assert "it has 2 convolutions" in capsys.readouterr().err
