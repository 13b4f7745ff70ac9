from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caffe_boxes import intersect, locate
from singleshot.augment import geometry

UNIT = np.array([0, 0, 1, 1], np.float32)


def box(*corners: float) -> np.ndarray:
    return np.array(corners, np.float32)


@st.composite
def inner_boxes(draw: st.DrawFn) -> np.ndarray:
    left, top = draw(st.floats(0, 0.8)), draw(st.floats(0, 0.8))
    return box(left, top, left + draw(st.floats(0.1, 0.2)), top + draw(st.floats(0.1, 0.2)))


@given(inner_boxes(), inner_boxes())
def test_projecting_what_was_located_gives_it_back(inner: np.ndarray, frame: np.ndarray) -> None:
    projected, kept = geometry.project(locate(inner, frame), frame)
    np.testing.assert_allclose(projected, inner, atol=1e-4)
    assert kept


def test_projection_by_hand() -> None:
    frame = box(0.5, 0.5, 1, 1)
    boxes = np.array([[0.6, 0.5, 0.7, 0.75], [0.4, 0.4, 2, 2], [0, 0, 0.5, 1], [0.6, 0.6, 0.6, 0.9]], np.float32)
    projected, kept = geometry.project(boxes, frame)
    np.testing.assert_allclose(projected[:2], [[0.2, 0, 0.4, 0.5], [0, 0, 1, 1]], atol=1e-6)
    assert kept.tolist() == [True, True, False, False]  # the third only touches, the fourth has no area


def test_the_centre_rule_includes_the_border() -> None:
    frame = box(0.5, 0, 1, 1)
    boxes = np.array([[0.25, 0, 0.75, 1], [0.25, 0, 0.74, 1], [0.5, 0.5, 0.5, 0.5]], np.float32)
    assert geometry.holds_centre(frame, boxes).tolist() == [True, False, True]
    assert geometry.holds_centre(frame, box(0.75, 0.75, 1.25, 1.25)).tolist()
    assert not geometry.holds_centre(frame, box(0.75, 0.75, 1.25, 1.26)).tolist()


def test_the_coverage_rule_is_strict() -> None:
    boxes = np.array([[0.25, 0, 0.75, 1], [0.26, 0, 0.76, 1]], np.float32)
    assert geometry.covers(box(0.5, 0, 1, 1), boxes, least=0.5).tolist() == [False, True]


def test_intersections_of_touching_and_distant_boxes() -> None:
    np.testing.assert_array_equal(intersect(UNIT, box(1, 0.25, 2, 0.5)), box(1, 0.25, 1, 0.5))
    np.testing.assert_array_equal(intersect(UNIT, box(1.5, 0.25, 2, 0.5)), box(0, 0, 0, 0))


def test_no_boxes() -> None:
    projected, kept = geometry.project(np.zeros((0, 4), np.float32), UNIT)
    assert projected.shape == (0, 4)
    assert kept.shape == (0,)
