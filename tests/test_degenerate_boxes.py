"""The one rule for usable boxes, and that everybody who has one follows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluation_examples import annotations, detections
from singleshot.box_search.recall import learnable
from singleshot.data.sample import ground_truth_to_learn
from singleshot.degenerate_boxes import (
    BOX_FAULTS,
    box_faults,
    box_sides,
    count_box_faults,
    faults_of_set,
    usable_boxes,
    usable_in_set,
)
from singleshot.evaluate.protocols import evaluate

NAN = float("nan")
BOXES = {  # in an image of 200x200
    "good": (10, 20, 30, 50),
    "partly outside": (150, 20, 250, 50),
    "outside": (210, 20, 250, 50),
    "inverted": (30, 20, 10, 50),
    "zero area": (30, 20, 30, 50),
    "not finite": (NAN, 20, 30, 50),
}
USABLE = {"good", "partly outside"}


def set_of(*names: str):
    return annotations([[(*BOXES[name], 0) for name in names]])


@pytest.mark.parametrize("name", BOXES)
def test_each_fault_by_hand(name):
    box = np.float32([BOXES[name]])
    assert BOX_FAULTS[box_faults(box, width=200, height=200)[0]] == name
    assert usable_boxes(box, width=200, height=200)[0] == (name in USABLE)


def test_without_borders_nothing_is_outside():
    boxes = np.float32([*BOXES.values(), (-20, -20, -10, -10)])
    names = [BOX_FAULTS[fault] for fault in box_faults(boxes)]
    assert names == ["good", "good", "good", "inverted", "zero area", "not finite", "good"]


def test_the_slack_at_the_border_is_a_ten_thousandth_of_the_side():
    boxes = np.float32([(10, 10, 200.019, 20), (10, 10, 200.03, 20), (-0.019, 10, 50, 20)])
    assert [BOX_FAULTS[fault] for fault in box_faults(boxes, width=200, height=200)] == [
        "good",
        "partly outside",
        "good",
    ]


def test_each_image_has_its_own_borders():
    two = annotations([[(0, 0, 90, 90, 0)], [(0, 0, 90, 90, 0)]])
    two = replace(two, sizes_wh=np.array([(200, 200), (50, 100)], np.int32))
    assert [BOX_FAULTS[fault] for fault in faults_of_set(two)] == ["good", "partly outside"]
    assert count_box_faults(two) == {"partly outside": 1}


@pytest.mark.parametrize("name", BOXES)
def test_training_statistics_box_search_and_evaluation_agree(name):
    data = set_of(name)
    usable = name in USABLE
    assert usable_in_set(data).tolist() == [usable]
    learnt, _, _ = ground_truth_to_learn(data.ground_truth(0), width=200, height=200)
    assert len(learnt) == usable
    assert len(box_sides(data)[0]) == usable
    searched = learnable(data)
    assert len(searched.boxes_xyxy) == usable
    assert searched.degenerate == (not usable)
    np.testing.assert_allclose(searched.boxes_xyxy, learnt)  # clipped likewise
    counts = evaluate(data, [detections([(0, 0, 5, 5, 0, 0.5)])], "voc07").counts["cat"]
    counted = usable or name == "outside"  # VOC's and COCO's tools know no borders
    assert (counts.ground_truth, counts.ignored) == (int(counted), int(not counted))
