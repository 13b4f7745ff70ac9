"""Default boxes fitted to a data set, where the shipped ones do not cover its objects.

The rule, in one paragraph: where every class of at least 20 objects has default boxes of IoU >= 0.5 for a share of
them, the boxes at hand stay: more boxes cost time and, measured, accuracy (`docs/results.md`). Else the shipped sizes
are re-spaced from the data's small objects up to the shipped largest size; if that is not enough, a finer source map is
put in front and the sizes are spaced anew. Each change must raise the mean coverage by 2 points, or one class by 25; a
map of stride 4 is only tried while some class is covered to less than 80%.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from singleshot.box_search.measure import Coverage, MeasuredGroundTruth, measurable, measure, percent
from singleshot.box_search.nearest import grid
from singleshot.boxes import xyxy_to_cxcywh
from singleshot.shapes import Float, Float32, Int64
from singleshot.spec import TIMM, BoxSpec, MapBoxes, ModelSpec
from singleshot.ssd.default_boxes import caffe_default_boxes
from singleshot.types import Annotations

MapSizes = Callable[[ModelSpec], Sequence[tuple[int, int]]]


THRESHOLD = 0.5
NEGLECTED = 1 / 3
"""A class covered to less than this share is hardly learnt: default boxes are adapted to it.

By SSDLite's own sizes, persons of VOC2007, covered to 33 to 39%, are learnt better than by boxes that cover 74%; the
demonstration's classes, covered to 31 to 35%, worse.
"""
ENOUGH = 0.95
"""A class covered to this share needs nothing more."""
LEAST_GAIN = 0.02
"""What a change must add to the mean coverage of the classes (mAP is a mean over them, too) ..."""
RESCUE = 0.25
"""... or to the coverage of one class."""
LAST_RESORT_STRIDE, LAST_RESORT_BELOW = 4, 0.8
"""A map this fine holds four times the boxes of the next: only for classes that stay below this share without it."""
LEAST_GROUND_TRUTH = 20
"""Classes with fewer ground-truth boxes do not decide: a single object is 5 points or more."""
LEAST_STRIDES = 1.36
"""A object that lies a quarter of a cell off in x and y, the mean, has IoU >= 0.5 from this many strides of size on."""
MOST_BOXES = 5
"""The default boxes may become this many times as many."""
WORTH, WORTH_OF_CLASS = 0.005, 0.05
"""Of candidates within this of the best, in the mean and in each class, the one with fewest boxes is taken."""
MOST_OF_CLASS = 500
"""Ground-truth boxes of a class to search with: enough to know a share to a point."""
MOST_GROUND_TRUTH = 20_000
"""Larger sets are judged by evenly spaced images of them."""

FINER_SOURCES = {
    "mobilenetv1": ("conv5", "conv3"),
    "mobilenetv2": ("block7_expand", "block4_expand"),
    "mobilenetv3": ("block7_expand", "block4_expand"),
    TIMM: ("stride8", "stride4"),
    "ultralight-rfb": ("conv7", "conv3"),
    "ultralight-slim": ("conv7", "conv3"),
    "vgg16": ("conv4_3", "conv3_3"),
    "vgg16-full": ("conv4_3", "conv3_3"),
}
"""Maps of each backbone that may be put in front of the shipped ones: stride 8, then stride 4."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What was decided about the default boxes, and why.

    Attributes:
        spec: the detector to train.
        before: coverage by the boxes that were given.
        after: coverage by those of `spec`.
        changed: whether `spec` differs from what was given.
        reason: a line for people.
    """

    spec: ModelSpec
    before: Coverage
    after: Coverage
    changed: bool
    reason: str


@dataclass(frozen=True, eq=False)
class Objects:
    """Ground-truth boxes in pixels of the network input, and the classes whose coverage decides."""

    boxes_cxcywh: Float32[np.ndarray, "M 4"]
    labels: Int64[np.ndarray, " M"]
    deciding: Int64[np.ndarray, " D"]

    @property
    def sizes(self) -> Float32[np.ndarray, " M"]:
        """Root of the area, pixels."""
        return np.sqrt(self.boxes_cxcywh[:, 2] * self.boxes_cxcywh[:, 3])  # type: ignore[no-any-return]

    def shares(self, overlaps: Float32[np.ndarray, " M"]) -> Float[np.ndarray, " D"]:
        """Covered share of each deciding class."""
        return np.array([(overlaps[self.labels == label] >= THRESHOLD).mean() for label in self.deciding])


def adapt(
    spec: ModelSpec,
    annotations: Annotations,
    *,
    map_sizes_hw: MapSizes,
    below: float = NEGLECTED,
    shipped: BoxSpec | None = None,
    most: int | None = None,
) -> Adaptation:
    """Keep a detector's default boxes where they cover the objects of a training set; else fit boxes and maps to it.

    Args:
        spec: the detector as it stands.
        annotations: the training set, and nothing but it: boxes chosen on test data would be a leak.
        map_sizes_hw: height and width of each source map of a spec.
        below: the boxes are left alone unless a class is covered to less than this share.
        shipped: boxes on the same maps to derive others from; left out: those of `spec`.
        most: default boxes there may be; left out: `MOST_BOXES` times as many as `spec` has.
    """
    annotations, sampled = sample_of(annotations)
    before = measure(annotations, default_boxes_of(spec, map_sizes_hw(spec)), threshold=THRESHOLD)
    ground_truth = measurable(annotations)
    if not len(ground_truth.labels):
        return Adaptation(
            spec,
            before,
            before,
            changed=False,
            reason="default boxes kept: no ground-truth boxes to fit them to",
        )
    deciding = deciding_classes(before)
    if least_covered(before) >= below:
        reason = f"default boxes kept: every class is covered to {below:.0%} or more{sampled}"
        return Adaptation(spec, before, before, changed=False, reason=reason)
    origin = spec if shipped is None else replace(spec, boxes=shipped)
    chosen = _choose(spec, origin, deciding_objects(ground_truth, spec, deciding), map_sizes_hw, most)
    if chosen is spec:
        reason = f"default boxes kept: no other boxes cover enough more{sampled}"
        return Adaptation(spec, before, before, changed=False, reason=reason)
    after = measure(annotations, default_boxes_of(chosen, map_sizes_hw(chosen)), threshold=THRESHOLD)
    reason = _reason(spec, chosen, before, after) + sampled
    return Adaptation(chosen, before, after, changed=True, reason=reason)


def _choose(spec: ModelSpec, base: ModelSpec, objects: Objects, map_sizes_hw: MapSizes, most: int | None) -> ModelSpec:
    """The given spec, or the cheapest change of `base` that covers enough; see the head of this file."""
    sizes_hw = map_sizes_hw(base)
    judge = _Judge(base, objects, sizes_hw)
    chosen, shares = spec, judge.shares(spec.boxes)
    most = MOST_BOXES * judge.count(spec.boxes) if most is None else most
    for finer in ("", *finer_sources(spec)):
        if shares.min() >= ENOUGH:
            break
        if finer:
            base = with_source(base, finer)
            sizes_hw = map_sizes_hw(base)
            judge = _Judge(base, objects, sizes_hw)
            if judge.strides[0] <= LAST_RESORT_STRIDE and shares.min() >= LAST_RESORT_BELOW:
                break
        found = _search(judge, _candidates(base, objects, judge.strides), most)
        if found is None:
            continue
        gains = judge.shares(found) - shares
        if gains.mean() >= LEAST_GAIN or gains.max() >= RESCUE:
            chosen, shares = replace(base, boxes=found), shares + gains
    return chosen


class _Judge:
    """How well box sets on the source maps of one spec cover the objects; remembers each map's part."""

    def __init__(self, spec: ModelSpec, objects: Objects, map_sizes_hw: Sequence[tuple[int, int]]) -> None:
        self.objects = objects
        self.map_sizes_hw = map_sizes_hw
        self.strides = strides_of(spec, map_sizes_hw)
        self.grids = [
            grid(objects.boxes_cxcywh, size_hw, spec.input_size_hw, step=boxes.step, offset=spec.boxes.offset)
            for boxes, size_hw in zip(spec.boxes.maps, map_sizes_hw, strict=True)
        ]
        self.known: dict[tuple[int, MapBoxes], Float32[np.ndarray, " M"]] = {}

    def overlaps(self, boxes: BoxSpec) -> Float32[np.ndarray, " M"]:
        """Best IoU of each object."""
        for key in enumerate(boxes.maps):
            if key not in self.known:
                self.known[key] = self.grids[key[0]].best_overlaps(key[1], truncate=boxes.truncate_sizes)
        return np.maximum.reduce([self.known[key] for key in enumerate(boxes.maps)])  # type: ignore[no-any-return]

    def shares(self, boxes: BoxSpec) -> Float[np.ndarray, " D"]:
        """Covered share of each deciding class."""
        return self.objects.shares(self.overlaps(boxes))

    def count(self, boxes: BoxSpec) -> int:
        """K, the number of default boxes."""
        pairs = zip(boxes.maps, self.map_sizes_hw, strict=True)
        return sum(height * width * entry.boxes_per_cell for entry, (height, width) in pairs)


def _search(judge: _Judge, candidates: Iterable[BoxSpec], most: int) -> BoxSpec | None:
    """Of the candidates of at most so many boxes the one that covers most; where it hardly matters, fewest boxes."""
    found = [(boxes, judge.shares(boxes)) for boxes in candidates if judge.count(boxes) <= most]
    if not found:
        return None
    best = max((shares for _, shares in found), key=np.mean)
    worthy = [
        boxes
        for boxes, shares in found
        if shares.mean() >= best.mean() - WORTH and (shares >= best - WORTH_OF_CLASS).all()
    ]
    return min(worthy, key=lambda boxes: (judge.count(boxes), -judge.overlaps(boxes).mean()))


def _candidates(spec: ModelSpec, objects: Objects, strides: Sequence[float]) -> Iterator[BoxSpec]:
    """Box sets whose sizes climb from the data's small objects to the shipped largest size.

    s_k = s_1 (s_m / s_1)^(u_k^p), u_k = (k - 1) / (m - 1), in whole pixels (Caffe truncates): p = 1 is geometric, less
    hurries through the small sizes, more dwells on them; no map gets boxes that are small against its stride, but where
    the shipped ones are. The two finest maps may carry two sizes each.
    """
    shipped = [min(boxes.min_sizes) for boxes in spec.boxes.maps]
    ceiling = max((spec.boxes.maps[-1].max_sizes or spec.boxes.maps[-1].min_sizes)[-1], shipped[-1])
    least = np.minimum(shipped, LEAST_STRIDES * np.array(strides))
    lowest = max(float(np.quantile(objects.sizes, 0.01)), least[0])
    starts = np.unique(np.round(np.geomspace(lowest, max(lowest, shipped[-1] / 2), 16)))
    rises = np.linspace(0, 1, len(shipped))
    ratios_of_first = dict.fromkeys([(2.0,), spec.boxes.maps[0].aspect_ratios, (2.0, 3.0)])
    for start, power in product(starts, (0.6, 0.8, 1.0, 1.25, 1.5)):
        sizes = np.round(np.maximum(start * (shipped[-1] / start) ** (rises**power), least))
        if (np.diff([*sizes, ceiling]) < 1).any():
            continue
        for splits, ratios in product(((1, 1), (2, 1), (2, 2)), ratios_of_first):
            yield _ladder(spec.boxes, [*sizes, ceiling], splits, ratios)


def _ladder(
    shipped: BoxSpec, sizes: list[float], splits: tuple[int, int], ratios_of_first: tuple[float, ...]
) -> BoxSpec:
    """One `MapBoxes` a map; `splits`: how many sizes the first two carry, in equal ratios up to the next map's."""
    maps = []
    for k, boxes in enumerate(shipped.maps):
        steps = splits[k] if k < len(splits) else 1
        edges = tuple(float(size) for size in np.round(np.geomspace(sizes[k], sizes[k + 1], steps + 1)))
        ratios = boxes.aspect_ratios if k else ratios_of_first
        maps.append(replace(boxes, min_sizes=edges[:-1], max_sizes=edges[1:], aspect_ratios=ratios))
    return replace(shipped, maps=tuple(maps))


def strides_of(spec: ModelSpec, map_sizes_hw: Sequence[tuple[int, int]]) -> list[int]:
    """Pixels from one cell to the next, of each map."""
    height, width = spec.input_size_hw
    return [max(round(height / rows), round(width / columns)) for rows, columns in map_sizes_hw]


def finer_sources(spec: ModelSpec) -> tuple[str, ...]:
    """Maps that may be put in front, coarse before fine; only such as are finer than what the spec has.

    None in front of a grid head, which takes one map.
    """
    if spec.grid_head is not None:
        return ()
    known = FINER_SOURCES.get(TIMM if spec.backbone.startswith(TIMM) else spec.backbone, ())
    present = [known.index(name) for name in spec.sources if name in known]
    return known[max(present, default=-1) + 1 :]


def with_source(spec: ModelSpec, name: str) -> ModelSpec:
    """The spec with one more source map in front; L2-normalised where the map behind it is (ParseNet)."""
    first = spec.boxes.maps[0]
    size = float(max(1, round(min(first.min_sizes) / 2)))
    added = MapBoxes((size,), (min(first.min_sizes),), first.aspect_ratios)
    return replace(
        spec,
        sources=(name, *spec.sources),
        boxes=replace(spec.boxes, maps=(added, *spec.boxes.maps)),
        normalised=(name, *spec.normalised) if spec.sources[0] in spec.normalised else spec.normalised,
    )


def sample_of(annotations: Annotations) -> tuple[Annotations, str]:
    """A large set's evenly spaced images with about `MOST_GROUND_TRUTH` objects, and a remark for the reason."""
    count = len(annotations.labels)
    if count <= MOST_GROUND_TRUTH:
        return annotations, ""
    every = -(-count // MOST_GROUND_TRUTH)
    sample = annotations.subset(range(0, len(annotations), every))
    return sample, f" (judged by {len(sample)} of {len(annotations)} images)"


def least_covered(coverage: Coverage) -> float:
    """Covered share of the class that is covered least, of those that decide; 0 without ground-truth boxes."""
    return float(coverage.shares[deciding_classes(coverage)].min(initial=1.0)) if coverage.ground_truth.any() else 0.0


def deciding_classes(coverage: Coverage) -> Int64[np.ndarray, " D"]:
    """The classes that decide: those with objects enough, or, where there are none, all with ground-truth boxes."""
    many = coverage.ground_truth >= LEAST_GROUND_TRUTH
    return np.flatnonzero(many if many.any() else coverage.ground_truth)


def deciding_objects(
    ground_truth: MeasuredGroundTruth, spec: ModelSpec, deciding: Int64[np.ndarray, " D"], *, most: int = MOST_OF_CLASS
) -> Objects:
    """The ground-truth boxes to search with: evenly spaced ones of each deciding class, `most` of it."""
    of_classes = [np.flatnonzero(ground_truth.labels == label) for label in deciding]
    rows = np.concatenate([found[:: -(-len(found) // most)] for found in of_classes])
    height, width = spec.input_size_hw
    pixels = ground_truth.boxes_xyxy[rows] * np.array([width, height, width, height], np.float32)
    return Objects(xyxy_to_cxcywh(pixels), ground_truth.labels[rows], deciding)


def default_boxes_of(spec: ModelSpec, map_sizes_hw: Sequence[tuple[int, int]]) -> Float32[np.ndarray, "K 4"]:
    """All default boxes of a spec whose maps have these sizes."""
    return caffe_default_boxes(spec.boxes, map_sizes_hw, spec.input_size_hw)


def _reason(spec: ModelSpec, chosen: ModelSpec, before: Coverage, after: Coverage) -> str:
    added = chosen.sources[: len(chosen.sources) - len(spec.sources)]
    maps = f"source map {' and '.join(added)} added, " if added else ""
    sizes = ", ".join("+".join(f"{size:g}" for size in boxes.min_sizes) for boxes in chosen.boxes.maps)
    deciding = deciding_classes(before)
    weakest = deciding[before.shares[deciding].argmin()]
    return (
        f"default boxes adapted: {maps}sizes {sizes} pixels, {after.num_default_boxes} boxes instead of "
        f"{before.num_default_boxes}; {before.class_names[weakest]} {percent(before.shares[weakest])} -> "
        f"{percent(after.shares[weakest])} covered, all {percent(before.share)} -> {percent(after.share)}"
    )
