"""What one source map may carry in a design: sizes from a ladder, with or without a larger square, and ratios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from singleshot.box_search.nearest import Grid
from singleshot.shapes import Float32, Int64
from singleshot.spec import MapBoxes
from singleshot.ssd.default_boxes import cell_sizes

STEPS_AN_OCTAVE = 4
"""Rungs of the ladder from a size to twice that: a square between two has IoU >= 0.84 with a concentric one of them."""
SIZES = ((0,), (0, 2), (0, 3), (0, 4), (0, 2, 4), (0, 3, 6))
"""One to three sizes a map, as rungs above its smallest."""
LARGER = (0, 2, 4)
"""How many rungs above a size its max size lies (the extra square is half as many above it); 0 for none."""
RATIOS = ((), (1.5,), (2.0,), (3.0,), (1.5, 2.5), (2.0, 3.0))
"""Beside 1, with their inverses ..."""
UPRIGHT = ((1 / 1.5,), (1 / 2.0,), (1 / 2.0, 1 / 3.0))
LYING = ((1.5,), (2.0,), (2.0, 3.0))
"""... and without: where all objects stand, boxes that lie help nobody."""


@dataclass(frozen=True, eq=False)
class MapChoices:
    """All that a map may carry, and how it fits.

    Attributes:
        entries: what can be chosen; the boxes at hand come first.
        counts: default boxes of each on the whole map.
        overlaps: best IoU of each ground-truth box with each.
    """

    entries: tuple[MapBoxes, ...]
    counts: Int64[np.ndarray, " n"]
    overlaps: Float32[np.ndarray, "n M"]


def ladder(low: float, high: float) -> tuple[float, ...]:
    """Sizes in whole pixels (Caffe cuts them) from `low` to `high`, in equal ratios; both ends are among them."""
    count = max(1, round(STEPS_AN_OCTAVE * float(np.log2(high / low))))
    return tuple(float(size) for size in np.unique(np.round(np.geomspace(low, high, count + 1))))


def map_choices(
    present: MapBoxes, sizes: Sequence[float], ground_truth: Grid, map_size_hw: tuple[int, int], *, truncate: bool
) -> MapChoices:
    """Every choice on one map; each shape is compared with the ground-truth boxes once.

    Args:
        present: the boxes at hand, whose step is kept.
        sizes: those that suit this map, see `ladder`.
        ground_truth: as the map's grid sees them.
        map_size_hw: height and width of the map.
        truncate: see `BoxSpec.truncate_sizes`.
    """
    entries = tuple(dict.fromkeys([present, *_entries(present, sizes)]))
    shapes = [cell_sizes(entry, truncate=truncate) for entry in entries]
    known, rows = np.unique(np.concatenate(shapes), axis=0, return_inverse=True)
    of_shapes = ground_truth.overlaps(known)
    ends = np.cumsum([len(one) for one in shapes])
    overlaps = np.stack([of_shapes[part].max(axis=0) for part in np.split(rows.reshape(-1), ends[:-1])])
    cells = map_size_hw[0] * map_size_hw[1]
    return MapChoices(entries, np.array([cells * entry.boxes_per_cell for entry in entries]), overlaps)


def _entries(present: MapBoxes, sizes: Sequence[float]) -> Iterator[MapBoxes]:
    ratios = [*((one, True) for one in RATIOS), *((one, False) for one in (*UPRIGHT, *LYING))]
    for start, rungs, larger, (beside, flip) in product(range(len(sizes)), SIZES, LARGER, ratios):
        if start + rungs[-1] + larger < len(sizes):
            low = tuple(sizes[start + rung] for rung in rungs)
            high = tuple(sizes[start + rung + larger] for rung in rungs) if larger else ()
            yield replace(present, min_sizes=low, max_sizes=high, aspect_ratios=beside, flip=flip)
