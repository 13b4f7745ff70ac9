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


@dataclass(frozen=True, eq=False)
class MapCandidates:
    """What one source map may carry, and how well it fits.

    Attributes:
        entries: the candidates; the map's present boxes come first.
        counts: default boxes of each on the whole map.
        ious: best IoU of each ground-truth box with each candidate.
    """

    entries: tuple[MapBoxes, ...]
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
    return MapCandidates(entries, np.array([cells * entry.boxes_per_cell for entry in entries]), ious)


def size_ladder(low: float, high: float) -> tuple[float, ...]:
    """Whole pixels (Caffe truncates sizes) from `low` to `high` in equal ratios, both ends included."""
    count = max(1, round(STEPS_PER_OCTAVE * float(np.log2(high / low))))
    return tuple(float(size) for size in np.unique(np.round(np.geomspace(low, high, count + 1))))


def _entries(present: MapBoxes, sizes: Sequence[float]) -> Iterator[MapBoxes]:
    ratios = [*((beside, True) for beside in RATIOS), *((beside, False) for beside in ONE_SIDED_RATIOS)]
    for start, steps, larger, (beside, flip) in product(range(len(sizes)), SIZES, LARGER, ratios):
        if start + steps[-1] + larger < len(sizes):
            low = tuple(sizes[start + step] for step in steps)
            high = tuple(sizes[start + step + larger] for step in steps) if larger else ()
            yield replace(present, min_sizes=low, max_sizes=high, aspect_ratios=beside, flip=flip, sizes_wh=())
