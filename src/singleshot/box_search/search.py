"""The search for the default boxes that fit a data set best: what the paper leaves as "an open question".

What is maximised is the score: the mean over the classes of the recall at IoU 0.5, plus the mean over the classes of
the best IoU (0 to 2). So an object counts for having a default box that can learn it, and a little more for a closer
one; and classes count equally, as in mAP. More boxes cost time and, measured, accuracy (docs/results.md). The search
is coordinate ascent of `score - penalty * boxes`: the best candidate of one source map is taken while the others stay,
map after map, until none changes. Penalties from high to low give a curve of score against number of boxes; ascent
under a limit on the number of boxes instead of a penalty gives the best set within that limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from singleshot.box_search.candidates import (
    MapCandidates,
    NearestCentres,
    map_candidates,
    shared_candidates,
    size_ladder,
)
from singleshot.box_search.recall import IOU_THRESHOLD, GroundTruthBoxes
from singleshot.boxes import xyxy_to_cxcywh
from singleshot.errors import RequestError
from singleshot.shapes import Float, Float32, Int64
from singleshot.spec import OWN, TIMM, MapBoxes, ModelSpec

MapSizes = Callable[[ModelSpec], Sequence[tuple[int, int]]]

PENALTIES = tuple(float(penalty) for penalty in np.geomspace(1e-2, 1e-6, 25))
"""Score that a box must add, from much to almost nothing."""
LEAST_STRIDES, MOST_STRIDES = 1.36, 4
"""Sizes of boxes in strides of their map.

An object a quarter of a cell off in x and in y, the mean, has IoU >= 0.5 from 1.36 strides on. Larger boxes than 4
strides belong on a coarser map: on a fine one so many fit each large object that these rule the training. Without the
limit 78% of the matched boxes of voc2007 belong to objects above 40% of the image's side, 109 boxes each; with it 57%,
31 each (docs/results.md: +2 points of mAP).
"""
MOST_OBJECTS, LEAST_OF_CLASS = 2000, 10
"""Ground-truth boxes to search with: about so many, equally many of each class, but of each at least 10."""
EPSILON = 1e-6
"""A smaller gain of score is none, because of single precision; ties go to fewer boxes."""
ABSENT = -1
"""Choice of a map that is left out."""
FINER_SOURCES = {
    "efficientnetlite0": ("block6_expand", "block4_expand"),
    "mobilenetv1": ("conv5", "conv3"),
    "mobilenetv2": ("block7_expand", "block4_expand"),
    "mobilenetv3": ("block7_expand", "block4_expand"),
    TIMM: ("stride8", "stride4"),
    OWN: ("stride8",),
    "ultralight-rfb": ("conv7", "conv3"),
    "ultralight-slim": ("conv7", "conv3"),
    "vgg16": ("conv4_3", "conv3_3"),
    "vgg16-full": ("conv4_3", "conv3_3"),
    "vgg16-undilated": ("conv4_3", "conv3_3"),
}
"""Maps of each backbone that may be added in front: stride 8, then stride 4."""

Choice = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class BoxSet:
    """Default boxes, and how well they fit the ground-truth boxes of the search.

    Attributes:
        spec: the detector that has them.
        num_boxes: K.
        score: mean recall plus mean best IoU of the classes, 0..2.
        recalls: recall of each deciding class.
        choice: number of each map's candidate, from which the search can go on.
    """

    spec: ModelSpec
    num_boxes: int
    score: float
    recalls: Float[np.ndarray, " D"]
    choice: Choice


class BoxSearch:
    """Searches default boxes for one detector and one set of ground-truth boxes; deterministic.

    Args:
        spec: the detector as it is. Finer maps of its backbone may be added, and any map may be left out, except one
            that is fused with another. Maps that share their heads all stay, and change together.
        ground_truth: at least one box.
        deciding: classes that count.
        map_sizes_hw: gives the height and width of each source map of a spec.
    """

    def __init__(
        self, spec: ModelSpec, ground_truth: GroundTruthBoxes, deciding: Int64[np.ndarray, " D"], map_sizes_hw: MapSizes
    ) -> None:
        boxes_cxcywh, self._labels = _sample(spec, ground_truth, deciding)
        self._deciding = deciding
        counts = np.bincount(self._labels)
        self._weights = (1 / (len(deciding) * counts[self._labels])).astype(np.float32)
        self._widest = spec
        for name in finer_sources(spec):
            self._widest = with_source(self._widest, name)
        added = len(self._widest.sources) - len(spec.sources)
        self._maps = _candidates(self._widest, boxes_cxcywh, map_sizes_hw(self._widest))
        self._given_choice = (ABSENT,) * added + (0,) * (len(self._maps) - added)
        fine = None if spec.fusion is None else spec.fusion.fine
        shared = spec.shared_head is not None
        self._sources = [self._widest.sources] if shared else [(name,) for name in self._widest.sources]
        self._needed = [fine in names for names in self._sources]

    @cached_property
    def given(self) -> BoxSet:
        """The detector's present boxes."""
        return self._box_set(self._given_choice)

    @cached_property
    def fewest(self) -> int:
        """The smallest number of boxes that any set has."""
        return self._count(self._smallest())

    @cached_property
    def curve(self) -> list[BoxSet]:
        """Sets from few boxes to many, each of a higher score than all with fewer."""
        choice, box_sets = self._given_choice, []
        for penalty in PENALTIES:
            choice = self._ascend(choice, penalty=penalty)
            box_sets.append(self._box_set(choice))
        return pareto(box_sets)

    def within(self, max_boxes: int) -> BoxSet:
        """The set of the highest score that has at most so many boxes, starting from the curve and the given boxes.

        Raises:
            RequestError: there is none; names the fewest boxes that are possible.
        """
        if max_boxes < self.fewest:
            boxes = "box" if self.fewest == 1 else "boxes"
            raise RequestError(
                f"at most {max_boxes:,} default boxes: {self._widest.name} needs at least {self.fewest:,} {boxes}"
            )
        starts = [self._smallest(), self._given_choice, *(box_set.choice for box_set in self.curve)]
        fitting = [choice for choice in starts if self._count(choice) <= max_boxes]
        best = max(fitting, key=lambda choice: self._score(self._ious(choice)))
        return self._box_set(self._ascend(best, max_boxes=max_boxes))

    def _smallest(self) -> Choice:
        """The fewest boxes: those of the maps that must stay, or else of the one map that has fewest."""
        counts = [int(candidates.counts.min()) for candidates in self._maps]
        kept = self._needed if any(self._needed) else [place == int(np.argmin(counts)) for place in range(len(counts))]
        entries = [int(candidates.counts.argmin()) for candidates in self._maps]
        return tuple(entry if keep else ABSENT for entry, keep in zip(entries, kept, strict=True))

    def _ascend(self, start: Choice, *, penalty: float = 0.0, max_boxes: int | None = None) -> Choice:
        """Improve one map after another until none can be."""
        choice, value, before = start, self._score(self._ious(start)) - penalty * self._count(start), -np.inf
        while value > before:
            before = value
            for place in range(len(self._maps)):
                entry, reached = self._best_entry(choice, place, penalty, max_boxes)
                if reached > value + EPSILON:
                    choice, value = (*choice[:place], entry, *choice[place + 1 :]), reached
        return choice

    def _best_entry(self, choice: Choice, place: int, penalty: float, max_boxes: int | None) -> tuple[int, float]:
        """The best candidate of one map beside the others, and the value reached; of equal ones, fewest boxes."""
        candidates, others = self._maps[place], (*choice[:place], ABSENT, *choice[place + 1 :])
        other_ious, other_count = self._ious(others), self._count(others)
        ious = np.concatenate([np.maximum(other_ious, candidates.ious), other_ious[None]])
        counts = other_count + np.append(candidates.counts, 0)
        values = self._scores(ious) - penalty * counts
        if max_boxes is not None:
            values[counts > max_boxes] = -np.inf
        if self._needed[place] or not other_count:
            values[-1] = -np.inf
        best = np.flatnonzero(values >= values.max() - EPSILON)
        entry = int(best[counts[best].argmin()])
        return (ABSENT if entry == len(candidates.counts) else entry), float(values[entry])

    def _ious(self, choice: Choice) -> Float32[np.ndarray, " M"]:
        rows = [maps.ious[entry] for maps, entry in zip(self._maps, choice, strict=True) if entry != ABSENT]
        return np.maximum.reduce([np.zeros_like(self._weights), *rows])  # type: ignore[no-any-return]

    def _count(self, choice: Choice) -> int:
        return sum(int(maps.counts[entry]) for maps, entry in zip(self._maps, choice, strict=True) if entry != ABSENT)

    def _scores(self, ious: Float32[np.ndarray, "n M"]) -> Float[np.ndarray, " n"]:
        return ((ious >= np.float32(IOU_THRESHOLD)) + ious) @ self._weights  # type: ignore[no-any-return]

    def _score(self, ious: Float32[np.ndarray, " M"]) -> float:
        return float(self._scores(ious[None])[0])

    def _box_set(self, choice: Choice) -> BoxSet:
        kept = [place for place, entry in enumerate(choice) if entry != ABSENT]
        sources = tuple(name for place in kept for name in self._sources[place])
        maps = tuple(boxes for place in kept for boxes in self._maps[place].entries[choice[place]])
        spec = self._widest.with_maps(sources, maps)
        ious = self._ious(choice)
        matched = ious >= np.float32(IOU_THRESHOLD)
        recalls = np.array([matched[self._labels == label].mean() for label in self._deciding])
        return BoxSet(spec, self._count(choice), self._score(ious), recalls, choice)


def pareto(box_sets: Sequence[BoxSet]) -> list[BoxSet]:
    """The sets that none of as few boxes surpasses, by number of boxes."""
    best: list[BoxSet] = []
    for box_set in sorted(box_sets, key=lambda box_set: (box_set.num_boxes, -box_set.score)):
        if not best or box_set.score > best[-1].score + EPSILON:
            best.append(box_set)
    return best


def finer_sources(spec: ModelSpec) -> tuple[str, ...]:
    """Finer maps that may be added in front of a spec's, coarse before fine.

    None to a grid head, which has one map, nor to shared heads, which a pyramid stands before.
    """
    if spec.grid_head is not None or spec.shared_head is not None:
        return ()
    prefix = next((prefix for prefix in (TIMM, OWN) if spec.backbone.startswith(prefix)), spec.backbone)
    known = FINER_SOURCES.get(prefix, ())
    present = [known.index(name) for name in spec.sources if name in known]
    return known[max(present, default=-1) + 1 :]


def with_source(spec: ModelSpec, name: str) -> ModelSpec:
    """The spec with one more source map in front; L2-normalised if the next one is (ParseNet)."""
    first = spec.boxes.maps[0]
    size = float(max(1, round(min(first.sizes) / 2)))
    added = MapBoxes((size,), (min(first.sizes),), first.aspect_ratios or MapBoxes.aspect_ratios)
    return replace(
        spec,
        sources=(name, *spec.sources),
        boxes=replace(spec.boxes, maps=(added, *spec.boxes.maps)),
        normalised=(name, *spec.normalised) if spec.sources[0] in spec.normalised else spec.normalised,
    )


def _sample(
    spec: ModelSpec, ground_truth: GroundTruthBoxes, deciding: Int64[np.ndarray, " D"]
) -> tuple[Float32[np.ndarray, "M 4"], Int64[np.ndarray, " M"]]:
    """Evenly spaced ground-truth boxes of each deciding class, cxcywh in pixels of the network input, and labels."""
    limit = max(LEAST_OF_CLASS, MOST_OBJECTS // len(deciding))
    rows_of_classes = [np.flatnonzero(ground_truth.labels == label) for label in deciding]
    rows = np.concatenate([of_class[:: -(-len(of_class) // limit)] for of_class in rows_of_classes])
    height, width = spec.input_size_hw
    pixels = ground_truth.boxes_xyxy[rows] * np.array([width, height, width, height], np.float32)
    return xyxy_to_cxcywh(pixels), ground_truth.labels[rows]


def _candidates(
    spec: ModelSpec, boxes_cxcywh: Float32[np.ndarray, "M 4"], map_sizes_hw: Sequence[tuple[int, int]]
) -> list[MapCandidates]:
    """Candidates of each map, or of all maps together: sizes that suit the stride, and the given boxes as they are."""
    side, truncate = min(spec.input_size_hw), spec.boxes.truncate_sizes
    cells = [rows * columns for rows, columns in map_sizes_hw]
    strides = [_stride(spec.input_size_hw, size_hw) for size_hw in map_sizes_hw]
    centres = [
        NearestCentres.on_map(
            boxes_cxcywh,
            size_hw,
            spec.input_size_hw,
            steps_hw=boxes.steps_hw,
            offset=spec.boxes.offset if boxes.offset is None else boxes.offset,
        )
        for boxes, size_hw in zip(spec.boxes.maps, map_sizes_hw, strict=True)
    ]
    if spec.shared_head is not None:
        present, stride = min(spec.boxes.maps[0].sizes), strides[0]
        sizes = size_ladder(min(present, LEAST_STRIDES * stride), max(present, MOST_STRIDES * stride))
        return [shared_candidates(spec.boxes.maps, centres, cells, smallest=sizes, truncate=truncate)]
    smallest = np.quantile(np.sqrt(boxes_cxcywh[:, 2] * boxes_cxcywh[:, 3]), 0.01)
    sizes = size_ladder(float(smallest.clip(2, side / 2)), side)
    candidates = []
    for boxes, centres_of_map, count, stride in zip(spec.boxes.maps, centres, cells, strides, strict=True):
        least = min(*boxes.sizes, LEAST_STRIDES * stride)
        fitting = [size for size in sizes if least <= size <= MOST_STRIDES * stride]
        candidates.append(map_candidates(boxes, fitting, centres_of_map, count, truncate=truncate))
    return candidates


def _stride(input_size_hw: tuple[int, int], map_size_hw: tuple[int, int]) -> int:
    """The distance of two cells in pixels, the larger one of both axes."""
    return max(round(pixels / cells) for pixels, cells in zip(input_size_hw, map_size_hw, strict=True))
