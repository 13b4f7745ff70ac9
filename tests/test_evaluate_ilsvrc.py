"""ILSVRC DET's evaluation: small objects may be met less exactly, and a taken object is passed over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation_examples import annotations, detections, random_set
from singleshot.evaluate.compare import compare
from singleshot.evaluate.matching import ILSVRC, TRUE_POSITIVE, MatchedDetections, iou_thresholds
from singleshot.evaluate.protocols import default_protocol, evaluate

CAT, DOG = 0, 1


def test_the_threshold_of_small_objects():
    boxes = np.array([[0.0, 0, 9, 9], [0, 0, 9, 99], [0, 0, 23, 23], [0, 0, 24, 24]])
    assert iou_thresholds(ILSVRC, boxes)[0] == pytest.approx([100 / 400, 1000 / (20 * 110), 576 / 34**2, 0.5])


def test_hand_worked_images():
    ground_truth = annotations([[(0, 0, 9, 9, CAT), (100, 100, 139, 139, CAT), (104, 100, 143, 139, CAT)]])
    detected = [
        detections([
            (0, 0, 19, 19, CAT, 0.9),  # 100 / 400: enough for ten pixels
            (100, 100, 139, 139, CAT, 0.8),
            (100, 100, 139, 139, CAT, 0.7),  # the first is taken: the second, which overlaps by 36 / 44
            (100, 100, 139, 139, CAT, 0.6),  # nothing is left
        ])
    ]  # fmt: skip
    result = evaluate(ground_truth, detected, "ilsvrc")
    assert result.counts["cat"].true_positives == 3
    assert result.per_class == {"cat": pytest.approx(1), "dog": None}
    assert evaluate(ground_truth, detected, "voc12").counts["cat"].true_positives == 1


def test_difficult_objects_are_not_there():
    ground_truth = annotations([[(0, 0, 50, 50, CAT), (80, 0, 130, 50, CAT)]], difficult=[False, True])
    detected = [detections([(80, 0, 130, 50, CAT, 0.9), (0, 0, 50, 50, CAT, 0.8)])]
    assert evaluate(ground_truth, detected, "ilsvrc").per_class["cat"] == pytest.approx(0.5)


def reference(ground_truth, detected, label):
    """One image and class at a time, in plain loops, as the development kit does."""
    rows = []
    for image, of_image in enumerate(detected):
        here = ground_truth.ground_truth(image)
        wanted = here.boxes_xyxy[(here.labels == label) & ~here.difficult]
        taken = [False] * len(wanted)
        for box, score, of in zip(of_image.boxes, of_image.scores, of_image.labels, strict=True):
            if of != label:
                continue
            best, choice = -1.0, None
            for number, target in enumerate(wanted):
                across = min(box[2], target[2]) - max(box[0], target[0]) + 1
                down = min(box[3], target[3]) - max(box[1], target[1]) + 1
                if taken[number] or across <= 0 or down <= 0:
                    continue
                w, h = target[2] - target[0] + 1, target[3] - target[1] + 1
                union = (box[2] - box[0] + 1) * (box[3] - box[1] + 1) + w * h - across * down
                overlap = across * down / union
                if overlap >= min(0.5, w * h / ((w + 10) * (h + 10))) and overlap > best:
                    best, choice = overlap, number
            if choice is not None:
                taken[choice] = True
            rows.append((float(score), choice is not None))
    return sum(hit for _, hit in rows)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_plain_loops_find_the_same(seed):
    ground_truth, detected = random_set(seed)
    matched = MatchedDetections.of(ground_truth, detected, ILSVRC)
    for label in range(len(ground_truth.class_names)):
        assert np.count_nonzero(matched.outcomes[matched.of_class(label)] == TRUE_POSITIVE) == reference(
            ground_truth, detected, label
        )


def test_two_models_compare_by_it():
    ground_truth, detected = random_set(3)
    result = compare(ground_truth, detected, detected, protocol="ilsvrc", resamples=20)
    assert result.against == pytest.approx(evaluate(ground_truth, detected, "ilsvrc").mean_ap)
    assert result.low == result.high == 0
    assert default_protocol(annotations([[]], format_name="ilsvrc")) == "ilsvrc"
