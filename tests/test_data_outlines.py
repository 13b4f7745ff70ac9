from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from singleshot.data.outlines import (
    box_of_coco_outline,
    box_of_ellipse,
    box_of_points,
    box_of_rotated,
    box_of_runs,
    unpack_runs,
)


def runs_of(mask: np.ndarray) -> list[int]:
    """Slowly: one pixel after the other, down the columns."""
    runs, value = [0], 0
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@given(arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 1)))
def test_the_box_of_a_mask_encloses_its_pixels(mask: np.ndarray) -> None:
    if not mask.any():
        with pytest.raises(ValueError, match="no pixel"):
            box_of_runs(runs_of(mask), height=mask.shape[0], width=mask.shape[1])
        return
    rows, columns = np.nonzero(mask)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert box_of_runs(runs_of(mask), height=mask.shape[0], width=mask.shape[1]) == expected


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_packed_counts_equal_pycocotools(mask: np.ndarray) -> None:
    masks = pytest.importorskip("pycocotools.mask")
    packed = masks.encode(np.asfortranarray(mask))
    assert unpack_runs(packed["counts"].decode()) == runs_of(mask)
    if mask.any():
        left, top, width, height = masks.toBbox(packed)
        outline = {"size": list(mask.shape), "counts": packed["counts"].decode()}
        assert box_of_coco_outline(outline) == (left, top, left + width, top + height)


@pytest.mark.parametrize(
    ("outline", "token"),
    [
        ({"size": [2, 2], "counts": [1, 10**18]}, "whole numbers"),
        ({"size": [2, 2], "counts": [10**11, 1]}, "2 x 2"),
        ({"size": [2**20, 2**20], "counts": [1, 2]}, "add up"),
        ({"size": [2, 2], "counts": [-1, 5]}, "whole numbers"),
        ({"size": [2, 2], "counts": "~~~"}, "packed"),
        ({"size": [2, 2], "counts": "P"}, "within a number"),
        ({"size": [2, 2], "counts": "oooooooooooooooooooooooo"}, "packed"),
        ({"size": "2x2", "counts": [4]}, "size"),
        ({}, "size"),
        ([[1, 2, 3]], "x, y"),
        ([["a", "b"]], "two numbers"),
        ([[1e999, 1]], "two numbers"),
        ([[10**400, 1]], "two numbers"),
        ("text", "x, y"),
        ([], "x, y"),
    ],
)
def test_what_is_no_outline(outline: Any, token: str) -> None:
    with pytest.raises(ValueError, match=token) as caught:
        box_of_coco_outline(outline)
    assert len(str(caught.value)) < 200


def test_polygons_in_both_ways_of_writing() -> None:
    assert box_of_coco_outline([[1, 2, 5, 2, 5, 9], [0, 4, 3, 3, 2, 2]]) == (0, 2, 5, 9)
    assert box_of_coco_outline([1, 2, 5, 2, 5, 9]) == (1, 2, 5, 9)


def test_turned_boxes_and_ellipses() -> None:
    assert box_of_rotated((10, 20, 30, 24), 0, about=(10, 20)) == (10, 20, 30, 24)
    np.testing.assert_allclose(box_of_rotated((10, 20, 30, 24), 90, about=(10, 20)), (6, 20, 10, 40), atol=1e-9)
    np.testing.assert_allclose(box_of_rotated((10, 20, 30, 24), 90, about=(20, 22)), (18, 12, 22, 32), atol=1e-9)
    np.testing.assert_allclose(box_of_ellipse((10, 20), (4, 2)), (6, 18, 14, 22))
    np.testing.assert_allclose(box_of_ellipse((10, 20), (4, 2), 90), (8, 16, 12, 24), atol=1e-9)


@given(st.floats(0, 360), st.floats(1, 50), st.floats(1, 50))
def test_an_ellipse_touches_its_box(degrees: float, rx: float, ry: float) -> None:
    angle, turn = np.linspace(0, 2 * np.pi, 2000), np.radians(degrees)
    x, y = rx * np.cos(angle), ry * np.sin(angle)
    points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
    np.testing.assert_allclose(box_of_ellipse((0, 0), (rx, ry), degrees), box_of_points(points.tolist()), atol=1e-3)
