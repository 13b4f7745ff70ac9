from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from singleshot.boxes import (
    area,
    clip_boxes,
    cxcywh_to_xyxy,
    flip_horizontally,
    intersection,
    iou,
    namespace,
    pairwise_iou,
    xyxy_to_cxcywh,
)

EIGHTHS = st.integers(-8, 16).map(lambda n: n / 8)  # exact in float32, so laws hold without a tolerance
BOXES = st.integers(0, 6).flatmap(lambda n: arrays(np.float32, (n, 4), elements=EIGHTHS))
KINDS = pytest.mark.parametrize("array", [np.float32, torch.tensor], ids=["numpy", "torch"])


def make(array, values):
    return np.array(values, np.float32) if array is np.float32 else torch.tensor(values, dtype=torch.float32)


def slow_iou(first, second):
    """The definition, one number at a time."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    inverted = [box[2] < box[0] or box[3] < box[1] for box in (first, second)]
    areas = [0.0 if wrong else size for size, wrong in zip(areas, inverted, strict=True)]
    return width * height / (sum(areas) - width * height)


@KINDS
def test_a_worked_example(array):
    box = make(array, [[1, 2, 4, 8]])
    assert xyxy_to_cxcywh(box).tolist() == [[2.5, 5, 3, 6]]
    assert cxcywh_to_xyxy(make(array, [[2.5, 5, 3, 6]])).tolist() == [[1, 2, 4, 8]]
    assert area(box).tolist() == [18]
    assert area(make(array, [[4, 2, 1, 8], [4, 8, 1, 2]])).tolist() == [0, 0]  # inverted in one axis, and in both
    assert intersection(box, make(array, [[3, 0, 9, 4]])).tolist() == [2]
    assert iou(box, make(array, [[3, 0, 9, 4]])).tolist() == pytest.approx([2 / (18 + 24 - 2)])
    assert clip_boxes(make(array, [[-1, 2, 4, 8]]), width=3, height=5).tolist() == [[0, 2, 3, 5]]
    assert flip_horizontally(box, width=10).tolist() == [[6, 2, 9, 8]]


@KINDS
def test_results_stay_in_their_own_library(array):
    box = make(array, [[0, 0, 1, 1]])
    assert namespace(box) is (np if array is np.float32 else torch)
    for result in (xyxy_to_cxcywh(box), area(box), pairwise_iou(box, box), clip_boxes(box, width=1, height=1)):
        assert type(result) is type(box)
        assert result.dtype == box.dtype


@KINDS
@pytest.mark.parametrize(
    ("other", "why"),
    [
        ([1, 0, 2, 1], "only touches"),
        ([5, 5, 6, 6], "is elsewhere"),
        ([0.5, 0.5, 0.5, 0.5], "has no area"),
        ([0.8, 0.8, 0.2, 0.2], "is inverted"),
    ],
)
def test_nothing_in_common_is_zero(array, other, why):
    square = make(array, [[0, 0, 1, 1]])
    assert iou(square, make(array, [other])).tolist() == [0], why
    assert iou(make(array, [other]), square).tolist() == [0], why


@KINDS
def test_no_boxes_at_all(array):
    none = make(array, np.zeros((0, 4)).tolist()).reshape(0, 4)
    unit = make(array, [[0, 0, 1, 1]])
    assert tuple(pairwise_iou(none, unit).shape) == (0, 1)
    assert tuple(pairwise_iou(unit, none).shape) == (1, 0)
    assert tuple(xyxy_to_cxcywh(none).shape) == (0, 4)


@KINDS
def test_leading_axes_broadcast(array):
    batch = make(array, [[[0, 0, 2, 2]], [[1, 1, 2, 2]]])  # (2, 1, 4)
    row = make(array, [[0, 0, 2, 2], [0, 0, 1, 1], [1, 0, 2, 2]])  # (3, 4)
    assert tuple(iou(batch, row).shape) == (2, 3)
    assert tuple(pairwise_iou(batch, row).shape) == (2, 1, 3)
    assert iou(batch, row).tolist() == [[1, 0.25, 0.5], [0.25, 0, 0.5]]


@given(BOXES)
def test_formats_are_inverse(boxes):
    np.testing.assert_array_equal(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


@given(BOXES)
def test_flip_twice_is_identity_and_keeps_area(boxes):
    flipped = flip_horizontally(boxes, width=1)
    np.testing.assert_array_equal(flip_horizontally(flipped, width=1), boxes)
    np.testing.assert_array_equal(area(flipped), area(boxes))


@given(BOXES)
def test_clipped_boxes_lie_inside_and_stay_so(boxes):
    clipped = clip_boxes(boxes, width=1, height=1.5)
    assert (clipped >= 0).all()
    assert (clipped[:, ::2] <= 1).all()
    assert (clipped[:, 1::2] <= 1.5).all()
    np.testing.assert_array_equal(clip_boxes(clipped, width=1, height=1.5), clipped)


@given(BOXES, BOXES)
def test_pairwise_iou_is_the_definition_is_symmetric_and_equal_in_both_libraries(rows, columns):
    overlaps = pairwise_iou(rows, columns)
    expected = np.array([[slow_iou(row, column) for column in columns] for row in rows], np.float32)
    np.testing.assert_allclose(overlaps, expected.reshape(len(rows), len(columns)), rtol=1e-6)
    np.testing.assert_array_equal(overlaps, pairwise_iou(columns, rows).T)
    np.testing.assert_array_equal(overlaps, pairwise_iou(torch.tensor(rows), torch.tensor(columns)).numpy())
    assert ((overlaps >= 0) & (overlaps <= 1)).all()
    assert (intersection(rows[:, None], columns) >= 0).all()


@given(BOXES)
def test_a_box_with_area_is_one_with_itself(boxes):
    proper = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
    assert (iou(proper, proper) == 1).all()


def test_a_smaller_shift_overlaps_more():
    shifts = np.linspace(0, 1, 9, dtype=np.float32)
    moved = np.stack([shifts, shifts * 0, shifts + 1, shifts * 0 + 1], axis=1)
    overlaps = pairwise_iou(moved[:1], moved)[0]
    assert all(before > after for before, after in pairwise(overlaps))
