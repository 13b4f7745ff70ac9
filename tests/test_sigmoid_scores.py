"""A detector whose class scores are a sigmoid of each, with a feature pyramid and shared heads, from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_fixtures import voc
from singleshot.commands import export
from singleshot.commands.export import export_model
from singleshot.commands.options import ExportOptions
from singleshot.commands.train import train_command
from singleshot.errors import UnknownNameError
from singleshot.export.openvino_ir import layer_names, quantised_layers, to_openvino
from singleshot.models.ssd import SSD
from singleshot.photographs import PHOTOGRAPHS
from singleshot.preprocess import to_network_input
from singleshot.runtime.backends import load_engine
from singleshot.runtime.openvino_core import core
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.spec import PYRAMID, ExtraBlock, Fusion, MapBoxes, ModelSpec, Postprocess, SharedHead
from singleshot.ssd.detection import postprocess
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.build import load_network, save_network
from singleshot.weights.folder import read_spec
from train_fixtures import OPTIONS

SIZES = ((24.0, 24.0), (34.0, 17.0))
FPNLITE = replace(
    SSDLITE320_MOBILENETV2,
    name="ssdfpnlite64-mobilenetv2",
    input_size_hw=(64, 64),
    class_names=("cat", "dog"),
    width=1 / 8,
    sources=("block6", "last", "extra1_2"),
    boxes=replace(
        SSDLITE320_MOBILENETV2.boxes,
        maps=tuple(MapBoxes((), (), (), sizes_wh=tuple((w * k, h * k) for w, h in SIZES)) for k in (0.5, 1.0, 2.0)),
    ),
    extras=(ExtraBlock("extra1", 0, 64, stride=2, tensorflow_padding=True),),
    fusion=Fusion(PYRAMID, channels=8),
    shared_head=SharedHead(8, 2),
    postprocess=Postprocess(scores="sigmoid", score_threshold=0.3),
    compatibility=replace(SSDLITE320_MOBILENETV2.compatibility, lite_norm=False),
)


@pytest.fixture(scope="module")
def network() -> SSD:
    model = SSD(FPNLITE, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.startswith(("pyramid", "extras", "heads")) and tensor.ndim == 4:  # livelier than fresh ones
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        model.heads.confidence.pointwise.bias.normal_(0, 1.5, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def folder(network: SSD, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sigmoid") / "model"
    save_network(path, network, card="# small\n")
    return path


def test_a_score_is_the_sigmoid_of_its_logit(network: SSD) -> None:
    image = PHOTOGRAPHS[0].pixels()
    inputs = torch.from_numpy(to_network_input(image, FPNLITE.input_size_hw, FPNLITE.preprocess))[None]
    with torch.inference_mode():
        logits = network(inputs).logits[0].numpy()
    (raw,) = TorchBackend(network, torch.device("cpu"))([image])
    scores = 1 / (1 + np.exp(-logits[:, 1:]))
    assert raw.scores.max() == pytest.approx(scores.max(), abs=1e-6)
    assert raw.labels[0] == scores.max(axis=0).argmax()


@pytest.mark.parametrize("form", ["openvino", "onnx"])
def test_exports_give_the_same(network: SSD, folder: Path, form: str, tmp_path: Path) -> None:
    export_model(ExportOptions(out=tmp_path / form, model=str(folder), format=form))  # verified by itself, too
    images = [photograph.pixels() for photograph in PHOTOGRAPHS[:3]]
    expected = TorchBackend(network, torch.device("cpu"))(images)
    for here, there in zip(load_engine(tmp_path / form)(images), expected, strict=True):
        assert len(here) == len(there) > 0
        np.testing.assert_allclose(here.scores, there.scores, atol=1e-5)
        np.testing.assert_array_equal(here.labels, there.labels)
        np.testing.assert_allclose(here.boxes_xyxy, there.boxes_xyxy, atol=1e-4)


def test_a_certain_background_hides_nothing() -> None:
    boxes = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)
    scores = np.array([[0.9999, 0.8, 0.1]], np.float32)
    settings = Postprocess(scores="sigmoid", score_threshold=0.5)
    raw = postprocess(np.zeros((1, 4), np.float32), scores, boxes, (0.1, 0.1, 0.2, 0.2), settings)
    assert raw.labels.tolist() == [0]


@pytest.mark.parametrize("option", ["model", "init"])
def test_it_is_fine_tuned_on_other_classes_with_a_softmax(
    folder: Path, data: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = {"model": None, "init": None} | {option: str(folder)}
    options = replace(OPTIONS, out=tmp_path / "run", input_size=None, boxes="keep", iterations=1, **start)
    assert train_command([str(data)], options) == 0
    said = "".join(capsys.readouterr())
    assert "softmax" in said
    trained = read_spec(tmp_path / "run" / "last")
    assert trained.class_names == ("cell", "dot")
    expected: ModelSpec = replace(FPNLITE, class_names=("cell", "dot"))
    assert trained == replace(expected, postprocess=Postprocess())
    before, after = load_network(folder).state_dict(), load_network(tmp_path / "run" / "last").state_dict()
    moved = float((before["heads.tower.0.pointwise.weight"] - after["heads.tower.0.pointwise.weight"]).abs().max())
    assert 0 < moved < 0.02  # one step from where they were


def test_boxes_of_shared_heads_are_fitted_to_the_data(folder: Path, data: Path, tmp_path: Path) -> None:
    """Objects of 8 pixels, which boxes of 12 pixels and more do not fit: every map has the same smaller shapes."""
    options = replace(OPTIONS, out=tmp_path / "run", model=str(folder), input_size=None, boxes="adapt", iterations=1)
    assert train_command([str(data)], options) == 0
    trained = read_spec(tmp_path / "run" / "last")
    assert trained.sources == FPNLITE.sources
    first, *others = (np.array(boxes.sizes_wh) for boxes in trained.boxes.maps)
    assert not np.array_equal(first, np.array(FPNLITE.boxes.maps[0].sizes_wh))
    for place, shapes in enumerate(others, 1):
        np.testing.assert_allclose(shapes, first * 2**place, atol=1e-3)


def test_other_scores_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="softmax"):
        Postprocess(scores="logistic")


def test_layers_of_shared_heads_are_quantised_each_for_its_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NNCF knows layers by their names, which the maps of a shared head had in common: int8 ended in a traceback."""
    network = SSD(FPNLITE, seed=2).eval()
    save_network(tmp_path / "model", network, card="")
    names = layer_names(to_openvino(network))
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("heads.location.pointwise")] == [
        "heads.location.pointwise", "heads.location.pointwise@2", "heads.location.pointwise@3",
    ]  # fmt: skip
    data = voc(tmp_path / "set", {f"p{i}": [("cat", (5, 5, 25, 20))] for i in range(6)})
    monkeypatch.setattr(export, "MAX_MAP_DROP", 1.0)  # of an untrained network
    options = ExportOptions(out=tmp_path / "out", model=str(tmp_path / "model"), precision="int8", calibrate=str(data))
    export_model(options)
    graph = core().read_model(tmp_path / "out/model.xml")
    assert quantised_layers(graph) == len(names)
