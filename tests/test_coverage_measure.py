"""Coverage: hand examples and the obvious loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground_truth_sets import ground_truth_set
from singleshot.box_search.measure import measure
from singleshot.boxes import iou

QUARTERS = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]], np.float32)


def test_by_hand() -> None:
    # In a 320 image: a quarter exactly, half of a quarter (IoU 0.5 exactly), a dot, a dot of the other class.
    ground_truth = ground_truth_set(
        [[0, 0, 160, 160], [160, 0, 320, 80], [10, 10, 20, 20], [300, 300, 310, 310]], [1, 1, 1, 0]
    )
    coverage = measure(ground_truth, QUARTERS)
    assert coverage.lines() == [
        "dot: 0% of 1 ground-truth box has a default box of IoU >= 0.5",
        "plate: 66% of 3 ground-truth boxes have a default box of IoU >= 0.5",
    ]
    assert coverage.share == 0.5
    assert coverage.shares.tolist() == pytest.approx([0, 2 / 3])
    assert coverage.positives.tolist() == pytest.approx([0, 2 / 3])
    assert coverage.ground_truth_by_size.tolist() == [2, 0, 0, 1, 1]
    assert coverage.covered_by_size.tolist() == [0, 0, 0, 1, 1]
    assert coverage.size_lines()[0] == "0% to 5% of the image's side: 0% of 2 objects"
    assert coverage.size_lines()[-1] == "above 40% of the image's side: 100% of 1 objects"


def test_the_threshold_is_a_parameter() -> None:
    ground_truth = ground_truth_set([[160, 0, 320, 80]], [0])
    assert measure(ground_truth, QUARTERS, threshold=0.51).covered.tolist() == [0, 0]
    assert measure(ground_truth, QUARTERS, threshold=0.51).lines() == [
        "dot: 0% of 1 ground-truth box has a default box of IoU >= 0.51"
    ]


def test_ground_truth_that_cannot_be_learnt_are_left_out_and_counted() -> None:
    boxes = [[0, 0, 160, 160], [5, 5, 5, 9], [9, 9, 2, 12], [np.nan, 0, 5, 5], [0, 0, 160, 160]]
    coverage = measure(ground_truth_set(boxes, [0] * 5, crowd=[False, False, False, False, True]), QUARTERS)
    assert coverage.ground_truth.tolist() == [1, 0]
    assert coverage.degenerate == 3
    assert coverage.lines()[-1] == "left out: 3 ground-truth boxes without area"


def test_images_of_unknown_size_are_counted() -> None:
    coverage = measure(ground_truth_set([[0, 0, 10, 10]], [0], size_wh=(0, 0)), QUARTERS)
    assert coverage.unsized == 1
    assert coverage.lines() == ["left out: 1 ground-truth boxes in images of unknown size"]
    assert np.isnan(coverage.share)


def test_images_are_warped_to_the_square() -> None:
    coverage = measure(ground_truth_set([[0, 0, 320, 120]], [0], size_wh=(640, 240)), QUARTERS)
    assert coverage.best_overlaps.tolist() == [1]


@pytest.mark.parametrize("default_boxes", [QUARTERS[:0], QUARTERS])
def test_no_ground_truth_and_no_default_boxes(default_boxes: np.ndarray) -> None:
    nothing = measure(ground_truth_set([], []), default_boxes)
    assert nothing.lines() == []
    assert nothing.num_default_boxes == len(default_boxes)
    if not len(default_boxes):
        assert measure(ground_truth_set([[0, 0, 10, 10]], [0]), default_boxes).shares[0] == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_equals_the_loop(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 300, (count, 2))
    ground_truth = np.concatenate([corners, corners + random.uniform(1, 150, (count, 2))], axis=1).astype(np.float32)
    labels = random.integers(0, 2, count)
    start = random.uniform(-0.2, 1, (50, 2))
    boxes = np.concatenate([start, start + random.uniform(0.05, 0.6, (50, 2))], axis=1).astype(np.float32)
    coverage = measure(ground_truth_set(ground_truth, labels), boxes, threshold=0.3)
    clipped = ground_truth.clip(max=320) / np.float32(320)  # as training clips what sticks out
    found = [[float(iou(target, box)) for box in boxes] for target in clipped]
    assert coverage.best_overlaps.tolist() == pytest.approx([max(row) for row in found], abs=1e-6)
    for label in range(2):
        rows = [row for row, own in zip(found, labels, strict=True) if own == label]
        assert coverage.ground_truth[label] == len(rows)
        assert coverage.covered[label] == sum(max(row) >= 0.3 for row in rows)
        if rows:
            assert coverage.positives[label] == pytest.approx(np.mean([sum(v >= 0.3 for v in row) for row in rows]))


def test_the_work_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    ground_truth = ground_truth_set([[0, 0, 10 * i + 10, 160] for i in range(20)], [0] * 20)
    whole = measure(ground_truth, QUARTERS)
    monkeypatch.setattr("singleshot.box_search.measure.PAIRS_AT_ONCE", 12)
    assert measure(ground_truth, QUARTERS).best_overlaps.tolist() == whole.best_overlaps.tolist()


def test_of_many_classes_those_covered_least_are_named() -> None:
    names = tuple(f"class{i:02}" for i in range(30))
    boxes = [[300, 300, 310, 310] if i % 2 else [0, 0, 160, 160] for i in range(30)]
    lines = measure(ground_truth_set(boxes, list(range(30)), names), QUARTERS).lines()
    assert len(lines) == 21
    assert all(
        f"class{i:02}: 0% of 1 ground-truth box has a default box of IoU >= 0.5" in lines for i in range(1, 30, 2)
    )
    assert lines[-1] == "the other 10 classes: at least 100% of their objects"
