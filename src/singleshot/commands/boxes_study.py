"""A detector's default boxes on a data set, and the best ones within a budget of boxes and of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from singleshot.box_search.adapt import NEGLECTED, deciding_classes, least_covered, sample_of
from singleshot.box_search.measure import measurable, percent
from singleshot.box_search.optimise import Design, Designer, rising
from singleshot.commands.boxes_latency import conditions, network_milliseconds
from singleshot.commands.boxes_tiling import Tiling, measured
from singleshot.errors import RequestError
from singleshot.models.ssd import grid_sizes
from singleshot.spec import ModelSpec
from singleshot.types import Annotations

Stopwatch = Callable[[ModelSpec], float]


MOST_TIMES = 5
"""Where as many boxes as there are leave a class neglected, there may be so many times as many."""
TRIES = 6
"""Networks that are measured at most between too slow and fast enough."""
LEAST_GAIN = 0.02
"""What a design must be worth more than boxes that are within the budget."""


@dataclass(frozen=True, eq=False)
class Study:
    """What was found.

    Attributes:
        given: the boxes as they are.
        designed: better ones; None where there are none, or no ground-truth boxes to fit them to.
        curve: designs from few boxes to many, the chosen one among them.
        latencies: milliseconds of those networks that were measured.
        remarks: lines for people: what was designed and why.
    """

    given: Tiling
    designed: Tiling | None
    curve: tuple[Design, ...] = ()
    latencies: dict[ModelSpec, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def tilings(self) -> list[Tiling]:
        """The given boxes, and the designed ones where there are any."""
        return [self.given] + ([] if self.designed is None else [self.designed])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        tilings = {
            name: {**one.to_json(), "latency_ms": _rounded(self.latencies.get(one.spec))}
            for name, one in zip(("given", "designed"), self.tilings, strict=False)
        }
        curve = [
            {
                "boxes": one.boxes,
                "worth": round(one.worth, 6),
                "covered": round(one.covered, 6),
                "latency_ms": _rounded(self.latencies.get(one.spec)),
            }
            for one in self.curve
        ]
        return {**tilings, "curve": curve, "latency_by": conditions() if self.latencies else None}


def study(
    spec: ModelSpec,
    annotations: Annotations,
    *,
    most: int | None = None,
    latency: float | None = None,
    stopwatch: Stopwatch = network_milliseconds,
) -> Study:
    """Measure the boxes of a detector and design better ones.

    Args:
        spec: the detector.
        annotations: what to cover.
        most: default boxes there may be; None for as many as there are, and more where that leaves a class neglected.
        latency: milliseconds that the network may take on this machine; None for any.
        stopwatch: measures them.

    Raises:
        RequestError: nothing can be within the budget; names the least that can be.
    """
    if most is not None and most < 1:
        raise RequestError(f"--most is a number of boxes, 1 or more, got {most}")
    if latency is not None and not latency > 0:
        raise RequestError(f"--latency is a time in milliseconds above 0, got {latency:g}")
    annotations, sampled = sample_of(annotations)
    given = measured(spec, annotations)
    ground_truth = measurable(annotations)
    if not len(ground_truth.labels):
        return Study(given, None, remarks=("default boxes kept: no ground-truth boxes to fit them to",))
    designer = Designer(spec, ground_truth, deciding_classes(given.coverage), map_sizes_hw=grid_sizes)
    now, curve = designer.given(), designer.curve()
    chosen = _of_default_size(designer, now, curve) if most is None else designer.within(most, curve)
    latencies: dict[ModelSpec, float] = {}
    remarks = []

    def watched(one: Design) -> float:
        if one.spec not in latencies:
            latencies[one.spec] = stopwatch(one.spec)
            curve.append(one)
        return latencies[one.spec]

    if latency is not None:
        before = watched(now)
        chosen = _fast_enough(designer, chosen, tuple(curve), latency, watched)
        remarks.append(
            f"network: {before:.3g} ms with the boxes as they are, {watched(chosen):.3g} ms with the designed ones, of "
            f"{latency:g} allowed ({conditions()})"
        )
    allowed = (most is None or now.boxes <= most) and (latency is None or watched(now) <= latency)
    curve = rising([*curve, chosen])
    if allowed and chosen.worth < now.worth + LEAST_GAIN:
        reason = f"default boxes kept: no others within the budget are worth more{sampled}"
        return Study(given, None, tuple(curve), latencies, (reason, *remarks))
    tiling = measured(chosen.spec, annotations)
    reason = _reason(now, chosen, given, tiling) + sampled
    return Study(given, tiling, tuple(curve), latencies, (reason, *_maps_changed(now, chosen), *remarks))


def _of_default_size(designer: Designer, now: Design, curve: Sequence[Design]) -> Design:
    """As many boxes as there are; where a class stays neglected, the fewest with which none does."""
    found = designer.within(now.boxes, curve)
    if found.shares.min() >= NEGLECTED:
        return found
    larger = [one for one in curve if found.boxes < one.boxes <= MOST_TIMES * now.boxes]
    return next((one for one in larger if one.shares.min() >= NEGLECTED), larger[-1] if larger else found)


def _fast_enough(
    designer: Designer, wanted: Design, curve: Sequence[Design], latency: float, watched: Callable[[Design], float]
) -> Design:
    """The design that is wanted, or the one that is worth most of those tried that keep to the time.

    Time is nearly linear in boxes: the limit of boxes goes where a line between too many and few enough meets the time.

    Raises:
        RequestError: not even the smallest design is fast enough.
    """
    if watched(wanted) <= latency:
        return wanted
    high, low = wanted, min((curve[0], wanted), key=lambda one: one.boxes)
    if watched(low) > latency:
        boxes = "box" if low.boxes == 1 else "boxes"
        raise RequestError(
            f"--latency {latency:g}: the least is {watched(low):.3g} ms, with {low.boxes:,} default {boxes} "
            f"({conditions()})"
        )
    for _ in range(TRIES):
        share = (latency - watched(low)) / (watched(high) - watched(low))
        limit = low.boxes + int(share * (high.boxes - low.boxes))
        found = designer.within(limit, curve)
        if found.worth <= low.worth:
            break
        low, high = (found, high) if watched(found) <= latency else (low, found)
    return low


def _reason(now: Design, chosen: Design, given: Tiling, designed: Tiling) -> str:
    before, after = given.coverage, designed.coverage
    return (
        f"default boxes designed: {chosen.boxes:,} instead of {now.boxes:,}, worth {chosen.worth:.2f} instead of "
        f"{now.worth:.2f} (mean share covered + mean best IoU of the classes); covered: all {percent(before.share)} -> "
        f"{percent(after.share)}, the least covered class {percent(least_covered(before))} -> "
        f"{percent(least_covered(after))}"
    )


def _maps_changed(now: Design, chosen: Design) -> list[str]:
    added = [name for name in chosen.spec.sources if name not in now.spec.sources]
    dropped = [name for name in now.spec.sources if name not in chosen.spec.sources]
    return ([f"source maps added: {', '.join(added)}"] if added else []) + (
        [f"source maps left out: {', '.join(dropped)}"] if dropped else []
    )


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)
