"""Default boxes of TensorFlow's detectors as a `BoxSpec`: by its two formulas, or read off the boxes themselves.

Its Object Detection API makes boxes with `create_ssd_anchors` (a scale a map) and, for feature pyramids, with
`MultiscaleGridAnchorGenerator` (sizes in strides). Both are grids: the boxes of a cell are the same in every cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from singleshot.errors import ModelError
from singleshot.shapes import Float, Float32
from singleshot.spec import BoxSpec, MapBoxes
from singleshot.ssd.default_boxes import caffe_default_boxes

TOLERANCE = 1e-6
"""Of the image: by how much a default box may differ from the one in the file."""
LEAST_SCALE, GREATEST_SCALE = 0.2, 0.95
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
LOWEST = ((0.1, 1.0), (LEAST_SCALE, 2.0), (LEAST_SCALE, 0.5))
"""Scale and ratio of the three boxes of the finest map, which has no others."""
PYRAMID_RATIOS = (1.0, 2.0, 0.5)
PYRAMID_SCALE, SCALES_PER_OCTAVE = 4.0, 2
_DIGITS = 4  # of a size in pixels, which leaves less than a millionth of the image

Grids = Sequence[tuple[int, int]]
Size = tuple[int, int]


def boxes_of_graph(
    anchors: Float32[np.ndarray, "K 4"] | None,
    counts: Sequence[int],
    grids_hw: Grids,
    input_size_hw: Size,
    *,
    variances: tuple[float, float, float, float],
    rounding: float = 0.0,
    origin: str,
) -> BoxSpec:
    """The specification of the default boxes of a graph.

    Args:
        anchors: xyxy, fractions of the image; None where the graph has none: then TensorFlow's formula.
        counts: boxes a cell of each map.
        grids_hw: height and width of each map.
        input_size_hw: of the network, pixels.
        variances: of the box coder.
        rounding: by how much their centres and sizes may have been rounded when the file was quantised, fractions of
            the image. If the formula gives them within this, it is taken: it is what the network was trained with.
        origin: file, for messages.

    Raises:
        ModelError: the boxes are no grid, or there are none and the formula gives another number.
    """
    expected = sum(count * height * width for count, (height, width) in zip(counts, grids_hw, strict=True))
    if anchors is not None and len(anchors) != expected:
        raise ModelError(f"{origin} holds {len(anchors)} default boxes, but its heads give {expected}")
    for maps in (scaled_boxes(counts, input_size_hw), pyramid_boxes(counts, grids_hw, input_size_hw)):
        if maps is None:
            continue
        spec = BoxSpec(maps, variances, truncate_sizes=False)
        of_corners = TOLERANCE + 1.5 * rounding  # a corner is a centre and half a size
        if anchors is None or _differ(spec, anchors, grids_hw, input_size_hw) <= of_corners:
            return spec
    if anchors is None:
        raise ModelError(f"{origin} holds no default boxes, and TensorFlow's formula has other counts than {counts}")
    spec = BoxSpec(_read_off(anchors, counts, grids_hw, input_size_hw), variances, truncate_sizes=False)
    furthest = _differ(spec, anchors, grids_hw, input_size_hw)
    if furthest > TOLERANCE:
        raise ModelError(f"{origin} has default boxes that are no grid: they differ from one by {furthest:.2g}")
    return spec


def scaled_boxes(counts: Sequence[int], input_size_hw: Size) -> tuple[MapBoxes, ...] | None:
    """`create_ssd_anchors` with its usual settings; None where a map has another number of boxes.

    Map k of m has the scale 0.2 + 0.75 (k - 1) / (m - 1); its boxes have five ratios, then a square of the geometric
    mean with the next scale. The finest map has three boxes. Sizes follow the input's shorter side.
    """
    if len(counts) < 2 or tuple(counts) != (len(LOWEST), *[len(RATIOS) + 1] * (len(counts) - 1)):
        return None
    scales = [*np.linspace(LEAST_SCALE, GREATEST_SCALE, len(counts)).tolist(), 1.0]
    side = min(input_size_hw)
    maps = [_from_ratios(LOWEST, side)]
    for scale, following in pairwise(scales[1:]):
        pairs = [(scale, ratio) for ratio in RATIOS] + [(math.sqrt(scale * following), 1.0)]
        maps.append(_from_ratios(pairs, side))
    return tuple(maps)


def pyramid_boxes(counts: Sequence[int], grids_hw: Grids, input_size_hw: Size) -> tuple[MapBoxes, ...] | None:
    """`MultiscaleGridAnchorGenerator` with its usual settings; None where a map has another number of boxes.

    Sizes are 4 and 4 sqrt(2) strides. Centres lie in the middle of a cell where the stride divides the input, else at
    its corner.
    """
    if set(counts) != {len(PYRAMID_RATIOS) * SCALES_PER_OCTAVE}:
        return None
    maps = []
    for grid in grids_hw:
        stride = 2 ** round(math.log2(input_size_hw[0] / grid[0]))
        octaves = [PYRAMID_SCALE * 2 ** (octave / SCALES_PER_OCTAVE) for octave in range(SCALES_PER_OCTAVE)]
        pairs = [(scale, ratio) for ratio in PYRAMID_RATIOS for scale in octaves]
        offset = 0.5 if all(side % stride == 0 for side in input_size_hw) else 0.0
        boxes = _from_ratios(pairs, stride)
        maps.append(MapBoxes((), (), (), float(stride), sizes_wh=boxes.sizes_wh, offset=offset))
    return tuple(maps)


def _from_ratios(pairs: Sequence[tuple[float, float]], unit: float) -> MapBoxes:
    """Boxes of scale x unit pixels: width x sqrt(ratio), height / sqrt(ratio)."""
    sizes = ((scale * math.sqrt(ratio) * unit, scale / math.sqrt(ratio) * unit) for scale, ratio in pairs)
    return MapBoxes((), (), (), sizes_wh=tuple((round(wide, _DIGITS), round(high, _DIGITS)) for wide, high in sizes))


def _read_off(
    anchors: Float32[np.ndarray, "K 4"], counts: Sequence[int], grids_hw: Grids, input_size_hw: Size
) -> tuple[MapBoxes, ...]:
    """Sizes of the middle cell, and centres from the first and the last one."""
    maps, start = [], 0
    for count, (rows, columns) in zip(counts, grids_hw, strict=True):
        part = anchors[start : (start := start + count * rows * columns)].astype(np.float64)
        pixels = part * np.array(input_size_hw[::-1] * 2)
        cells = pixels.reshape(rows, columns, count, 4)
        middle = cells[rows // 2, columns // 2]
        sizes = tuple((round(x2 - x1, _DIGITS), round(y2 - y1, _DIGITS)) for x1, y1, x2, y2 in middle.tolist())
        step, offset = _spacing(cells, input_size_hw)
        maps.append(MapBoxes((), (), (), step, sizes_wh=sizes, offset=offset))
    return tuple(maps)


def _spacing(cells: Float[np.ndarray, "rows columns n 4"], input_size_hw: Size) -> tuple[float | None, float | None]:
    """Step and offset of a map, None and None where centres part the image evenly."""
    centres = (cells[..., 0, :2] + cells[..., 0, 2:]) / 2
    rows, columns = centres.shape[:2]
    last_xy, first_xy = centres[-1, -1], centres[0, 0]
    even = np.array([input_size_hw[1] / columns, input_size_hw[0] / rows])
    if np.allclose(first_xy, even / 2, atol=TOLERANCE) and np.allclose(last_xy, even * [columns - 0.5, rows - 0.5]):
        return None, None
    step = float(last_xy[0] - first_xy[0]) / (columns - 1) if columns > 1 else float(even[0])
    return round(step, _DIGITS), round(float(first_xy[0]) / step, _DIGITS)


def _differ(spec: BoxSpec, anchors: Float32[np.ndarray, "K 4"], grids_hw: Grids, input_size_hw: Size) -> float:
    boxes = caffe_default_boxes(spec, grids_hw, input_size_hw)
    return float(np.abs(boxes - anchors).max()) if boxes.shape == anchors.shape else math.inf
