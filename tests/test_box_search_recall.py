"""Default-box recall: worked examples and the obvious loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground_truth_sets import ground_truth_set
from singleshot.box_search.recall import measure_recall, sample_of
from singleshot.boxes import iou
from singleshot.data.classes import join

QUARTERS = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]], np.float32)


def test_by_hand() -> None:
    # In a 320 image: a quarter exactly, half of a quarter (IoU 0.5 exactly), a dot, a dot of the other class.
    ground_truth = ground_truth_set(
        [[0, 0, 160, 160], [160, 0, 320, 80], [10, 10, 20, 20], [300, 300, 310, 310]], [1, 1, 1, 0]
    )
    recall = measure_recall(ground_truth, QUARTERS)
    assert recall.lines() == [
        "dot: 0% of 1 ground-truth box has a default box of IoU >= 0.5",
        "plate: 66% of 3 ground-truth boxes have a default box of IoU >= 0.5",
    ]
    assert recall.total == 0.5
    assert recall.per_class.tolist() == pytest.approx([0, 2 / 3])
    assert recall.fitting_per_object.tolist() == pytest.approx([0, 2 / 3])
    assert [(entry.objects, entry.matched) for entry in recall.by_size()] == [(2, 0), (0, 0), (0, 0), (1, 1), (1, 1)]
    assert [entry.recall for entry in recall.by_size() if entry.objects] == [0, 1, 1]
    assert [(entry.low, entry.high) for entry in recall.by_size()][-1] == (0.4, np.inf)
    assert recall.matched.tolist() == [True, True, False, False]


def test_shapes_are_those_of_the_network_input() -> None:
    """A 160 x 80 object of a 320 x 320 image is 2 : 1 in a square input and a square in one twice as high."""
    recall = measure_recall(ground_truth_set([[160, 0, 320, 80]], [0]), QUARTERS)
    square, high = recall.by_shape((300, 300)), recall.by_shape((600, 300))
    assert [(entry.low, entry.high) for entry in square if entry.objects] == [(2.0, 3.0)]
    assert [(entry.low, entry.high) for entry in high if entry.objects] == [(2 / 3, 1.5)]


def test_classes_of_twenty_objects_decide_or_all_where_there_are_none() -> None:
    hit, miss = [0, 0, 160, 160], [300, 300, 310, 310]
    boxes = [hit] * 19 + [miss] + [miss] * 19
    recall = measure_recall(ground_truth_set(boxes, [0] * 20 + [1] * 19), QUARTERS)
    assert recall.deciding.tolist() == [0]
    assert (recall.lowest, recall.mean) == (pytest.approx(0.95), pytest.approx(0.95))
    few = measure_recall(ground_truth_set(boxes[1:], [0] * 19 + [1] * 19), QUARTERS)
    assert few.deciding.tolist() == [0, 1]
    assert (few.lowest, few.mean) == (0, pytest.approx(9 / 19))
    assert measure_recall(ground_truth_set([], []), QUARTERS).lowest == 0


def test_large_sets_are_sampled_evenly_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    images = join([ground_truth_set([[place, 0, 160, 160]] * 6, [0] * 6) for place in range(10)])
    monkeypatch.setattr("singleshot.box_search.recall.LARGEST_SAMPLE", 30)
    sample, remark = sample_of(images)
    assert sample.boxes_xyxy[::6, 0].tolist() == [0, 2, 4, 6, 8]
    assert remark == " (measured on 5 of 10 images)"
    monkeypatch.setattr("singleshot.box_search.recall.LARGEST_SAMPLE", 60)
    assert sample_of(images) == (images, "")


def test_the_threshold_is_a_parameter() -> None:
    ground_truth = ground_truth_set([[160, 0, 320, 80]], [0])
    assert measure_recall(ground_truth, QUARTERS, threshold=0.51).matched.tolist() == [False]
    assert measure_recall(ground_truth, QUARTERS, threshold=0.51).lines() == [
        "dot: 0% of 1 ground-truth box has a default box of IoU >= 0.51"
    ]


def test_ground_truth_that_cannot_be_learnt_are_left_out_and_counted() -> None:
    boxes = [[0, 0, 160, 160], [5, 5, 5, 9], [9, 9, 2, 12], [np.nan, 0, 5, 5], [0, 0, 160, 160]]
    recall = measure_recall(ground_truth_set(boxes, [0] * 5, crowd=[False, False, False, False, True]), QUARTERS)
    assert recall.counts.tolist() == [1, 0]
    assert recall.ground_truth.degenerate == 3
    assert recall.lines()[-1] == "left out: 3 ground-truth boxes without area"


def test_images_of_unknown_size_are_counted() -> None:
    recall = measure_recall(ground_truth_set([[0, 0, 10, 10]], [0], size_wh=(0, 0)), QUARTERS)
    assert recall.ground_truth.unsized == 1
    assert recall.lines() == ["left out: 1 ground-truth boxes in images of unknown size"]
    assert np.isnan(recall.total)


def test_images_are_warped_to_the_square() -> None:
    recall = measure_recall(ground_truth_set([[0, 0, 320, 120]], [0], size_wh=(640, 240)), QUARTERS)
    assert recall.best_ious.tolist() == [1]


@pytest.mark.parametrize("default_boxes", [QUARTERS[:0], QUARTERS])
def test_no_ground_truth_and_no_default_boxes(default_boxes: np.ndarray) -> None:
    nothing = measure_recall(ground_truth_set([], []), default_boxes)
    assert nothing.lines() == []
    assert nothing.num_default_boxes == len(default_boxes)
    if not len(default_boxes):
        assert measure_recall(ground_truth_set([[0, 0, 10, 10]], [0]), default_boxes).per_class[0] == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_equals_the_loop(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 300, (count, 2))
    ground_truth = np.concatenate([corners, corners + random.uniform(1, 150, (count, 2))], axis=1).astype(np.float32)
    labels = random.integers(0, 2, count)
    start = random.uniform(-0.2, 1, (50, 2))
    boxes = np.concatenate([start, start + random.uniform(0.05, 0.6, (50, 2))], axis=1).astype(np.float32)
    recall = measure_recall(ground_truth_set(ground_truth, labels), boxes, threshold=0.3)
    clipped = ground_truth.clip(max=320) / np.float32(320)  # as training clips what sticks out
    ious = [[float(iou(target, box)) for box in boxes] for target in clipped]
    assert recall.best_ious.tolist() == pytest.approx([max(row) for row in ious], abs=1e-6)
    for label in range(2):
        rows = [row for row, own in zip(ious, labels, strict=True) if own == label]
        assert recall.counts[label] == len(rows)
        if rows:
            assert recall.per_class[label] == pytest.approx(np.mean([max(row) >= 0.3 for row in rows]))
            assert recall.fitting_per_object[label] == pytest.approx(
                np.mean([sum(v >= 0.3 for v in row) for row in rows])
            )


def test_the_work_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    ground_truth = ground_truth_set([[0, 0, 10 * i + 10, 160] for i in range(20)], [0] * 20)
    whole = measure_recall(ground_truth, QUARTERS)
    monkeypatch.setattr("singleshot.box_search.recall.PAIRS_AT_ONCE", 12)
    assert measure_recall(ground_truth, QUARTERS).best_ious.tolist() == whole.best_ious.tolist()


def test_of_many_classes_those_covered_least_are_named() -> None:
    names = tuple(f"class{i:02}" for i in range(30))
    boxes = [[300, 300, 310, 310] if i % 2 else [0, 0, 160, 160] for i in range(30)]
    lines = measure_recall(ground_truth_set(boxes, list(range(30)), names), QUARTERS).lines()
    assert len(lines) == 21
    assert all(
        f"class{i:02}: 0% of 1 ground-truth box has a default box of IoU >= 0.5" in lines for i in range(1, 30, 2)
    )
    assert lines[-1] == "the other 10 classes: at least 100% of their objects"
