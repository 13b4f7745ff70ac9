"""Where the default boxes stand: Caffe's PriorBox layer in its own float32 arithmetic, and the paper's eq. 4.

Both give corners as fractions of the image, in the one order that the heads count in: map, y, x, box of the cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from singleshot.errors import RequestError
from singleshot.shapes import Float32
from singleshot.spec import BoxSpec, MapBoxes

_RATIO_TWO, _RATIOS_TWO_AND_THREE = (2.0,), (2.0, 3.0)


def caffe_default_boxes(
    spec: BoxSpec, map_sizes_hw: Sequence[tuple[int, int]], input_size_hw: tuple[int, int]
) -> Float32[np.ndarray, "K 4"]:
    """All default boxes of a network, xyxy as fractions of its input (Caffe prior_box_layer.cpp, Forward_cpu).

    Args:
        spec: sizes in pixels of the network input, one `MapBoxes` a map.
        map_sizes_hw: height and width of each source map.
        input_size_hw: height and width of the network input, pixels.

    Raises:
        RequestError: another number of maps than of their boxes; a size that is cut to 0 pixels.
    """
    if len(map_sizes_hw) != len(spec.maps):
        raise RequestError(
            f"one map size for each entry of the default boxes: expected {len(spec.maps)}, got {len(map_sizes_hw)}"
        )
    boxes = [
        _map_default_boxes(spec, boxes, map_size_hw, input_size_hw)
        for boxes, map_size_hw in zip(spec.maps, map_sizes_hw, strict=True)
    ]
    return np.concatenate(boxes) if boxes else np.zeros((0, 4), np.float32)


def _map_default_boxes(
    spec: BoxSpec, boxes: MapBoxes, map_size_hw: tuple[int, int], input_size_hw: tuple[int, int]
) -> Float32[np.ndarray, "k 4"]:
    height, width = input_size_hw
    centres_xy = cell_centres(map_size_hw, input_size_hw, step=boxes.step, offset=spec.offset)[:, None, :]
    # Caffe divides by the literal 2., which makes corners double until they are stored.
    half_sizes_wh = cell_sizes(boxes, truncate=spec.truncate_sizes).astype(np.float64)[None] / 2
    if "sizes" in spec.limit:
        half_sizes_wh = np.minimum(half_sizes_wh, [width / 2, height / 2])
    if "centres" in spec.limit:
        centres_xy = centres_xy.clip(0, [width, height])
    corners = np.concatenate([centres_xy - half_sizes_wh, centres_xy + half_sizes_wh], axis=-1)
    fractions = (corners / [width, height, width, height]).astype(np.float32).reshape(-1, 4)
    return fractions.clip(0, 1) if spec.clip else fractions


def cell_centres(
    map_size_hw: tuple[int, int], input_size_hw: tuple[int, int], *, step: float | None, offset: float
) -> Float32[np.ndarray, "cells 2"]:
    """Centre (x, y) in pixels of each cell of a map, rows first: (x + offset) * step.

    With Caffe's steps this is not (x + 0.5) / map size: 38 cells of 8 pixels are 304 pixels of a 300 input.
    """
    axes = []
    for cells, pixels in zip(map_size_hw, input_size_hw, strict=True):
        distance = np.float32(step) if step else np.float32(pixels) / np.float32(cells)
        axes.append((np.arange(cells, dtype=np.float32) + np.float32(offset)) * distance)
    y, x = np.meshgrid(*axes, indexing="ij")
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def cell_sizes(boxes: MapBoxes, *, truncate: bool) -> Float32[np.ndarray, "n 2"]:
    """Width and height in pixels of the boxes of one cell, in Caffe's order.

    For each min size: the square, the square of sqrt(min * max), then w = min * sqrt(a), h = min / sqrt(a) for each
    ratio a, its inverse behind it. `truncate` cuts min and max sizes to whole pixels, as Caffe's `int min_size_` does.

    Raises:
        RequestError: a size is cut to 0 pixels.
    """
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


def paper_scales(m: int, s_min: float = 0.2, s_max: float = 0.9) -> tuple[float, ...]:
    """Scales of the boxes of m maps as fractions of the input: s_k = s_min + (s_max - s_min) (k - 1) / (m - 1).

    Eq. 4, Liu et al. 2016. Six maps: 0.2, 0.34, 0.48, 0.62, 0.76, 0.9.
    """
    return tuple(_paper_scale(k, m, s_min, s_max) for k in range(1, m + 1))


def _paper_scale(k: int, m: int, s_min: float, s_max: float) -> float:
    return s_min + (s_max - s_min) * (k - 1) / max(m - 1, 1)


def paper_ratios(m: int) -> tuple[tuple[float, ...], ...]:
    """The paper's ratios beside 1 and the inverses: 2 and 3, but no 3 on the first and on the last two of m maps."""
    return tuple(_RATIO_TWO if k == 0 or k >= m - 2 else _RATIOS_TWO_AND_THREE for k in range(m))


def paper_box_spec(
    m: int,
    input_size_hw: tuple[int, int] = (300, 300),
    *,
    ratios: Sequence[tuple[float, ...]] | None = None,
    s_min: float = 0.2,
    s_max: float = 0.9,
) -> BoxSpec:
    """The paper's default boxes (section 2.2) for m maps, as a specification that a model folder can hold.

    w = s_k sqrt(a), h = s_k / sqrt(a); one more square of sqrt(s_k s_{k+1}), where s_{m+1} goes on beyond s_max (1.04);
    centres (i + 0.5) / f. Nothing is rounded to pixels. In an input that is not square, scales are of the shorter side.

    Args:
        m: number of source maps.
        input_size_hw: height and width of the network input, pixels.
        ratios: of each map, beside 1 and inverses; `paper_ratios` where left out.
        s_min: scale of the first map.
        s_max: scale of the last map.

    Raises:
        RequestError: another number of ratio sets than of maps.
    """
    ratios = paper_ratios(m) if ratios is None else ratios
    if len(ratios) != m:
        raise RequestError(f"one set of ratios for each map: expected {m}, got {len(ratios)}")
    side = min(input_size_hw)
    sizes = [side * _paper_scale(k, m, s_min, s_max) for k in range(1, m + 2)]
    maps = tuple(MapBoxes((sizes[k],), (sizes[k + 1],), tuple(ratios[k])) for k in range(m))
    return BoxSpec(maps, truncate_sizes=False)


def paper_default_boxes(
    map_sizes_hw: Sequence[tuple[int, int]],
    input_size_hw: tuple[int, int] = (300, 300),
    *,
    ratios: Sequence[tuple[float, ...]] | None = None,
    s_min: float = 0.2,
    s_max: float = 0.9,
) -> Float32[np.ndarray, "K 4"]:
    """The paper's own default boxes, see `paper_box_spec`; in the order of `caffe_default_boxes`."""
    spec = paper_box_spec(len(map_sizes_hw), input_size_hw, ratios=ratios, s_min=s_min, s_max=s_max)
    return caffe_default_boxes(spec, map_sizes_hw, input_size_hw)
