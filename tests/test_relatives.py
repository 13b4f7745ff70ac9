"""Relatives that the paper's related work names, as configurations: OverFeat-like and YOLO-like."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from data_fixtures import image, voc
from ground_truth_sets import ground_truth_set, squares
from singleshot.box_search.study import Goal, find_boxes
from singleshot.boxes import xyxy_to_cxcywh
from singleshot.cli.main import run
from singleshot.commands.export import export_model
from singleshot.commands.options import ExportOptions
from singleshot.errors import ModelError, RequestError
from singleshot.models.describe import describe
from singleshot.models.heads import GridMap
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.spec import BoxSpec, GridHead, MapBoxes, ModelSpec
from singleshot.variants import OVERFEAT_LIKE_VGG16, SSD300_VGG16, YOLO_LIKE_VGG16
from singleshot.weights.bounds import require_bounds
from singleshot.weights.build import load_network, save_network
from singleshot.weights.folder import read_spec
from singleshot.weights.transfer import start_from_file

if TYPE_CHECKING:
    from pathlib import Path

WORDS = partial(replace, class_names=("a", "b"), width=1 / 16)
OVERFEAT, YOLO = WORDS(OVERFEAT_LIKE_VGG16), WORDS(YOLO_LIKE_VGG16)
LARGER = (1 / 3) ** 0.5  # of the YOLO-like's squares, of the input
BOTH = pytest.mark.parametrize("spec", [OVERFEAT, YOLO], ids=lambda spec: spec.name)


def of_row(model: SSD, row: int) -> list[float]:
    """Centre, width and height of a default box."""
    return xyxy_to_cxcywh(model.default_boxes[row : row + 1].numpy())[0].tolist()  # type: ignore[no-any-return]


def test_boxes_of_the_overfeat_like() -> None:
    model = SSD(OVERFEAT)
    assert model.map_sizes_hw == ((19, 19),)
    assert model.default_boxes.shape == (361, 4)
    assert of_row(model, 20) == pytest.approx([1.5 * 16 / 300, 1.5 * 16 / 300, 0.5, 0.5])
    assert not list(model.norms)
    assert not list(model.extras.children())


def test_boxes_of_the_yolo_like() -> None:
    model = SSD(YOLO)
    assert model.map_sizes_hw == grid_sizes(YOLO) == ((7, 7),)
    assert model.default_boxes.shape == (98, 4)
    assert of_row(model, 0) == pytest.approx([0.5 / 7, 0.5 / 7, 1 / 3, 1 / 3])
    assert of_row(model, 3) == pytest.approx([1.5 / 7, 0.5 / 7, LARGER, LARGER])


@pytest.mark.parametrize("size_hw", [(300, 480), (96, 96), (333, 301)])
def test_the_grid_is_the_same_for_every_input(size_hw: tuple[int, int]) -> None:
    model = SSD(YOLO.with_input_size(*size_hw)).eval()
    assert model.map_sizes_hw == ((7, 7),)
    with torch.inference_mode():
        predictions = model(torch.zeros(2, 3, *size_hw))
    assert (predictions.offsets.shape, predictions.logits.shape) == ((2, 98, 4), (2, 98, 3))


def test_layers_of_the_yolo_like_at_full_width() -> None:
    """One fully connected layer from 7x7x256 to 7x7x2 boxes of 21 + 4 numbers."""
    rows = {row["name"]: row for row in describe(YOLO_LIKE_VGG16)}
    assert [*rows][-5:] == ["fc7", "grid.pool", "grid.cut", "heads.location.fc7", "heads.confidence.fc7"]
    assert rows["grid.pool"]["kind"] == "mean pooling"
    assert rows["grid.pool"]["output"] == [1024, 7, 7]
    assert rows["grid.cut"]["output"] == [256, 7, 7]
    found = [rows[f"heads.{kind}.fc7"]["parameters"] for kind in ("location", "confidence")]
    assert found == [(7 * 7 * 256 + 1) * 7 * 7 * 2 * numbers for numbers in (4, 21)]


def test_a_weight_lights_the_box_of_its_row_from_anywhere() -> None:
    """Rows go by y, x, box: 58 is the larger square of row 4, column 1; it is told by what the last cell sees."""
    model = SSD(YOLO).eval()
    heads = model.heads
    for head in (heads.location["fc7"], heads.confidence["fc7"]):
        head.weight.data.zero_()
        head.bias.data.zero_()
    row = (4 * 7 + 1) * 2 + 1
    heads.location["fc7"].weight.data[row * 4 : row * 4 + 4, 5, 6, 6] = torch.tensor([1.0, 2, 3, 4])
    heads.confidence["fc7"].weight.data[row * 3 + 2, 5, 6, 6] = 7
    grid = torch.zeros(2, 16, 7, 7)
    grid[1, 5, 6, 6] = 1
    with torch.inference_mode():
        predictions = heads({"fc7": grid})
    expected = torch.zeros(2, 98, 4)
    expected[1, row] = torch.tensor([1.0, 2, 3, 4])
    assert torch.equal(predictions.offsets, expected)
    assert predictions.logits.nonzero().tolist() == [[1, row, 2]]
    assert of_row(model, row) == pytest.approx([1.5 / 7, 4.5 / 7, LARGER, LARGER])


def test_the_grid_by_hand() -> None:
    """A cell is the mean of the positions that it touches, mixed and activated."""
    head = GridHead(cells=7, channels=2)
    grid = GridMap(3, head, width=1, batch_norm=False).eval()
    x = torch.randn(1, 3, 19, 10, generator=torch.Generator().manual_seed(0))
    pooled = torch.empty(1, 3, 7, 7)
    for row in range(7):
        for column in range(7):
            top, left = row * 19 // 7, column * 10 // 7
            below, right = -(-(row + 1) * 19 // 7), -(-(column + 1) * 10 // 7)
            pooled[..., row, column] = x[..., top:below, left:right].mean(dim=(2, 3))
    layer = grid.cut.convolution
    with torch.inference_mode():
        expected = torch.relu(
            torch.einsum("oi,bihw->bohw", layer.weight[:, :, 0, 0], pooled) + layer.bias.view(-1, 1, 1)
        )
        torch.testing.assert_close(grid(x), expected, rtol=1e-5, atol=1e-6)


def test_fresh_weights_follow_the_fan_in() -> None:
    weight = SSD(YOLO).heads.confidence["fc7"].weight
    assert weight.abs().max().item() == pytest.approx((3 / (16 * 49)) ** 0.5, rel=1e-3)


@pytest.mark.parametrize("spec", [OVERFEAT, YOLO, replace(YOLO, batch_norm=True)])
def test_a_folder_keeps_it(tmp_path: Path, spec: ModelSpec) -> None:
    model = SSD(spec, seed=1).eval()
    save_network(tmp_path / "m", model, card="")
    again = load_network(tmp_path / "m")
    assert again.spec == spec
    images = torch.randn(1, 3, 300, 300, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(again(images).logits, model(images).logits)


@pytest.mark.parametrize(
    ("spec", "engine"),
    [(OVERFEAT, "openvino"), (YOLO, "openvino"), (replace(YOLO, batch_norm=True).with_input_size(96, 130), "onnx")],
)
def test_an_export_says_the_same(tmp_path: Path, spec: ModelSpec, engine: str) -> None:
    save_network(tmp_path / "m", SSD(spec), card="")
    export_model(
        ExportOptions(out=tmp_path / "out", model=str(tmp_path / "m"), format=engine)
    )  # refuses to leave a graph that says otherwise
    assert read_spec(tmp_path / "out") == spec


def test_heads_of_another_kind_are_replaced_and_said(tmp_path: Path) -> None:
    save_network(tmp_path / "ssd", SSD(WORDS(SSD300_VGG16)), card="")
    model = SSD(YOLO, seed=3)
    start = start_from_file(model, tmp_path / "ssd")
    assert {name for name in start.replaced if name.startswith("heads.")} == {
        f"heads.{kind}.fc7.{part}" for kind in ("location", "confidence") for part in ("weight", "bias")
    }
    assert start.missing == ("grid.cut.convolution.weight", "grid.cut.convolution.bias")
    assert start.summary == "30 of 36 tensors taken over"
    assert torch.equal(model.heads.confidence["fc7"].weight, SSD(YOLO, seed=3).heads.confidence["fc7"].weight)


def test_classes_that_both_know_keep_their_filters(tmp_path: Path) -> None:
    source = SSD(YOLO, seed=1)
    save_network(tmp_path / "m", source, card="")
    model = SSD(replace(YOLO, class_names=("c", "b", "d")), seed=2)
    fresh = model.heads.confidence["fc7"].weight.detach().clone()
    start = start_from_file(model, tmp_path / "m")
    assert (start.classes, start.new_classes) == (("b",), ("c", "d"))
    of_model = model.heads.confidence["fc7"].weight.view(98, 4, 16, 7, 7)
    of_source = source.heads.confidence["fc7"].weight.view(98, 3, 16, 7, 7)
    assert torch.equal(of_model[:, [0, 2]], of_source[:, [0, 2]])
    assert torch.equal(of_model[:, [1, 3]], fresh.view(98, 4, 16, 7, 7)[:, [1, 3]])


def test_wrong_grids_are_refused() -> None:
    with pytest.raises(RequestError, match="0 and 256"):
        GridHead(cells=0)
    with pytest.raises(RequestError, match="conv5_3, fc7"):
        replace(YOLO, sources=("conv5_3", "fc7"), boxes=BoxSpec((MapBoxes((30,)), MapBoxes((60,)))))
    with pytest.raises(ModelError, match="33"):
        require_bounds(replace(YOLO, grid_head=GridHead(cells=33)), "the file")


@BOTH
def test_boxes_can_be_fitted(spec: ModelSpec) -> None:
    """Objects of 60 pixels of 320, too small for either; a grid head gets no second map in front."""
    data = ground_truth_set(squares(40, 60, seed=0), [0] * 40)
    study = find_boxes(replace(spec, class_names=data.class_names), data, Goal(), map_sizes_hw=grid_sizes)
    chosen = study.chosen
    assert chosen.recall.total > study.given.recall.total
    assert chosen.spec.sources[-1] == "fc7"
    assert len(SSD(chosen.spec).default_boxes) == chosen.recall.num_default_boxes
    if spec.grid_head is not None:
        assert chosen.spec.sources == ("fc7",)


@BOTH
def test_every_verb_takes_it(spec: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = voc(tmp_path / "set", {name: [("a", (5, 5, 25, 20)), ("b", (20, 2, 38, 28))] for name in "pqrstu"})
    save_network(tmp_path / "fresh", SSD(replace(spec, batch_norm=True)), card="")
    command = ["train", str(data), "--model", str(tmp_path / "fresh"), "--boxes", "keep", "--iterations", "1"]
    command += ["--workers", "0", "--val-split", "none", "--input-size", "96x96", "--out", str(tmp_path / "run")]
    assert run(command) == 0
    last = tmp_path / "run" / "last"
    learnt, fresh = load_network(last), load_network(tmp_path / "fresh")
    assert learnt.spec.grid_head == spec.grid_head
    for name, parameter in learnt.named_parameters():
        assert not torch.equal(parameter, fresh.get_parameter(name)), name
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    shown = str(image(tmp_path / "shown.png"))
    rest = ["--model", str(last), "--out", str(page), "--json", str(figures)]
    assert run(["explain", shown, "--score", "0.01", *rest]) == 0
    assert run(["boxes", str(data), *rest]) == 0
    given = json.loads(figures.read_text())["given"]
    assert given["sources"] == ["fc7"]
    assert np.prod(given["maps"][0]) == (49 if spec.grid_head else 36)
    assert run(["evaluate", str(data), "--model", str(last)]) == 0
    capsys.readouterr()
