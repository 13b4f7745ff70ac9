"""Default boxes (the "anchors" of other detectors, Caffe's "priors"): where they lie, and the paper's eq. 4 for sizes.

Boxes are corners as fractions of the image, in the order of the heads: map, y, x, box of the cell.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from singleshot.errors import RequestError
from singleshot.shapes import Float32
from singleshot.spec import BoxSpec, MapBoxes


def caffe_default_boxes(
    spec: BoxSpec,
    map_sizes_hw: Sequence[tuple[int, int]],
    input_size_hw: tuple[int, int],
    *,
    limits: Collection[str] = (),
) -> Float32[np.ndarray, "K 4"]:
    """All default boxes of a network, xyxy as fractions of its input (Caffe prior_box_layer.cpp, Forward_cpu).

    In Caffe's own float32 arithmetic.

    Args:
        spec: sizes in pixels of the network input, one `MapBoxes` a map.
        map_sizes_hw: height and width of each source map.
        input_size_hw: height and width of the network input, pixels.
        limits: see `Compatibility.box_limits`.

    Raises:
        RequestError: the spec has boxes for another number of maps; a size is truncated to 0 pixels.
    """
    if len(map_sizes_hw) != len(spec.maps):
        raise RequestError(
            f"expected one map size for each map of the default boxes, {len(spec.maps)}, got {len(map_sizes_hw)}"
        )
    boxes = [
        _map_default_boxes(spec, boxes, map_size_hw, input_size_hw, limits)
        for boxes, map_size_hw in zip(spec.maps, map_sizes_hw, strict=True)
    ]
    return np.concatenate(boxes) if boxes else np.zeros((0, 4), np.float32)


def _map_default_boxes(
    spec: BoxSpec,
    boxes: MapBoxes,
    map_size_hw: tuple[int, int],
    input_size_hw: tuple[int, int],
    limits: Collection[str],
) -> Float32[np.ndarray, "k 4"]:
    height, width = input_size_hw
    offset = spec.offset if boxes.offset is None else boxes.offset
    centres_xy = cell_centres(map_size_hw, input_size_hw, steps_hw=boxes.steps_hw, offset=offset)[:, None, :]
    # Caffe divides by the literal 2., which makes corners double until they are stored.
    half_sizes_wh = cell_sizes(boxes, truncate=spec.truncate_sizes).astype(np.float64)[None] / 2
    if "sizes" in limits:
        half_sizes_wh = np.minimum(half_sizes_wh, [width / 2, height / 2])
    if "centres" in limits:
        centres_xy = centres_xy.clip(0, [width, height])
    corners = np.concatenate([centres_xy - half_sizes_wh, centres_xy + half_sizes_wh], axis=-1)
    fractions = (corners / [width, height, width, height]).astype(np.float32).reshape(-1, 4)
    return fractions.clip(0, 1) if spec.clip else fractions


def cell_centres(
    map_size_hw: tuple[int, int],
    input_size_hw: tuple[int, int],
    *,
    steps_hw: tuple[float | None, float | None],
    offset: float,
) -> Float32[np.ndarray, "cells 2"]:
    """Centre (x, y) in pixels of each cell of a map, rows first: (x + offset) * step; see `MapBoxes.steps_hw`.

    With Caffe's steps this is not (x + 0.5) / map size: 38 cells of 8 pixels are 304 pixels of a 300 input.
    """
    axes = []
    for cells, pixels, step in zip(map_size_hw, input_size_hw, steps_hw, strict=True):
        distance = np.float32(step) if step else np.float32(pixels) / np.float32(cells)
        axes.append((np.arange(cells, dtype=np.float32) + np.float32(offset)) * distance)
    y, x = np.meshgrid(*axes, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def cells_wh(map_sizes_hw: Sequence[tuple[int, int]], boxes_per_cell: Sequence[int]) -> Float32[np.ndarray, "K 2"]:
    """Width and height of the cell that each default box belongs to, as fractions of the image."""
    counts = [height * width * boxes for (height, width), boxes in zip(map_sizes_hw, boxes_per_cell, strict=True)]
    sizes = np.array([[1 / width, 1 / height] for height, width in map_sizes_hw], np.float32)
    return np.repeat(sizes, counts, axis=0)


def cell_sizes(boxes: MapBoxes, *, truncate: bool) -> Float32[np.ndarray, "n 2"]:
    """Width and height in pixels of the boxes of one cell, in Caffe's order.

    For each min size: the square, the square of sqrt(min * max), then w = min * sqrt(a), h = min / sqrt(a) for each
    ratio a and its inverse. `truncate` cuts min and max sizes to whole pixels, as Caffe's `int min_size_` does. Sizes
    given as numbers stay as they are.

    Raises:
        RequestError: a size is cut to 0 pixels.
    """
    if boxes.sizes_wh:
        return np.array(boxes.sizes_wh, np.float32)
    roots = np.sqrt(np.array([1.0, *boxes.ratios], np.float32))
    smalls, larges = _pixels(boxes.min_sizes, truncate=truncate), _pixels(boxes.max_sizes, truncate=truncate)
    rows = []
    for i, small in enumerate(smalls):
        of_ratio = np.stack([small * roots, small / roots], axis=-1)
        extra = np.full((1, 2), np.sqrt(small * larges[i])) if len(larges) else np.zeros((0, 2), np.float32)
        rows += [of_ratio[:1], extra, of_ratio[1:]]
    return np.concatenate(rows).astype(np.float32, copy=False)


def _pixels(sizes: tuple[float, ...], *, truncate: bool) -> Float32[np.ndarray, " n"]:
    pixels = np.asarray(sizes, np.float32)
    if not truncate:
        return pixels
    if (pixels < 1).any():
        raise RequestError(f"box sizes {sizes} are cut to whole pixels and one becomes 0; set truncate_sizes = False")
    return np.trunc(pixels)


def with_paper_scales(boxes: BoxSpec, input_size_hw: tuple[int, int]) -> BoxSpec:
    """The same default boxes with the sizes of the paper: s_k = s_min + (s_max - s_min) (k - 1) / (m - 1).

    Eq. 4, Liu et al. 2016, as the authors' ssd_pascal.py has it: in whole percents of the input's shorter side, 10 for
    the first map (section 3.1), then from 20 in equal steps to 90 or just below; the last max size is one step further,
    but no size exceeds the input. Maps without exactly one min size and one max size keep what they have.
    """
    maps, side = boxes.maps, min(input_size_hw)
    if len(maps) < 3 or any((len(level.min_sizes), len(level.max_sizes)) != (1, 1) for level in maps):
        return boxes
    step = (90 - 20) // (len(maps) - 2)
    percents = [10, *(20 + step * k for k in range(len(maps)))]
    sizes = [float(min(side, round(side * percent / 100))) for percent in percents]
    pairs = zip(maps, pairwise(sizes), strict=True)
    return replace(
        boxes, maps=tuple(replace(level, min_sizes=(low,), max_sizes=(high,)) for level, (low, high) in pairs)
    )
