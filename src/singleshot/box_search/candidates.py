"""What a source map may carry: candidate sizes and ratios, and how well each fits the ground-truth boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from singleshot.shapes import Float32, Int64
from singleshot.spec import MapBoxes
from singleshot.ssd.default_boxes import cell_sizes

STEPS_PER_OCTAVE = 4
"""Sizes from one size to its double; a square halfway between two has IoU >= 0.84 with a concentric one of them."""
SIZES = ((0,), (0, 2), (0, 3), (0, 4), (0, 2, 4), (0, 3, 6))
"""One to three sizes per map, as steps above the smallest."""
LARGER = (0, 2, 4)
"""Steps from a size to its max size (the extra square lies halfway); 0 for no max size."""
RATIOS = ((), (1.5,), (2.0,), (3.0,), (1.5, 2.5), (2.0, 3.0))
"""Aspect ratios beside 1, with their inverses ..."""
ONE_SIDED_RATIOS = ((1 / 1.5,), (1 / 2.0,), (1 / 2.0, 1 / 3.0), (1.5,), (2.0,), (2.0, 3.0))
"""... and without: where all objects are upright, wide boxes fit none."""
PER_OCTAVE = (1, 2, 3)
"""Sizes from one to its double, where the maps share their heads."""


@dataclass(frozen=True, eq=False)
class MapCandidates:
    """What one source map may carry, or all maps together where they share their heads, and how well it fits.

    Attributes:
        entries: the candidates, each with the boxes of every map it is for; the present boxes come first.
        counts: default boxes of each on the whole map, or on all of them.
        ious: best IoU of each ground-truth box with each candidate.
    """

    entries: tuple[tuple[MapBoxes, ...], ...]
    counts: Int64[np.ndarray, " n"]
    ious: Float32[np.ndarray, "n M"]


@dataclass(frozen=True, eq=False)
class NearestCentres:
    """How far ground-truth boxes lie from the cells of a map: enough to compute their best IoU with its default boxes.

    For boxes of one shape the IoU depends on the intersection alone, the product of the overlaps along x and along y,
    and each of these is greatest at the nearest cell centre. Law: the result equals the maximum over all boxes of the
    map.

    Attributes:
        distances_xy: from the centre of each ground-truth box to the nearest cell centre, pixels.
        sizes_wh: width and height of each ground-truth box, pixels.
    """

    distances_xy: Float32[np.ndarray, "M 2"]
    sizes_wh: Float32[np.ndarray, "M 2"]

    @classmethod
    def on_map(
        cls,
        boxes_cxcywh: Float32[np.ndarray, "M 4"],
        map_size_hw: tuple[int, int],
        input_size_hw: tuple[int, int],
        *,
        steps_hw: tuple[float | None, float | None],
        offset: float,
    ) -> NearestCentres:
        """Distances of ground-truth boxes, pixels of the network input; see `MapBoxes.steps_hw`, `BoxSpec.offset`."""
        distances = []
        axes = zip(map_size_hw[::-1], input_size_hw[::-1], steps_hw[::-1], strict=True)
        for axis, (cells, pixels, step) in enumerate(axes):
            spacing = step or pixels / cells
            cell = np.round(boxes_cxcywh[:, axis] / spacing - offset).clip(0, cells - 1)
            distances.append(np.abs((cell + offset) * spacing - boxes_cxcywh[:, axis]))
        return cls(np.stack(distances, axis=1).astype(np.float32), boxes_cxcywh[:, 2:])

    def best_ious(self, shapes_wh: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n M"]:
        """Best IoU of each ground-truth box with a box of each width and height, over all cells."""
        shapes = shapes_wh[:, None]
        reach = (self.sizes_wh + shapes) / 2 - self.distances_xy
        overlaps = np.minimum(reach, np.minimum(self.sizes_wh, shapes)).clip(min=0)
        intersection = overlaps[..., 0] * overlaps[..., 1]
        union = self.sizes_wh[:, 0] * self.sizes_wh[:, 1] + shapes[..., 0] * shapes[..., 1] - intersection
        return (intersection / union).astype(np.float32)  # type: ignore[no-any-return]


def map_candidates(
    present: MapBoxes, sizes: Sequence[float], centres: NearestCentres, cells: int, *, truncate: bool
) -> MapCandidates:
    """Every candidate of one map; each shape is compared with the ground-truth boxes once.

    Args:
        present: the map's boxes so far, whose step is kept.
        sizes: those that suit this map, see `size_ladder`.
        centres: the ground-truth boxes.
        cells: number of cells of the map.
        truncate: see `BoxSpec.truncate_sizes`.
    """
    entries = tuple(dict.fromkeys([present, *_entries(present, sizes)]))
    shapes = [cell_sizes(entry, truncate=truncate) for entry in entries]
    distinct, rows = np.unique(np.concatenate(shapes), axis=0, return_inverse=True)
    shape_ious = centres.best_ious(distinct)
    ends = np.cumsum([len(rows_of_entry) for rows_of_entry in shapes])
    ious = np.stack([shape_ious[part].max(axis=0) for part in np.split(rows.reshape(-1), ends[:-1])])
    counts = np.array([cells * entry.boxes_per_cell for entry in entries])
    return MapCandidates(tuple((entry,) for entry in entries), counts, ious)


def shared_candidates(
    maps: Sequence[MapBoxes],
    centres_of_maps: Sequence[NearestCentres],
    cells: Sequence[int],
    *,
    smallest: Sequence[float],
    truncate: bool,
) -> MapCandidates:
    """Candidates of maps that share their heads: the same shapes on every map, in proportion to its scale.

    A map's scale is that of its present boxes: the geometric mean of their sides, from map to map as now. Candidates
    are the present boxes, these made smaller or larger alike, and one to three sizes an octave with each of the ratios
    that one map alone may carry. The order is TensorFlow's, sizes before ratios, so that a head that has learnt such
    boxes keeps them.

    Args:
        maps: the present boxes of each map.
        centres_of_maps: the ground-truth boxes, seen from each map.
        cells: number of cells of each map.
        smallest: sizes of the smallest box on the first map, in pixels.
        truncate: see `BoxSpec.truncate_sizes`.
    """
    present = [cell_sizes(boxes, truncate=truncate) for boxes in maps]
    scales = np.array([np.exp(np.log(shapes).mean()) for shapes in present])
    factors = scales / scales[0]
    base = float(np.sqrt(present[0].prod(axis=1)).min())
    patterns = [present[0] * (size / base) for size in smallest]
    patterns += [size * shape for size, shape in product(smallest, _unit_shapes())]
    entries, ious = [tuple(maps)], [_best_of_maps(centres_of_maps, present)]
    for pattern in patterns:
        shapes_of_maps = [pattern * factor for factor in factors]
        entries.append(tuple(_sized(boxes, shapes) for boxes, shapes in zip(maps, shapes_of_maps, strict=True)))
        ious.append(_best_of_maps(centres_of_maps, shapes_of_maps))
    counts = np.array(
        [sum(n * boxes.boxes_per_cell for n, boxes in zip(cells, entry, strict=True)) for entry in entries]
    )
    return MapCandidates(tuple(entries), counts, np.stack(ious))


def size_ladder(low: float, high: float) -> tuple[float, ...]:
    """Whole pixels (Caffe truncates sizes) from `low` to `high` in equal ratios, both ends included."""
    count = max(1, round(STEPS_PER_OCTAVE * float(np.log2(high / low))))
    return tuple(float(size) for size in np.unique(np.round(np.geomspace(low, high, count + 1))))


def _unit_shapes() -> Iterator[Float32[np.ndarray, "n 2"]]:
    """Width and height of the boxes of a cell, the smallest square of which has a side of 1."""
    for octave, (beside, flip) in product(PER_OCTAVE, _ratio_sets()):
        ratios = np.array([1.0, *MapBoxes((1.0,), aspect_ratios=beside, flip=flip).ratios], np.float32)
        sizes = 2 ** (np.arange(octave, dtype=np.float32) / octave)
        roots = np.sqrt(ratios)[:, None]
        yield np.stack([sizes * roots, sizes / roots], axis=-1).reshape(-1, 2)


def _best_of_maps(
    centres_of_maps: Sequence[NearestCentres], shapes_of_maps: Sequence[Float32[np.ndarray, "n 2"]]
) -> Float32[np.ndarray, " M"]:
    """Best IoU of each ground-truth box with a box of any map."""
    best: Float32[np.ndarray, " M"] = np.maximum.reduce(
        [centres.best_ious(shapes).max(axis=0) for centres, shapes in zip(centres_of_maps, shapes_of_maps, strict=True)]
    )
    return best


def _sized(boxes: MapBoxes, shapes_wh: Float32[np.ndarray, "n 2"]) -> MapBoxes:
    """The map's boxes with other shapes, to a ten-thousandth of a pixel."""
    sizes_wh = tuple((round(float(width), 4), round(float(height), 4)) for width, height in shapes_wh)
    return replace(boxes, min_sizes=(), max_sizes=(), aspect_ratios=(), sizes_wh=sizes_wh)


def _ratio_sets() -> list[tuple[tuple[float, ...], bool]]:
    """Ratios beside 1, and whether their inverses belong to them."""
    return [*((beside, True) for beside in RATIOS), *((beside, False) for beside in ONE_SIDED_RATIOS)]


def _entries(present: MapBoxes, sizes: Sequence[float]) -> Iterator[MapBoxes]:
    for start, steps, larger, (beside, flip) in product(range(len(sizes)), SIZES, LARGER, _ratio_sets()):
        if start + steps[-1] + larger < len(sizes):
            low = tuple(sizes[start + step] for step in steps)
            high = tuple(sizes[start + step + larger] for step in steps) if larger else ()
            yield replace(present, min_sizes=low, max_sizes=high, aspect_ratios=beside, flip=flip, sizes_wh=())
