"""Recall against the number of proposals: by hand, against plain loops, its laws, and through the command."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_fixtures import coco, coco_content, voc
from evaluation_examples import annotations, detections, random_set
from singleshot.cli.main import run
from singleshot.errors import DataError
from singleshot.evaluate.proposals import COUNTS, THRESHOLDS, best_ious
from singleshot.evaluate.protocols import evaluate
from singleshot.models.ssd import SSD
from singleshot.variants import MULTIBOX_MOBILENETV2, SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from pathlib import Path

CAT, DOG = 0, 1


def test_hand_worked_images():
    ground_truth = annotations([[(0, 0, 10, 10, CAT), (20, 0, 30, 10, DOG)], [(0, 0, 10, 10, CAT)], []])
    detected = [
        detections([
            (50, 50, 60, 60, CAT, 0.9),
            (0, 0, 10, 10, DOG, 0.8),  # of another class: reached all the same
            (20, 0, 30, 6, DOG, 0.7),  # 0.6
            (20, 0, 30, 8, DOG, 0.6),  # 0.8: nearer, but fourth
        ]),
        detections([(0, 0, 10, 7, CAT, 0.3)]),  # 0.7
        detections([(0, 0, 1, 1, CAT, 0.3)]),
    ]  # fmt: skip
    result = evaluate(ground_truth, detected, "proposals")
    recall = result.proposals
    assert recall.counts[:4] == (1, 2, 5, 10)
    assert recall.at(0.5)[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert recall.at(0.7)[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    # The third image's object counts at 0.5 .. 0.7, the second object of the first at 0.5 .. 0.8, the first at all ten.
    assert recall.average[:3] == pytest.approx([5 / 30, 15 / 30, 22 / 30])
    assert recall.average[3:] == pytest.approx([22 / 30] * (len(COUNTS) - 3))  # fewer than asked for: all there are
    assert recall.per_image == 2
    assert result.figure == ("AR100", pytest.approx(22 / 30))
    assert result.mean_ap is None


def test_one_proposal_may_reach_several_ground_truth():
    ground_truth = annotations([[(0, 0, 10, 10, CAT), (0, 0, 10, 8, CAT)]])
    detected = [detections([(0, 0, 10, 9, CAT, 0.9)])]
    assert evaluate(ground_truth, detected, "proposals").proposals.at(0.5).tolist() == [1] * len(COUNTS)


def test_all_proposals_of_the_largest_image_are_the_last_number():
    ground_truth = annotations([[(0, 0, 10, 10, CAT)]])
    rows = [(50.0, 50, 60, 60, CAT, 1 - i / 4000) for i in range(1419)]
    detected = [detections([*rows, (0, 0, 10, 10, CAT, 0.1)])]
    recall = evaluate(ground_truth, detected, "proposals").proposals
    assert recall.counts == (*COUNTS, 1420)
    assert recall.at(0.5).tolist() == [0] * len(COUNTS) + [1]


def test_ground_truth_that_do_not_count_are_left_out():
    boxes = [(0, 0, 10, 10, CAT), (20, 0, 30, 10, CAT), (40, 0, 50, 10, DOG), (9, 9, 9, 12, CAT)]
    difficult, crowd = [False, True, False, False], [False, False, True, False]
    ground_truth = annotations([boxes], difficult=difficult, crowd=crowd)
    result = evaluate(ground_truth, [detections([(0, 0, 10, 10, CAT, 0.9)])], "proposals")
    assert result.proposals.recall.min() == 1
    assert (result.counts["object"].ground_truth, result.counts["object"].ignored) == (1, 3)


def test_without_ground_truth_or_images_there_is_no_figure():
    for ground_truth, detected in (
        (annotations([[]]), [detections([(0, 0, 10, 10, CAT, 0.9)])]),
        (annotations([]), []),
    ):
        result = evaluate(ground_truth, detected, "proposals")
        assert result.proposals is None
        assert result.figure == ("AR100", None)
        json.dumps(result.to_json(), allow_nan=False)


def test_without_proposals_nothing_is_reached():
    ground_truth = annotations([[(0, 0, 10, 10, CAT)]])
    assert evaluate(ground_truth, [detections([])], "proposals").proposals.recall.max() == 0


def test_detections_of_another_number_of_images_are_refused():
    with pytest.raises(DataError, match=r"0 images.* 1"):
        evaluate(annotations([[]]), [], "proposals")


def reference(ground_truth, detected, threshold, count):
    """Ground-truth box by ground-truth box and box by box."""
    reached, wanted = 0, 0
    for image, of_image in enumerate(detected):
        here = ground_truth.ground_truth(image)
        order = sorted(range(len(of_image)), key=lambda i: -of_image.scores[i])
        for target, difficult in zip(here.boxes_xyxy, here.difficult, strict=True):
            if difficult:
                continue
            wanted += 1
            for place in order[:count]:
                box = of_image.boxes[place]
                across = max(np.float32(0), min(box[2], target[2]) - max(box[0], target[0]))
                down = max(np.float32(0), min(box[3], target[3]) - max(box[1], target[1]))
                areas = [(right - left) * (bottom - top) for left, top, right, bottom in (box, target)]
                if across * down / (areas[0] + areas[1] - across * down) >= np.float32(threshold):
                    reached += 1
                    break
    return reached / wanted


@pytest.mark.parametrize("seed", range(5))
def test_the_same_as_plain_loops(seed):
    ground_truth, detected = random_set(seed)
    recall = evaluate(ground_truth, detected, "proposals").proposals
    for threshold in THRESHOLDS:
        expected = [reference(ground_truth, detected, threshold, count) for count in recall.counts]
        assert recall.at(threshold) == pytest.approx(expected)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_recall_never_falls_with_the_number_nor_rises_with_the_threshold(seed):
    recall = evaluate(*random_set(seed, images=4), "proposals").proposals
    if recall is not None:
        assert (np.diff(recall.recall, axis=1) >= 0).all()
        assert (np.diff(recall.recall, axis=0) <= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_never_below_cocos_recall_which_hands_a_box_to_one_ground_truth(seed):
    ground_truth, detected = random_set(seed)
    result = evaluate(ground_truth, detected, "proposals").numbers
    cocos = evaluate(
        ground_truth.as_one_class("object"), [of_image.as_one_class("object") for of_image in detected], "coco"
    ).numbers
    for name in ("AR10", "AR100"):
        assert cocos[name] - 1e-6 <= result[name] <= cocos[name] + 0.2


def test_classes_do_not_matter():
    ground_truth, detected = random_set(3)
    renamed = [replace(of_image, labels=of_image.labels * 0, class_names=("thing",)) for of_image in detected]
    first, second = (evaluate(ground_truth, some, "proposals").to_json() for some in (detected, renamed))
    assert first == second


def test_boxes_of_any_size_have_an_overlap():
    huge = np.array([[-3e38, -3e38, 3e38, 3e38], [0, 0, 10, 10]], np.float32)
    closest = best_ious(huge, np.array([[0, 0, 10, 10]], np.float32), (1, 2))
    assert closest.tolist() == [[0, 1]]


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images: dict[str, Any] = {"a": [("car", (5, 5, 25, 20))], "b": [("cat", (2, 2, 30, 28))], "c": []}
    return voc(tmp_path / "set", images, {"train": ["a"], "val": ["b"], "test": ["a", "b", "c"]})


def figures(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    out = tmp_path / "figures.json"
    assert run(["evaluate", *map(str, arguments), "--json", str(out)]) == 0
    return json.loads(out.read_text())  # type: ignore[no-any-return]


def test_a_class_agnostic_model_is_measured_by_its_proposals(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(tmp_path / "model", SSD(replace(MULTIBOX_MOBILENETV2, width=0.25)), card="")
    page = tmp_path / "report.html"
    detected = figures(tmp_path, data, "--model", tmp_path / "model", "--report", page)
    assert detected["protocol"] == "proposals"
    assert detected["mAP"] is None
    assert detected["truths"] == {"object": 2}
    assert detected["detections"] == {"object": 3 * 1420}
    assert detected["proposals"]["counts"][-1] == 1420
    assert detected["proposals"]["a_picture"] == detected["proposals"]["per_image"] == 1420
    assert detected["proposals"]["recall_at_0.5"][-1] == 1  # of so many boxes one fits
    assert detected["AR100"] == detected["proposals"]["average_recall"][COUNTS.index(100)]
    assert "average recall" in capsys.readouterr().out
    text = page.read_text()
    assert "Recall against the number of proposals" in text
    assert all(f">{tick}</text>" in text for tick in ("1", "10", "100", "1,000"))
    assert "Average precision by class" not in text


def test_any_model_may_be_measured_by_its_proposals(data: Path, tmp_path: Path) -> None:
    save_network(tmp_path / "model", SSD(SSDLITE320_MOBILENETV2.with_input_size(64, 64)), card="")
    detected = figures(tmp_path, data, "--model", tmp_path / "model", "--protocol", "proposals")
    assert detected["proposals"]["counts"] == list(COUNTS)
    assert 0 < detected["proposals"]["a_picture"] <= 200


def test_files_of_proposals_need_no_class_of_the_set(data: Path, tmp_path: Path) -> None:
    boxes = {"a": [5, 5, 25, 20], "b": [2, 2, 30, 28], "c": [0, 0, 9, 9]}
    ours = tmp_path / "found.json"
    documents = [
        {"file": f"{name}.png", "detections": [{"box": box, "label": "object", "score": 0.9}]}
        for name, box in boxes.items()
    ]
    ours.write_text(json.dumps({"images": documents}))
    devkit = tmp_path / "proposals.txt"
    devkit.write_text("".join(f"{name} 0.9 {' '.join(map(str, box))}\n" for name, box in boxes.items()))
    for file in (ours, devkit):
        assert figures(tmp_path, data, "--detections", file, "--protocol", "proposals")["AR10"] == 1
        assert run(["evaluate", str(data), "--detections", str(file)]) == 2


def test_coco_results_of_proposals_need_no_category_of_the_set(tmp_path: Path) -> None:
    data = coco(tmp_path / "set", coco_content(), split="val2017")
    rows = [{"image_id": 10 + i, "category_id": 1000, "bbox": [1, 2, 10, 20], "score": 0.5} for i in range(2)]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(rows))
    assert figures(tmp_path, data, "--detections", file, "--protocol", "proposals")["AR10"] == 1
    assert run(["evaluate", str(data), "--detections", str(file)]) == 2


def test_proposals_are_not_compared(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(tmp_path / "model", SSD(SSDLITE320_MOBILENETV2.with_input_size(64, 64)), card="")
    model = str(tmp_path / "model")
    assert run(["evaluate", str(data), "--model", model, "--against", model, "--protocol", "proposals"]) == 2
    assert "--against" in " ".join(capsys.readouterr().err.split())


def test_a_class_agnostic_model_has_no_average_precision(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(tmp_path / "model", SSD(replace(MULTIBOX_MOBILENETV2, width=0.25)), card="")
    assert run(["evaluate", str(data), "--model", str(tmp_path / "model"), "--protocol", "voc07"]) == 2
    assert "no class in common: object of" in " ".join(capsys.readouterr().err.split())
