from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from singleshot.data.brush_masks import box_of_brush


def brush(mask: np.ndarray, *, repeat: bool) -> list[int]:
    """The stream of a mask as RGBA of 0 and 255: every run repeated, or every value written out."""
    values = np.repeat(mask.reshape(-1), 4).astype(int) * 255
    bits = f"{len(values):032b}{7:05b}" + f"{0:04b}{3:04b}{7:04b}{15:04b}"
    begin = 0
    while begin < len(values):
        end = begin + 1
        while end < len(values) and (values[end] == values[begin] or not repeat) and end - begin < 256:
            end += 1
        bits += f"{int(repeat)}{2:02b}{end - begin - 1:08b}"
        bits += f"{values[begin]:08b}" if repeat else "".join(f"{value:08b}" for value in values[begin:end])
        begin = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)), st.booleans())
def test_the_box_of_a_brush_encloses_its_pixels(mask: np.ndarray, repeat: bool) -> None:
    height, width = mask.shape
    if not mask.any():
        with pytest.raises(ValueError, match="no pixel"):
            box_of_brush(brush(mask, repeat=repeat), height=height, width=width)
        return
    rows, columns = np.nonzero(mask)
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert box_of_brush(brush(mask, repeat=repeat), height=height, width=width) == expected


MASK = brush(np.ones((2, 3), np.uint8), repeat=True)


@pytest.mark.parametrize(
    ("data", "size", "token"),
    [
        (MASK[:-1], (2, 3), "ends within"),
        ([], (2, 3), "ends within"),
        (MASK, (2, 4), "holds 32 values, got 24"),
        ([255] * 40, (2, 3), "got 4294967295"),
        ([255] * 40, (2**15, 2**15), "at most"),
        ([300], (2, 3), "bytes"),
        ("text", (2, 3), "bytes"),
    ],
)
def test_what_is_no_brush(data: Any, size: tuple[int, int], token: str) -> None:
    with pytest.raises(ValueError, match=token):
        box_of_brush(data, height=size[0], width=size[1])


def test_only_alpha_counts() -> None:
    """4 x 1 pixels: red, green and blue of the first are 255, alpha of the last."""
    bits = f"{16:032b}{7:05b}{0:04b}{3:04b}{7:04b}{15:04b}"
    for count, value in ((3, 255), (12, 0), (1, 255)):
        bits += f"1{2:02b}{count - 1:08b}{value:08b}"
    bits += "0" * (-len(bits) % 8)
    data = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    assert box_of_brush(data, height=1, width=4) == (3, 0, 4, 1)
