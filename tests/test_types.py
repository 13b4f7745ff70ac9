"""`Detections` is indexed, cut, put together and converted as its users expect; arrays are the reference."""

from __future__ import annotations

import doctest
import itertools
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import singleshot.types
from singleshot.errors import RequestError
from singleshot.types import Detection, Detections


def some(count: int, *, seed: int = 0) -> Detections:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (count, 2)).astype(np.float32)
    scores = -np.sort(-random.random(count).astype(np.float32))
    return Detections(np.hstack([corners, corners + 20]), scores, random.integers(0, 2, count), ("cat", "dog"))


def assert_same(first: Detections, second: Detections) -> None:
    np.testing.assert_array_equal(first.boxes, second.boxes, strict=True)
    np.testing.assert_array_equal(first.scores, second.scores, strict=True)
    np.testing.assert_array_equal(first.labels, second.labels, strict=True)
    assert first.class_names == second.class_names


def test_the_example_of_the_documentation_is_true() -> None:
    assert doctest.testmod(singleshot.types).attempted > 0
    assert doctest.testmod(singleshot.types).failed == 0


def test_detections_tell_how_many_and_the_best() -> None:
    boxes = np.array([[1.4, 2, 3, 4]] * 5, np.float32)
    found = Detections(boxes, np.linspace(0.9, 0.1, 5, dtype=np.float32), np.array([0, 1, 0, 1, 0]), ("cat", "dog"))
    assert repr(found) == (
        "<5 detections: cat 0.90 at [1, 2, 3, 4], dog 0.70 at [1, 2, 3, 4], cat 0.50 at [1, 2, 3, 4], ...>"
    )
    assert repr(found.above(0.8)) == "<1 detections: cat 0.90 at [1, 2, 3, 4]>"
    assert repr(found.above(1)) == "<0 detections>"


def test_a_number_gives_one_detection_with_its_name() -> None:
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    detections = Detections(boxes, np.array([0.75, 0.5], np.float32), np.array([1, 0]), ("cat", "dog"))
    assert detections[0] == Detection((1, 2, 3, 4), 0.75, 1, "dog")
    assert detections[np.int64(-1)] == Detection((5, 6, 7, 8), 0.5, 0, "cat")
    assert list(detections) == [detections[0], detections[1]]
    with pytest.raises(IndexError, match="2"):
        detections[2]


@pytest.mark.parametrize(
    "index",
    [slice(None), slice(1, 3), slice(None, None, -1), [2, 0, 2], [], np.array([4]), np.array([True, False] * 3)],
    ids=str,
)
def test_slices_masks_and_numbers_cut_as_they_cut_arrays(index: Any) -> None:
    detections = some(6)
    cut = detections[index]
    array_index = np.array(index, int) if isinstance(index, list) else index
    np.testing.assert_array_equal(cut.boxes, detections.boxes[array_index])
    np.testing.assert_array_equal(cut.scores, detections.scores[array_index])
    assert cut.names == [detections.names[row] for row in np.arange(6)[array_index]]


@pytest.mark.parametrize("index", [None, True, np.array([[0]]), "cat", np.array([True]), 0.5])
def test_other_indices_are_refused(index: Any) -> None:
    with pytest.raises(IndexError):
        some(3)[index]


@given(count=st.integers(0, 20), at=st.lists(st.integers(0, 20), max_size=4))
def test_what_is_split_and_concatenated_is_as_before(count: int, at: list[int]) -> None:
    detections = some(count)
    ends = [0, *sorted(min(place, count) for place in at), count]
    parts = [detections[start:end] for start, end in itertools.pairwise(ends)]
    assert_same(Detections.concatenate(parts), detections)


@given(count=st.integers(0, 20), score=st.floats(0, 1, width=32))
def test_those_above_a_score_and_those_below_are_all(count: int, score: float) -> None:
    detections = some(count)
    assert len(detections.above(score)) + len(detections[detections.scores < score]) == count
    assert all(detection.score >= score for detection in detections.above(score))


def test_a_score_that_is_reached_exactly_is_enough_and_nan_is_not() -> None:
    scores = np.array([0.5, 0.25, np.nan], np.float32)
    detections = Detections(np.zeros((3, 4), np.float32), scores, np.zeros(3, np.int64), ("cat",))
    assert detections.above(0.25).scores.tolist() == [0.5, 0.25]


def test_parts_with_other_classes_and_no_parts_are_refused() -> None:
    detections = some(2)
    with pytest.raises(RequestError, match="bird"):
        Detections.concatenate([detections, detections.as_one_class("bird")])
    with pytest.raises(RequestError, match="at least one"):
        Detections.concatenate([])


@pytest.mark.parametrize(
    ("boxes", "scores", "labels"), [((3, 5), 3, 3), ((2, 4), 3, 3), ((3, 4), 3, 2), ((12,), 3, 3)], ids=str
)
def test_arrays_that_do_not_belong_together_are_refused(boxes: tuple[int, ...], scores: int, labels: int) -> None:
    with pytest.raises(RequestError, match=rf"\({boxes[0]},"):
        Detections(np.zeros(boxes), np.zeros(scores), np.zeros(labels, np.int64), ("cat",))


def test_coco_results_have_corner_and_size_and_leave_out_classes_without_id() -> None:
    boxes = np.array([[1, 2, 4, 8], [0, 0, 5, 5]], np.float32)
    detections = Detections(boxes, np.array([0.5, 0.25], np.float32), np.array([1, 0]), ("cat", "dog"))
    dog = {"image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 6], "score": 0.5}
    cat = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.25}
    assert detections.to_coco(7) == [dog, cat]
    assert detections.to_coco(7, (17, 18)) == [dog | {"category_id": 18}, cat | {"category_id": 17}]
    assert detections.to_coco(7, {"dog": 18}) == [dog | {"category_id": 18}]
    assert detections.to_coco("a", {}) == []


def test_supervision_gets_arrays_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in: the package brings an OpenCV of its own. The same was seen with supervision 0.31.2."""
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=dict))
    detections = some(3)
    converted = detections.to_supervision()
    assert converted["xyxy"] is detections.boxes
    assert converted["confidence"] is detections.scores
    assert converted["class_id"] is detections.labels
    assert converted["data"]["class_name"].tolist() == detections.names
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(RequestError, match="pip install supervision"):
        detections.to_supervision()
