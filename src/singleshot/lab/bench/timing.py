"""Cases that do the same work, and the one way they are timed: in turns, each warmed before each measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from singleshot.evaluate.learnt_images import LearntOverlap

Work = Callable[[], object]


PARTS = ("whole", "network", "post", "post_worst", "batch8")
SLOW = 0.6
"""Seconds; what takes longer is measured a third as often."""

WARM_UP = 0.03  # seconds


@dataclass(frozen=True)
class Case:
    """One way to detect.

    Attributes:
        name: for people.
        family: cases of one family are compared with its reference.
        works: by part: `whole`: a decoded 8-bit image -> final boxes; `network`: without what is before and behind;
            `post`: softmax or decoding to final boxes, about 300 scores above
            the threshold; `post_worst`: nearly all above it; `batch8`: `whole` for eight images. Any may be missing.
        boxes: default boxes or proposals, for the paper's table 7; None where that is no fixed number.
        input_size: as people write it.
        reference: whether its family is compared with it.
    """

    name: str
    family: str
    works: dict[str, Work]
    boxes: int | None = None
    input_size: str = ""
    reference: bool = False


@dataclass
class CaseTimes:
    """Times of one case, seconds, by part, in the order they were taken."""

    case: Case
    times: dict[str, list[float]] = field(default_factory=dict)

    def median(self, part: str) -> float | None:
        """Milliseconds."""
        return 1e3 * float(np.median(self.times[part])) if self.times.get(part) else None

    def p95(self, part: str) -> float | None:
        """Milliseconds that 95 of 100 runs stay below."""
        return 1e3 * float(np.quantile(self.times[part], 0.95)) if self.times.get(part) else None


def run_benchmark(
    cases: Sequence[Case], rounds: int, on_round: Callable[[int], None] = lambda _done: None
) -> list[CaseTimes]:
    """Time every part of every case once a round, in an order that turns.

    Each is called for some time before its measurement, so that none pays for the caches that its predecessor filled or
    for threads of its that still spin.
    """
    rows = [CaseTimes(case, {part: [] for part in case.works}) for case in cases]
    turns = [(row, part, work) for row in rows for part, work in row.case.works.items()]
    every = {id(work): 3 if _seconds(work) > SLOW else 1 for _, _, work in turns}
    for number in range(rounds):
        shift = number * 7 % len(turns)
        for row, part, work in turns[shift:] + turns[:shift]:
            if number % every[id(work)] == 0:
                _warm_up(work)
                row.times[part].append(_seconds(work))
        on_round(number + 1)
    return rows


def _warm_up(work: Work) -> None:
    started = time.perf_counter()
    while True:
        work()
        if time.perf_counter() - started > WARM_UP:
            return


def _seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(row: CaseTimes, to: CaseTimes, part: str) -> float | None:
    """How many times as fast as the other in this part: the ratio of the medians."""
    own, other = row.median(part), to.median(part)
    return other / own if own and other else None


@dataclass
class Measured:
    """What was measured, as plain values: see `report` for the rows."""

    machine: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    accuracy: dict[str, float] = field(default_factory=dict)
    folders: dict[str, float] = field(default_factory=dict)
    cold: dict[str, tuple[float, float]] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    learnt_images: dict[str, LearntOverlap] = field(default_factory=dict)
