"""Default boxes for a data set: measure those that a detector has, and search better ones within a budget.

`ssd train` and `ssd boxes` both ask `find_boxes`, with different goals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from singleshot.box_search.recall import (
    CLASSES_NAMED,
    LEAST_OBJECTS,
    DefaultBoxRecall,
    RecallBin,
    measure_recall,
    sample_of,
    whole_percent,
)
from singleshot.box_search.search import BoxSearch, BoxSet, MapSizes, pareto
from singleshot.errors import RequestError
from singleshot.spec import ModelSpec
from singleshot.ssd.default_boxes import caffe_default_boxes
from singleshot.types import Annotations

LOW_RECALL = 1 / 3
"""A class below this recall is hardly learnt.

By SSDLite's own boxes persons of VOC2007, of a recall of 33 to 39%, are learnt better than by boxes of a recall of 74%;
the demonstration's classes, of 31 to 35%, worse.
"""
GOOD_RECALL = 0.95
"""A class of this recall needs no other boxes."""
FULL_RECALL = 0.98
"""What other boxes should reach for each class, once they are searched for training."""
MOST_TIMES = 5
"""Without a limit the number of boxes may grow to so many times the present one."""
LEAST_GAIN = 0.02
"""Gain of score below which the present boxes are kept."""
LATENCY_TRIES = 6
"""Networks that are timed, at most, between one that is too slow and one that is fast enough."""
MOST_TIMED = LATENCY_TRIES + 3
"""With the present boxes, the best ones and the fewest."""


@dataclass(frozen=True)
class Goal:
    """What is asked of the boxes.

    Attributes:
        kept_from: the present boxes are kept, without a search, if each class has this recall; None always searches.
        least_recall: recall that each class should have. Without a limit, the search stays within the present number
            of boxes, and takes more only if a class would be below this.
        max_boxes: limit on the number of default boxes.
        max_milliseconds: limit on the network's time on this machine.
    """

    kept_from: float | None = None
    least_recall: float = LOW_RECALL
    max_boxes: int | None = None
    max_milliseconds: float | None = None

    @property
    def limited(self) -> bool:
        """Whether the present boxes may be more than allowed."""
        return self.max_boxes is not None or self.max_milliseconds is not None

    def __post_init__(self) -> None:
        if self.max_boxes is not None and self.max_boxes < 1:
            raise RequestError(f"--most is a number of boxes, 1 or more, got {self.max_boxes}")
        if self.max_milliseconds is not None and not self.max_milliseconds > 0:
            raise RequestError(f"--latency is a time in milliseconds above 0, got {self.max_milliseconds:g}")


@dataclass(frozen=True, eq=False)
class NetworkTimer:
    """Measures how long networks take, each once.

    Attributes:
        measure: gives the milliseconds of a network of this spec.
        conditions: what is measured, in words.
        milliseconds: of the networks measured so far.
    """

    measure: Callable[[ModelSpec], float]
    conditions: str
    milliseconds: dict[ModelSpec, float] = field(default_factory=dict)

    def of(self, box_set: BoxSet) -> float:
        """Milliseconds of the network that has these boxes."""
        if box_set.spec not in self.milliseconds:
            self.milliseconds[box_set.spec] = self.measure(box_set.spec)
        return self.milliseconds[box_set.spec]


@dataclass(frozen=True, eq=False)
class MeasuredBoxes:
    """A detector's default boxes, and how well they fit the data.

    Attributes:
        spec: the detector.
        map_sizes_hw: height and width of its source maps.
        recall: of the data set.
    """

    spec: ModelSpec
    map_sizes_hw: tuple[tuple[int, int], ...]
    recall: DefaultBoxRecall

    def to_json(self) -> dict[str, Any]:
        """Plain values; `covered` and `boxes_an_object` are the names of `recall` and `boxes_per_object` before."""
        recall = self.recall
        return {
            "boxes": recall.num_default_boxes,
            "sources": list(self.spec.sources),
            "maps": [[width, height] for height, width in self.map_sizes_hw],
            "sizes": [list(boxes.sizes) for boxes in self.spec.boxes.maps],
            "ratios": [list(boxes.ratios) for boxes in self.spec.boxes.maps],
            **_named(recall.total, "recall", "covered"),
            "per_class": {
                name: {
                    "objects": int(count),
                    **_named(share, "recall", "covered"),
                    **_named(fitting, "boxes_per_object", "boxes_an_object"),
                }
                for name, count, share, fitting in zip(
                    recall.class_names, recall.counts, recall.per_class, recall.fitting_per_object, strict=True
                )
            },
            "by_size": _bins_json(recall.by_size()),
            "by_shape": _bins_json(recall.by_shape(self.spec.input_size_hw)),
            "spec": asdict(self.spec),
        }


@dataclass(frozen=True, eq=False)
class BoxStudy:
    """What a search found; `report` shows it as a page.

    Attributes:
        given: the present boxes.
        best: better ones; None if the present ones are kept.
        curve: sets from few boxes to many, the best one among them.
        timer: with the times of the networks that were measured.
        remarks: lines for people: what was chosen and why.
    """

    given: MeasuredBoxes
    best: MeasuredBoxes | None = None
    curve: tuple[BoxSet, ...] = ()
    timer: NetworkTimer | None = None
    remarks: tuple[str, ...] = ()

    @property
    def chosen(self) -> MeasuredBoxes:
        """The boxes to use."""
        return self.given if self.best is None else self.best

    @property
    def compared(self) -> list[MeasuredBoxes]:
        """The present boxes, and the better ones if there are any."""
        return [self.given] if self.best is None else [self.given, self.best]

    @property
    def milliseconds(self) -> dict[ModelSpec, float]:
        """Times of the networks that were measured."""
        return {} if self.timer is None else self.timer.milliseconds

    def lines(self) -> list[str]:
        """For people: recall of each class with the chosen boxes, and how they were chosen."""
        return [*self.chosen.recall.lines(), *self.remarks]

    def to_json(self) -> dict[str, Any]:
        """Plain values; `designed` are the better boxes, `worth` is the name of `score` before."""
        box_sets = {
            name: {**boxes.to_json(), "latency_ms": self._latency(boxes.spec)}
            for name, boxes in zip(("given", "designed"), self.compared, strict=False)
        }
        curve = [
            {
                "boxes": box_set.num_boxes,
                **_named(box_set.score, "score", "worth"),
                **_named(box_set.recalls.mean(), "recall", "covered"),
                "latency_ms": self._latency(box_set.spec),
            }
            for box_set in self.curve
        ]
        return {
            **box_sets,
            "curve": curve,
            "latency_by": self.timer.conditions if self.timer and self.milliseconds else None,
        }

    def _latency(self, spec: ModelSpec) -> float | None:
        return round(self.milliseconds[spec], 3) if spec in self.milliseconds else None


def measure_boxes(spec: ModelSpec, annotations: Annotations, map_sizes_hw: MapSizes) -> MeasuredBoxes:
    """How well a detector's default boxes fit a set."""
    sizes_hw = tuple(map_sizes_hw(spec))
    default_boxes = caffe_default_boxes(spec.boxes, sizes_hw, spec.input_size_hw)
    return MeasuredBoxes(spec, sizes_hw, measure_recall(annotations, default_boxes))


def find_boxes(
    spec: ModelSpec,
    annotations: Annotations,
    goal: Goal,
    *,
    map_sizes_hw: MapSizes,
    timer: NetworkTimer | None = None,
) -> BoxStudy:
    """Measure the default boxes of a detector, and search better ones.

    Args:
        spec: the detector, with the data's classes.
        annotations: the training set and nothing else: boxes chosen on test data would leak.
        goal: what is asked of the boxes.
        map_sizes_hw: gives the height and width of each source map of a spec.
        timer: needed for a limit of time.

    Raises:
        RequestError: no boxes are within the goal's limits; names the least possible.
    """
    annotations, sampled = sample_of(annotations)
    given = measure_boxes(spec, annotations, map_sizes_hw)
    reason = _reason_to_keep(given.recall, goal)
    if reason:
        return BoxStudy(given, remarks=(reason + sampled,))
    search = BoxSearch(spec, given.recall.ground_truth, given.recall.deciding, map_sizes_hw)
    best, curve = _within_limits(search, goal, timer)
    chosen = None if best is search.given else measure_boxes(best.spec, annotations, map_sizes_hw)
    if chosen is None:
        remarks = [f"default boxes kept: no others within the budget fit better{sampled}"]
    elif not goal.limited and chosen.recall.mean_of_all < given.recall.mean_of_all:
        remarks = [_few_objects(given.recall, chosen.recall) + sampled]
        best, chosen = search.given, None
    else:
        what, *remarks = _changes(search.given, best, given, chosen)
        remarks = [f"default boxes fitted to the data{sampled}: {what}", *remarks, *_fuller(goal, search, best)]
    if timer is not None and goal.max_milliseconds is not None:
        remarks.append(
            f"network: {timer.of(search.given):.3g} ms with the present boxes, {timer.of(best):.3g} ms with the chosen "
            f"ones, of {goal.max_milliseconds:g} allowed ({timer.conditions})"
        )
    return BoxStudy(given, chosen, tuple(curve), timer, tuple(remarks))


def _reason_to_keep(recall: DefaultBoxRecall, goal: Goal) -> str:
    """Why no search is needed, or none is possible; empty if one is."""
    if not len(recall.best_ious):
        return "default boxes kept: no ground-truth boxes to fit them to"
    if goal.kept_from is not None and recall.lowest >= goal.kept_from:
        closer = "" if recall.lowest >= GOOD_RECALL else " (--boxes adapt searches closer ones)"
        return f"default boxes kept: each class has a recall of {goal.kept_from:.0%} or more{closer}"
    return ""


def _few_objects(present: DefaultBoxRecall, better: DefaultBoxRecall) -> str:
    """Why boxes that fit the deciding classes better are not taken: the other classes would lose more."""
    names = ", ".join(present.class_names[label] for label in present.deciding[:CLASSES_NAMED])
    return (
        f"default boxes kept: others fit {names} better, but the mean recall of all classes would fall from "
        f"{whole_percent(present.mean_of_all)} to {whole_percent(better.mean_of_all)} (the others have fewer than "
        f"{LEAST_OBJECTS} objects)"
    )


def _within_limits(search: BoxSearch, goal: Goal, timer: NetworkTimer | None) -> tuple[BoxSet, list[BoxSet]]:
    """The best set within the goal's limits, which is the given one unless another is clearly better; and the curve."""
    given, best, tried = search.given, _within_number(search, goal), []
    allowed = goal.max_boxes is None or given.num_boxes <= goal.max_boxes
    if timer is not None and goal.max_milliseconds is not None:
        allowed = timer.of(given) <= goal.max_milliseconds and allowed
        *tried, best = _fast_enough(search, best, goal.max_milliseconds, timer)
    curve = pareto([*search.curve, *tried, best])
    return given if allowed and best.score < given.score + LEAST_GAIN else best, curve


def _within_number(search: BoxSearch, goal: Goal) -> BoxSet:
    """The best set of at most as many boxes as now; if that leaves a class too low, the fewest boxes that do not."""
    if goal.max_boxes is not None:
        return search.within(goal.max_boxes)
    best = search.within(search.given.num_boxes)
    larger = [box_set for box_set in _allowed(search) if box_set.num_boxes > best.num_boxes]
    enough = (box_set for box_set in (best, *larger) if box_set.recalls.min() >= goal.least_recall)
    return next(enough, larger[-1] if larger else best)


def _allowed(search: BoxSearch) -> list[BoxSet]:
    """The sets of the curve that may be taken without a limit."""
    return [box_set for box_set in search.curve if box_set.num_boxes <= MOST_TIMES * search.given.num_boxes]


def _fast_enough(search: BoxSearch, wanted: BoxSet, limit: float, timer: NetworkTimer) -> list[BoxSet]:
    """Sets that were tried; the last is the wanted one, or the best whose network takes at most so many milliseconds.

    Time is nearly linear in boxes: a line between a set too slow and one fast enough gives the next number to try.

    Raises:
        RequestError: not even the smallest set is fast enough.
    """
    if timer.of(wanted) <= limit:
        return [wanted]
    high, low = wanted, min((search.curve[0], wanted), key=lambda box_set: box_set.num_boxes)
    if timer.of(low) > limit:
        boxes = "box" if low.num_boxes == 1 else "boxes"
        raise RequestError(
            f"--latency {limit:g}: the least is {timer.of(low):.3g} ms, with {low.num_boxes:,} default {boxes} "
            f"({timer.conditions})"
        )
    tried = [high, low]
    for _ in range(LATENCY_TRIES):
        share = (limit - timer.of(low)) / (timer.of(high) - timer.of(low))
        between = search.within(low.num_boxes + int(share * (high.num_boxes - low.num_boxes)))
        if between.score <= low.score:
            break
        tried.append(between)
        low, high = (between, high) if timer.of(between) <= limit else (low, between)
    return [*tried, low]


def _changes(present: BoxSet, best: BoxSet, before: MeasuredBoxes, after: MeasuredBoxes) -> list[str]:
    """Lines on the number of boxes, the score, recall (of the class that had least, and of all), maps and sizes."""
    old, new = before.recall, after.recall
    weakest = old.deciding[old.per_class[old.deciding].argmin()]
    rises = [
        f"{name} {whole_percent(low)} -> {whole_percent(high)}"
        for name, low, high in (
            (old.class_names[weakest], old.per_class[weakest], new.per_class[weakest]),
            ("all", old.total, new.total),
        )
    ]
    small = np.setdiff1d(np.flatnonzero(old.counts), old.deciding)
    passed_over = [
        f"{old.class_names[label]} {whole_percent(old.per_class[label])} -> {whole_percent(new.per_class[label])}"
        for label in small[np.argsort(new.per_class[small], kind="stable")[:CLASSES_NAMED]]
    ]
    added = [name for name in after.spec.sources if name not in before.spec.sources]
    dropped = [name for name in before.spec.sources if name not in after.spec.sources]
    sizes = ", ".join("+".join(f"{size:g}" for size in boxes.sizes) for boxes in after.spec.boxes.maps)
    return [
        f"{best.num_boxes:,} instead of {present.num_boxes:,}, score {present.score:.2f} -> {best.score:.2f} "
        "(mean recall + mean best IoU of the classes)",
        f"recall: {', '.join(rises)}",
        *(
            [f"not fitted to classes of fewer than {LEAST_OBJECTS} objects; their recall: {', '.join(passed_over)}"]
            if passed_over
            else []
        ),
        *([f"source maps added: {', '.join(added)}"] if added else []),
        *([f"source maps left out: {', '.join(dropped)}"] if dropped else []),
        f"sizes of the default boxes, from map to map: {sizes} pixels",
    ]


def _fuller(goal: Goal, search: BoxSearch, best: BoxSet) -> list[str]:
    """How many boxes would reach full recall, if no limit was given."""
    full = [box_set.num_boxes for box_set in _allowed(search) if box_set.recalls.min() >= FULL_RECALL]
    if not goal.limited and full and full[0] > best.num_boxes:
        return [f"{full[0]:,} boxes would reach {FULL_RECALL:.0%} of each class (--most {full[0]})"]
    return []


def _named(value: float, *names: str) -> dict[str, float | None]:
    """The number, null if it is none, under each of these keys."""
    return dict.fromkeys(names, round(float(value), 6) if np.isfinite(value) else None)


def _bins_json(bins: Sequence[RecallBin]) -> list[dict[str, Any]]:
    return [
        {
            "from": entry.low,
            "to": entry.high if np.isfinite(entry.high) else None,
            "objects": entry.objects,
            **_named(entry.recall, "recall", "covered"),
        }
        for entry in bins
        if entry.objects
    ]
