"""Detections traced back to their default boxes, and ground-truth boxes on to those that learn them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from data_fixtures import voc
from singleshot.boxes import iou
from singleshot.cli.main import run
from singleshot.commands.explain import GroundTruthToLearn, explain
from singleshot.models.ssd import SSD
from singleshot.report.explanation import render
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from pathlib import Path

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("car", "cat"), width=0.25)
IMAGE = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)


@pytest.fixture
def network() -> SSD:
    """One that is sure of one default box: the wide one in column 2, row 1 of the map of 5x5."""
    model = SSD(LITE, seed=0).eval()
    for head in (*model.heads.location.values(), *model.heads.confidence.values()):
        head.pointwise.weight.data.zero_()
        head.pointwise.bias.data.zero_()
    for head in model.heads.confidence.values():
        head.pointwise.bias.data[0::3] = 9  # background
    return model


def sure_of(network: SSD, number: int, label: int) -> None:
    """Whatever it sees, this default box has an object of the class."""
    forward = network.forward

    def sure(images: torch.Tensor):
        predictions = forward(images)
        predictions.logits[0, number] = torch.tensor([-9.0, -9, -9])
        predictions.logits[0, number, label + 1] = 9
        predictions.offsets[0, number] = torch.tensor([1.0, 0, 0, 0])
        return predictions

    network.forward = sure  # type: ignore[method-assign]


def test_a_detection_is_traced_to_its_default_box(network: SSD) -> None:
    number = 2400 + 600 + (1 * 5 + 2) * 6 + 2
    sure_of(network, number, label=1)
    found = explain(network, IMAGE, score=0.5)
    assert found.detections.names == ["cat"]
    (origin,) = found.origins
    assert origin.default_box.number == number
    assert str(origin.default_box) == "extra1_2 5x5, cell (2, 1), 2:1"
    width, height = 160 * 2**0.5 / 320 * 300, 160 / 2**0.5 / 320 * 200
    expected = (150 - width / 2, 60 - height / 2, 150 + width / 2, 60 + height / 2)
    assert origin.default_box.box_xyxy == pytest.approx(expected, abs=1e-3)
    moved = np.add(expected, [0.1 * width, 0, 0.1 * width, 0])
    assert origin.iou == pytest.approx(float(iou(np.array(expected), moved)), abs=1e-4)
    assert found.maps[2] == ("extra1_2", 150, 1)
    assert sum(count for _, count, _ in found.maps) == len(network.default_boxes)
    assert not found.objects
    assert not found.mined


def test_ground_truth_are_traced_to_the_boxes_that_learn_them(network: SSD) -> None:
    for place, head in enumerate(network.heads.confidence.values()):
        head.pointwise.bias.data[0::3] = 9 - place  # each map is less sure of background than the one before
    boxes = network.default_boxes.numpy()
    ground_truth = boxes[2400 + 600 + 12 * 6][None]  # the square in the middle of 5x5
    found = explain(
        network, IMAGE, score=0.5, ground_truth=GroundTruthToLearn(ground_truth, np.array([0]), iou_threshold=0.6)
    )
    (learnt,) = found.objects
    assert learnt.label == "car"
    assert learnt.iou == pytest.approx(1)
    assert str(learnt.best) == "extra1_2 5x5, cell (2, 2), square 160"
    overlaps = iou(np.repeat(ground_truth, len(boxes), axis=0), boxes)
    assert sorted(box.number for box in learnt.default_boxes) == np.flatnonzero(overlaps >= 0.6).tolist()
    assert len(found.mined) == 3 * len(learnt.default_boxes)
    losses = [loss for _, loss in found.mined]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1]
    assert not {box.number for box, _ in found.mined} & set(np.flatnonzero(overlaps >= 0.5).tolist())
    page = render("<x>", IMAGE, found)
    assert "&lt;x&gt;" in page
    assert page.count("<img") == 1 + len(LITE.sources)
    json.dumps(found.to_json(), allow_nan=False)


def test_every_default_box_has_its_place() -> None:
    model = SSD(replace(SSD300_VGG16, width=1 / 16), seed=0).eval()
    found = explain(model, IMAGE, score=0.999)
    assert [count for _, count, _ in found.maps] == [5776, 2166, 600, 150, 36, 4]


def test_the_command(network: SSD, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(tmp_path / "model", network, card="", provenance={"recipe": {"overlap_threshold": 0.35}})
    data = voc(tmp_path / "set", {"a": [("car", (5, 5, 25, 20)), ("tram", (1, 1, 9, 9))]}, {"train": ["a"]})
    image, page, figures = data / "JPEGImages/a.png", tmp_path / "page.html", tmp_path / "f.json"
    command = ["explain", str(image), "--model", str(tmp_path / "model"), "--report", str(page)]
    assert run([*command, "--data", str(data), "--json", str(figures)]) == 0
    result = json.loads(figures.read_text())
    assert [one["label"] for one in result["truths"]] == ["car"]  # the model knows no trams
    assert result["ground_truth"] == result["truths"]
    assert result["iou_threshold"] == result["overlap_threshold"] == 0.35
    assert "labelled car: learnt by" in capsys.readouterr().out
    assert "Each map" in page.read_text()
    assert run([*command[:-2], "--out", str(page)]) == 0  # as it was called before
    assert "--report" in capsys.readouterr().err
    other = tmp_path / "b.png"
    Image.fromarray(IMAGE).save(other)
    assert run(["explain", str(other), *command[2:], "--data", str(data)]) == 2
    assert "no image of that name: b.png" in capsys.readouterr().err
    assert run([*command[:-1], str(image)]) == 2
    config = (tmp_path / "model/config.json").read_bytes()
    assert run([*command[:-1], str(tmp_path / "model/config.json")]) == 2
    assert run([*command, "--json", str(tmp_path / "model/config.json")]) == 2
    assert (tmp_path / "model/config.json").read_bytes() == config
    for score in ("nan", "-0.1", "2"):
        assert run([*command, "--score", score]) == 2
    trams = voc(tmp_path / "trams", {"a": [("tram", (1, 1, 9, 9))]}, {"train": ["a"]})
    capsys.readouterr()
    assert run(["explain", str(trams / "JPEGImages/a.png"), *command[2:], "--data", str(trams)]) == 2
    assert "no class in common" in capsys.readouterr().err
    assert run(["explain", str(tmp_path / "none.jpg"), "--out", str(page)]) != 0
