"""Which detections are true positives: the one matching core under VOC's, ILSVRC's and COCO's evaluation.

The detections of an image and class are taken best score first. Each chooses a ground-truth box of its image and class
by IoU; the first to choose a box is its true positive. Everything in which the protocols differ is a field of
`MatchingRules`:

- VOC (Caffe detection_evaluate_layer.cpp): the box of largest IoU decides, taken or not, difficult ones included. A
  second detection of it is a false positive, and one of a difficult box does not count.
- ILSVRC (Russakovsky et al. 2015, section 4.3): of the boxes still free, and small ones may be met less exactly.
  Difficult boxes are not there.
- COCO (pycocotools cocoeval.py, evaluateImg): of the boxes still free; only a detection that finds none may fall to an
  ignored box or a crowd region, and then does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from singleshot.boxes import area, intersection, iou
from singleshot.degenerate_boxes import NOT_FINITE, box_faults, usable_boxes
from singleshot.evaluate.box_table import BoxTable, detection_table, ground_truth_table
from singleshot.shapes import Bool, Float, Int8, Int64
from singleshot.types import Annotations, Detections

FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2
PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class MatchingRules:
    """How a protocol matches detections to ground truth. The default is VOC's.

    Attributes:
        iou_thresholds: IoU from which a detection matches; one set of outcomes each.
        second_best: where a better box is taken, a detection may match another that it meets by the threshold.
        ignored: whether ignored boxes `compete` with the others, are `absent`, or are chosen `last`.
        last_of_ties: of boxes of equal IoU the last is chosen, not the first.
        max_detections: detections of an image and class that count; None for all.
        plus_one: boxes are whole pixels, both edges included, as in VOC's and ILSVRC's development kits.
        tolerance: pixels by which a detection of a small object may be larger in each direction: the threshold is
            min(iou_threshold, w h / ((w + tolerance) (h + tolerance))).
        crowd_share: of a crowd region, the share of the detection inside it counts as IoU.
        zero_area_counts: ground-truth boxes without area are objects that nothing can find; else they are ignored.
        double: IoU in double precision, as pycocotools; else in single, as Caffe.
        any_class: classes may differ, but a box of the detection's own class is preferred.
    """

    iou_thresholds: tuple[float, ...] = (0.5,)
    second_best: bool = False
    ignored: Literal["compete", "absent", "last"] = "compete"
    last_of_ties: bool = False
    max_detections: int | None = None
    plus_one: bool = False
    tolerance: int = 0
    crowd_share: bool = False
    zero_area_counts: bool = False
    double: bool = False
    any_class: bool = False


VOC = MatchingRules()
ILSVRC = MatchingRules(second_best=True, ignored="absent", plus_one=True, tolerance=10)
COCO = MatchingRules(
    iou_thresholds=tuple(np.linspace(0.5, 0.95, 10).tolist()),
    second_best=True,
    ignored="last",
    last_of_ties=True,
    max_detections=100,
    crowd_share=True,
    zero_area_counts=True,
    double=True,
)


class Matches(NamedTuple):
    """The outcome of every detection, a row for each IoU threshold (and each row of `ignored`).

    Attributes:
        outcomes: `TRUE_POSITIVE`, `FALSE_POSITIVE` or `IGNORED`.
        ground_truth: row of the ground-truth box that it chose, -1 where none.
    """

    outcomes: Int8[np.ndarray, "T n"]
    ground_truth: Int64[np.ndarray, "T n"]


class Pairs(NamedTuple):
    """Detections and ground-truth boxes that overlap.

    Attributes:
        detections: rows of the detections, rising.
        ground_truth: rows of the boxes, rising for each detection.
        ious: of the pairs.
    """

    detections: Int64[np.ndarray, " P"]
    ground_truth: Int64[np.ndarray, " P"]
    ious: Float[np.ndarray, " P"]

    def select(self, detections: Bool[np.ndarray, " n"]) -> Pairs:
        """Those of some of the detections."""
        return Pairs(*(column[detections[self.detections]] for column in self))


@dataclass(frozen=True, eq=False)
class MatchedDetections:
    """A set's ground truth and detections with the outcome of each.

    Attributes:
        annotations: the set.
        rules: by which they were matched.
        ground_truth: all of it.
        ignored: ground-truth boxes that do not count: difficult, crowd, or degenerate.
        detections: those of classes that the set has.
        known_classes: which of the set's classes the detector knows.
        unknown_classes: detections of other classes, by name; they are left out.
        matches: a row of outcomes for each IoU threshold.
    """

    annotations: Annotations
    rules: MatchingRules
    ground_truth: BoxTable
    ignored: Bool[np.ndarray, " M"]
    detections: BoxTable
    known_classes: Bool[np.ndarray, " L"]
    unknown_classes: dict[str, int]
    matches: Matches

    @classmethod
    def of(
        cls, annotations: Annotations, detections: Sequence[Detections], rules: MatchingRules = VOC
    ) -> MatchedDetections:
        """Match the detections of each image, in the set's order; boxes in pixels.

        Raises:
            DataError: see `detection_table`.
        """
        ground_truth, ignored = ground_truth_table(annotations), ignored_ground_truth(annotations, rules)
        table, unknown = detection_table(annotations, detections)
        names = {name for of_image in detections for name in of_image.class_names}
        known = np.array([name in names for name in annotations.class_names], bool)
        matches = match(table, ground_truth, ignored, rules)
        return cls(annotations, rules, ground_truth, ignored, table, known, unknown, matches)

    def by(self, rules: MatchingRules) -> MatchedDetections:
        """The same by other rules."""
        if rules == self.rules:
            return self
        ignored = ignored_ground_truth(self.annotations, rules)
        matches = match(self.detections, self.ground_truth, ignored, rules)
        return replace(self, rules=rules, ignored=ignored, matches=matches)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The set's classes."""
        return self.annotations.class_names

    @property
    def outcomes(self) -> Int8[np.ndarray, " n"]:
        """At the first IoU threshold."""
        first: np.ndarray = self.matches.outcomes[0]
        return first

    def of_class(self, label: int) -> Int64[np.ndarray, " n"]:
        """Rows of a class's detections, best first."""
        return self.detections.ranked(np.flatnonzero(self.detections.labels == label))


def ignored_ground_truth(annotations: Annotations, rules: MatchingRules) -> Bool[np.ndarray, " M"]:
    """Boxes that are neither found nor missed: difficult, crowd and degenerate ones."""
    boxes = annotations.boxes_xyxy
    degenerate = box_faults(boxes) == NOT_FINITE if rules.zero_area_counts else ~usable_boxes(boxes)
    ignored: np.ndarray = annotations.difficult | annotations.crowd | degenerate
    return ignored


def match(
    detections: BoxTable,
    ground_truth: BoxTable,
    ignored: Bool[np.ndarray, "*A M"],
    rules: MatchingRules,
    *,
    crowd: Bool[np.ndarray, " M"] | None = None,
) -> Matches:
    """Match every detection of a set.

    The detections that come n-th in their image and class are matched together, for all images and classes at once.

    Args:
        detections: of all images.
        ground_truth: likewise.
        ignored: boxes that do not count; (A, M) for several answers at once: then row a T + t of the result is for
            `ignored[a]` at threshold t.
        rules: the protocol's.
        crowd: boxes that any number of detections may match; left out, those that are ignored (in the first row).
    """
    ignored = np.atleast_2d(ignored)
    crowd = ignored[0] if crowd is None else crowd
    thresholds = iou_thresholds(rules, ground_truth.boxes_xyxy)
    thresholds, ignored = np.tile(thresholds, (len(ignored), 1)), np.repeat(ignored, len(thresholds), axis=0)
    if rules.ignored == "absent":
        thresholds = np.where(ignored, np.inf, thresholds)
    counted = np.ones(len(detections), bool)
    if rules.max_detections is not None:
        counted = ranks_in_image(detections, any_class=rules.any_class) < rules.max_detections
    outcomes = np.tile(np.where(counted, FALSE_POSITIVE, IGNORED).astype(np.int8), (len(ignored), 1))
    chosen_boxes, free = np.full(outcomes.shape, -1, np.int64), np.ones(ignored.shape, bool)
    pairs = overlapping_pairs(detections, ground_truth, rules, least=thresholds.min(axis=0), crowd=crowd)
    for rows, boxes, ious in _turns(pairs.select(counted), detections, rules):
        reach = ious >= thresholds[:, boxes]
        if rules.second_best:
            reach &= free[:, boxes]
        better = ~ignored[:, boxes] if rules.ignored == "last" else None
        if rules.any_class:
            better = np.broadcast_to(detections.labels[rows] == ground_truth.labels[boxes], reach.shape)
        lanes, places = _choose(reach, better, rows, ious, last_of_ties=rules.last_of_ties)
        detection, box = rows[places], boxes[places]
        outcome = np.where(free[lanes, box], TRUE_POSITIVE, FALSE_POSITIVE)
        outcomes[lanes, detection] = np.where(ignored[lanes, box], IGNORED, outcome)
        chosen_boxes[lanes, detection] = box
        free[lanes, box] &= crowd[box]
    return Matches(outcomes, chosen_boxes)


def iou_thresholds(rules: MatchingRules, boxes_xyxy: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "T M"]:
    """The IoU from which each box is matched; with a tolerance it is below the protocol's for small ones."""
    kind = np.float64 if rules.double or rules.tolerance else np.float32
    fixed = np.array(rules.iou_thresholds, kind)[:, None]
    if not rules.tolerance:
        return np.broadcast_to(fixed, (len(fixed), len(boxes_xyxy)))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width, height = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2].astype(np.float64)).T + rules.plus_one
        small = width * height / ((width + rules.tolerance) * (height + rules.tolerance))
    least: np.ndarray = np.minimum(fixed, small)
    return least


def ranks_in_image(table: BoxTable, *, any_class: bool = False) -> Int64[np.ndarray, " n"]:
    """Place of each box among those of its image and class (of its image for `any_class`) by falling score, from 0."""
    groups = _groups(table, any_class=any_class)
    order = np.lexsort((-table.scores, groups))
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    ranks = np.zeros(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))
    return ranks


def overlapping_pairs(
    detections: BoxTable,
    ground_truth: BoxTable,
    rules: MatchingRules,
    *,
    least: Float[np.ndarray, "*M"],
    crowd: Bool[np.ndarray, " M"] | None = None,
) -> Pairs:
    """The pairs of one image and class (of one image for `rules.any_class`) whose IoU is `least` or more.

    Args:
        detections: of all images.
        ground_truth: likewise.
        rules: how IoU is measured.
        least: above 0, for all boxes or for each.
        crowd: crowd regions, for `rules.crowd_share`.
    """
    groups, of_boxes = (_groups(table, any_class=rules.any_class) for table in (detections, ground_truth))
    order = np.argsort(of_boxes, kind="stable")
    begin, end = (np.searchsorted(of_boxes[order], groups, side=side) for side in ("left", "right"))
    count, least = end - begin, np.broadcast_to(least, len(ground_truth))
    pieces = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, least.dtype))]
    cuts = np.searchsorted(np.cumsum(count), np.arange(PAIRS_AT_ONCE, count.sum(), PAIRS_AT_ONCE))
    for some in np.split(np.arange(len(detections)), cuts):
        rows = np.repeat(some, count[some])
        starts = np.cumsum(count[some]) - count[some]
        boxes = order[np.arange(len(rows)) + np.repeat(begin[some] - starts, count[some])]
        is_crowd = None if crowd is None else crowd[boxes]
        ious = _ious(detections.boxes_xyxy[rows], ground_truth.boxes_xyxy[boxes], rules, is_crowd)
        close = ious >= least[boxes]
        pieces.append(Pairs(rows[close], boxes[close], ious[close]))
    return Pairs(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def _ious(
    first: Float[np.ndarray, "P 4"],
    second: Float[np.ndarray, "P 4"],
    rules: MatchingRules,
    crowd: Bool[np.ndarray, " P"] | None,
) -> Float[np.ndarray, " P"]:
    if rules.double:
        first, second = first.astype(np.float64), second.astype(np.float64)
    ious = pair_ious(first, second, plus_one=rules.plus_one)
    if rules.crowd_share and crowd is not None:
        with np.errstate(invalid="ignore"):
            common, own = intersection(first[crowd], second[crowd]), area(first[crowd])
            ious[crowd] = np.where(common > 0, common / own.clip(min=1e-30), 0)
    return ious


def pair_ious(
    first_xyxy: Float[np.ndarray, "n 4"], second_xyxy: Float[np.ndarray, "n 4"], *, plus_one: bool = False
) -> Float[np.ndarray, " n"]:
    """IoU of each pair (Caffe bbox_util.cpp, JaccardOverlap); 0 where a coordinate is not finite.

    With `plus_one`, boxes are pixels and both edges belong to them; boxes apart have IoU 0 (Caffe: of one pixel).
    """
    if plus_one:
        edge = np.array([0, 0, 1, 1], np.float32)
        first_xyxy, second_xyxy = first_xyxy + edge, second_xyxy + edge
    with np.errstate(invalid="ignore", over="ignore"):
        ious = iou(first_xyxy, second_xyxy)
    return np.where(np.isfinite(ious), ious, 0)


def _groups(table: BoxTable, *, any_class: bool) -> Int64[np.ndarray, " n"]:
    """A number for each image and class."""
    groups: np.ndarray = table.images if any_class else table.images * 2**32 + table.labels
    return groups


def _turns(pairs: Pairs, detections: BoxTable, rules: MatchingRules) -> Iterator[Pairs]:
    """The pairs of the best detection that has one, of each image and class; then of the second best, and so on."""
    rows = pairs.detections[np.flatnonzero(np.diff(pairs.detections, prepend=-1))]
    turns = np.zeros(len(detections), np.int64)
    turns[rows] = ranks_in_image(detections.select(rows), any_class=rules.any_class)
    turn = turns[pairs.detections]
    order = np.argsort(turn, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(turn[order])) + 1):
        if len(places):
            yield Pairs(*(column[places] for column in pairs))


def _choose(
    reach: Bool[np.ndarray, "T P"],
    better: Bool[np.ndarray, "T P"] | None,
    rows: Int64[np.ndarray, " P"],
    ious: Float[np.ndarray, " P"],
    *,
    last_of_ties: bool,
) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, " c"]]:
    """The pair of largest IoU of each detection, among the better ones where it has one: row of `reach`, and pair."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    lengths = np.diff(starts, append=len(rows))
    if better is not None:
        has_better = np.logical_or.reduceat(reach & better, starts, axis=1)
        reach = np.where(np.repeat(has_better, lengths, axis=1), reach & better, reach)
    values = np.where(reach, ious, -1)
    top = np.maximum.reduceat(values, starts, axis=1)
    is_top = values == np.repeat(top, lengths, axis=1)
    if last_of_ties:
        chosen = np.maximum.reduceat(np.where(is_top, np.arange(len(rows)), -1), starts, axis=1)
    else:
        chosen = np.minimum.reduceat(np.where(is_top, np.arange(len(rows)), len(rows)), starts, axis=1)
    lanes, detection = np.nonzero(top >= 0)
    return lanes, chosen[lanes, detection]
