"""The default boxes that are worth most on a data set: an answer to what the paper leaves "an open question".

What is maximised, in one paragraph: worth, the mean over the classes of the share of objects that have a default box of
IoU >= 0.5, plus the mean over the classes of the best IoU; 0 to 2. A object is thus worth a box that may learn it, and
a closer one a little more; a class counts as much as another, as in mAP. Boxes have a price, as more of them cost time
and, measured, accuracy (`docs/results.md`): `worth - price x boxes` is climbed, over what each map carries and which
maps there are, one map at a time while the others stand still, until no map can do better. From a high price to a low
one this gives the curve of worth against boxes; climbs under a limit instead of a price fill what a budget allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.box_search.adapt import (
    LEAST_STRIDES,
    THRESHOLD,
    MapSizes,
    deciding_objects,
    finer_sources,
    strides_of,
    with_source,
)
from singleshot.box_search.map_choices import MapChoices, ladder, map_choices
from singleshot.box_search.measure import MeasuredGroundTruth
from singleshot.box_search.nearest import grid
from singleshot.errors import RequestError
from singleshot.shapes import Float, Float32, Int64
from singleshot.spec import ModelSpec

PRICES = tuple(float(price) for price in np.geomspace(1e-2, 1e-6, 25))
"""What a box must add to worth, from much to almost nothing."""
MOST_STRIDES = 4
"""A larger box belongs on a coarser map: here, many of it fit each large object, which then rule what is learnt.

Without it 78% of the boxes that learn from voc2007 learn the objects above 40% of the image's side, 109 each; with it
57%, 31 each (`docs/results.md`: +2 points of mAP).
"""
MOST_OBJECTS = 2000
"""Ground-truth boxes to search with, about, as many of each class ..."""
FEWEST_OF_CLASS = 10
"""... or so many, where there are many classes."""
EQUAL = 1e-6
"""Worth that is no gain: single precision, and ties go to fewer boxes."""
ABSENT = -1
"""In the place of a map's choice: there is no such map."""

Choice = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Design:
    """Default boxes, and what they are worth to the ground-truth boxes that were searched with.

    Attributes:
        spec: the detector that has them.
        boxes: K.
        worth: see the head of this file.
        shares: covered share of each deciding class.
        choice: number of each map's entry among its choices, for the search to go on from.
    """

    spec: ModelSpec
    boxes: int
    worth: float
    shares: Float[np.ndarray, " D"]
    choice: Choice

    @property
    def covered(self) -> float:
        """Mean covered share of the deciding classes."""
        return float(self.shares.mean())


class Designer:
    """Searches default boxes for one detector and one set of ground-truth boxes; the same input gives the same boxes.

    Args:
        spec: the detector as it stands; finer maps of its base may be put in front and any map may be left out, but
            one that is fused with another.
        ground_truth: what to cover, at least one.
        deciding: classes that count.
        map_sizes_hw: height and width of each source map of a spec.
    """

    def __init__(
        self,
        spec: ModelSpec,
        ground_truth: MeasuredGroundTruth,
        deciding: Int64[np.ndarray, " D"],
        *,
        map_sizes_hw: MapSizes,
    ) -> None:
        most = max(FEWEST_OF_CLASS, MOST_OBJECTS // len(deciding))
        self._objects = deciding_objects(ground_truth, spec, deciding, most=most)
        counts = np.bincount(self._objects.labels)
        self._weights = (1 / (len(deciding) * counts[self._objects.labels])).astype(np.float32)
        self._widest = spec
        for name in finer_sources(spec):
            self._widest = with_source(self._widest, name)
        added = len(self._widest.sources) - len(spec.sources)
        self._given = (ABSENT,) * added + (0,) * len(spec.sources)
        self._needed = [spec.fusion is not None and name == spec.fusion.fine for name in self._widest.sources]
        self._maps = self._choices(map_sizes_hw(self._widest))

    def _choices(self, map_sizes_hw: Sequence[tuple[int, int]]) -> list[MapChoices]:
        """Boxes that are neither small nor large against their map's stride, and the given ones as they are."""
        spec, objects = self._widest, self._objects
        side = min(spec.input_size_hw)
        sizes = ladder(float(np.quantile(objects.sizes, 0.01).clip(2, side / 2)), side)
        found = []
        strides = strides_of(spec, map_sizes_hw)
        for boxes, size_hw, stride in zip(spec.boxes.maps, map_sizes_hw, strides, strict=True):
            least = min(*boxes.min_sizes, LEAST_STRIDES * stride)
            seen = grid(objects.boxes_cxcywh, size_hw, spec.input_size_hw, step=boxes.step, offset=spec.boxes.offset)
            fitting = [size for size in sizes if least <= size <= MOST_STRIDES * stride]
            found.append(map_choices(boxes, fitting, seen, size_hw, truncate=spec.boxes.truncate_sizes))
        return found

    def given(self) -> Design:
        """The boxes as they are."""
        return self._design(self._given)

    @property
    def fewest(self) -> int:
        """The smallest K that any design has."""
        return self._count(self._smallest())

    def curve(self) -> list[Design]:
        """Designs from few boxes to many, each worth more than all with fewer."""
        choice, found = self._given, []
        for price in PRICES:
            choice = self._climb(choice, price=price)
            found.append(self._design(choice))
        return rising(found)

    def within(self, most: int, curve: Sequence[Design]) -> Design:
        """The design of at most so many boxes that is worth most.

        Args:
            most: the limit.
            curve: designs to start from, beside the given boxes.

        Raises:
            RequestError: there is none; names the fewest boxes that there can be.
        """
        if most < self.fewest:
            boxes = "box" if self.fewest == 1 else "boxes"
            raise RequestError(
                f"at most {most:,} default boxes: a design for {self._widest.name} has at least {self.fewest:,} {boxes}"
            )
        starts = [self._smallest(), self._given, *(one.choice for one in curve)]
        fitting = [choice for choice in starts if self._count(choice) <= most]
        best = max(fitting, key=lambda choice: self._worth_of(self._overlaps(choice)))
        return self._design(self._climb(best, most=most))

    def _smallest(self) -> Choice:
        """The fewest boxes there can be: those on maps that cannot go, or on one that has fewest."""
        counts = [int(one.counts.min()) for one in self._maps]
        kept = self._needed if any(self._needed) else [place == int(np.argmin(counts)) for place in range(len(counts))]
        entries = [int(one.counts.argmin()) for one in self._maps]
        return tuple(entry if keep else ABSENT for entry, keep in zip(entries, kept, strict=True))

    def _climb(self, start: Choice, *, price: float = 0.0, most: int | None = None) -> Choice:
        """Change one map after another for the better until none can be."""
        choice, value, before = start, self._worth_of(self._overlaps(start)) - price * self._count(start), -np.inf
        while value > before:
            before = value
            for place in range(len(self._maps)):
                entry, reached = self._best(choice, place, price, most)
                if reached > value + EQUAL:
                    choice, value = (*choice[:place], entry, *choice[place + 1 :]), reached
        return choice

    def _best(self, choice: Choice, place: int, price: float, most: int | None) -> tuple[int, float]:
        """What one map best carries beside the others, and the value that is reached; of equal ones, fewest boxes."""
        one, others = self._maps[place], (*choice[:place], ABSENT, *choice[place + 1 :])
        rest, boxes = self._overlaps(others), self._count(others)
        overlaps = np.concatenate([np.maximum(rest, one.overlaps), rest[None]])
        counts = np.append(one.counts, 0)
        values = self._worth(overlaps) - price * (boxes + counts)
        if most is not None:
            values[boxes + counts > most] = -np.inf
        if self._needed[place] or not boxes:
            values[-1] = -np.inf
        best = np.flatnonzero(values >= values.max() - EQUAL)
        entry = int(best[counts[best].argmin()])
        return (ABSENT if entry == len(one.counts) else entry), float(values[entry])

    def _overlaps(self, choice: Choice) -> Float32[np.ndarray, " M"]:
        rows = [one.overlaps[entry] for one, entry in zip(self._maps, choice, strict=True) if entry != ABSENT]
        return np.maximum.reduce([np.zeros_like(self._weights), *rows])  # type: ignore[no-any-return]

    def _count(self, choice: Choice) -> int:
        return sum(int(one.counts[entry]) for one, entry in zip(self._maps, choice, strict=True) if entry != ABSENT)

    def _worth(self, overlaps: Float32[np.ndarray, "n M"]) -> Float[np.ndarray, " n"]:
        return ((overlaps >= np.float32(THRESHOLD)) + overlaps) @ self._weights  # type: ignore[no-any-return]

    def _worth_of(self, overlaps: Float32[np.ndarray, " M"]) -> float:
        return float(self._worth(overlaps[None])[0])

    def _design(self, choice: Choice) -> Design:
        kept = [place for place, entry in enumerate(choice) if entry != ABSENT]
        boxes = tuple(self._maps[place].entries[choice[place]] for place in kept)
        spec = self._widest.with_maps(tuple(self._widest.sources[place] for place in kept), boxes)
        overlaps = self._overlaps(choice)
        return Design(spec, self._count(choice), self._worth_of(overlaps), self._objects.shares(overlaps), choice)


def rising(designs: Sequence[Design]) -> list[Design]:
    """Those that none with as few boxes beats, by their number."""
    found: list[Design] = []
    for one in sorted(designs, key=lambda one: (one.boxes, -one.worth)):
        if not found or one.worth > found[-1].worth + EQUAL:
            found.append(one)
    return found
