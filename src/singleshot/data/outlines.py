"""Upright boxes of what labelling tools draw: outlines, rotated boxes, ellipses, and masks as run lengths.

Boxes are left, top, right, bottom in pixels. A mask's box encloses its pixels: right and bottom are one beyond them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Box = tuple[float, float, float, float]

# What a remark says of each, behind their number.
POLYGONS = "polygons became their upright boxes"
MASKS = "masks became their upright boxes"
TURNED = "turned boxes became their upright boxes"
ELLIPSES = "ellipses became their upright boxes"
CIRCLES = "circles became their upright boxes"


def box_of_points(points: Sequence[Sequence[float]]) -> Box:
    """The upright box of a list of (x, y).

    Raises:
        ValueError: no points, or a point is not two finite numbers.
    """
    try:
        array = np.array(points, np.float64)
    except (ValueError, TypeError, OverflowError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"an outline must be points of two numbers, got {str(points)[:60]}")
    (left, top), (right, bottom) = array.min(0).tolist(), array.max(0).tolist()
    return left, top, right, bottom


def box_of_rotated(box: Box, degrees: float, *, about: tuple[float, float]) -> Box:
    """The upright box of a box that is turned clockwise (y points down) about a point."""
    left, top, right, bottom = box
    if degrees % 360 == 0:
        return box
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x0, y0 = about
    corners = [(x - x0, y - y0) for x in (left, right) for y in (top, bottom)]
    return box_of_points([(x0 + x * cosine - y * sine, y0 + x * sine + y * cosine) for x, y in corners])


def box_of_ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0.0) -> Box:
    """The upright box of an ellipse whose radii are turned by an angle."""
    (x, y), (rx, ry) = centre, radii
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width, half_height = math.hypot(rx * cosine, ry * sine), math.hypot(rx * sine, ry * cosine)
    return x - half_width, y - half_height, x + half_width, y + half_height


def box_of_coco_outline(outline: Any) -> Box:
    """The upright box of COCO's `segmentation`: polygons, or a mask as run lengths, plain or packed into text.

    Raises:
        ValueError: nothing of these, or an empty mask; one line.
    """
    if isinstance(outline, dict):
        size, counts = outline.get("size"), outline.get("counts")
        if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)):
            raise ValueError(f"a mask must have a `size` of two whole numbers, got {str(size)[:40]}")
        runs = unpack_runs(counts) if isinstance(counts, str) else counts
        return box_of_runs(runs, height=size[0], width=size[1])
    polygons = outline if isinstance(outline, list) else []
    if polygons and not isinstance(polygons[0], list):
        polygons = [polygons]
    numbers = [number for polygon in polygons if isinstance(polygon, list) for number in polygon]
    if not numbers or len(numbers) % 2:
        raise ValueError(f"an outline must be lists of x, y, x, y ..., got {str(outline)[:60]}")
    return box_of_points(list(zip(numbers[::2], numbers[1::2], strict=True)))


def box_of_runs(runs: Any, *, height: int, width: int) -> Box:
    """The upright box of a mask: lengths of runs of 0, 1, 0 ... down the columns (pycocotools rleToBbox).

    Raises:
        ValueError: the runs are no whole numbers from 0, do not add up to height x width, or hold no pixel.
    """
    if not isinstance(runs, list) or not all(type(run) is int and 0 <= run < 2**40 for run in runs):
        raise ValueError(f"a mask's counts must be whole numbers from 0, got {str(runs)[:40]}")
    if not (0 < height < 2**31 and 0 < width < 2**31) or sum(runs) != height * width:
        raise ValueError(f"a mask's counts must add up to {height} x {width}, got {sum(runs)}")
    ends = np.cumsum(np.array(runs, np.int64))
    first, last = ends[:-1:2], ends[1::2] - 1  # the pixels of each run of 1
    first, last = first[: len(last)][last >= first[: len(last)]], last[last >= first[: len(last)]]
    if not len(first):
        raise ValueError("the mask holds no pixel")
    columns = first // height, last // height
    over_columns = columns[0] != columns[1]
    top = 0 if over_columns.any() else int((first % height).min())
    bottom = height if over_columns.any() else int((last % height).max()) + 1
    return float(columns[0].min()), float(top), float(columns[1].max() + 1), float(bottom)


def unpack_runs(text: str) -> list[int]:
    """Run lengths that COCO packed into text: 6 bits a character, differences to the run before last (maskApi.c).

    Raises:
        ValueError: a character that the packing does not have, or the text ends within a number.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"a mask's packed counts hold {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise ValueError("a mask's packed counts end within a number")
    return runs
