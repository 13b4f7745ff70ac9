"""The differences of a table's rows, each with an interval over images and training seeds, beside the paper's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.evaluate.compare import LEVEL
from singleshot.lab.reproduce.outcome import Outcome, t_quantile
from singleshot.lab.reproduce.paper import Pair
from singleshot.shapes import Float64

RESAMPLES = 500
EVEN = 0.005
"""Rows of the paper within half a point of each other are even: it trained each once."""


@dataclass(frozen=True)
class Difference:
    """First row less second row, in mAP. Fractions are 0..1.

    Attributes:
        pair: the rows, and what the paper says of them.
        paper: the paper's difference; None where it has no figure.
        ours: the difference of the means over the seeds.
        low: lower end of the 95% interval.
        high: its upper end.
        of_images: half the interval that resampling the images alone gives.
        of_seeds: half the interval that the seeds alone give; None where a row has one.
    """

    pair: Pair
    paper: float | None
    ours: float
    low: float
    high: float
    of_images: float
    of_seeds: float | None

    @property
    def verdict(self) -> str:
        """Whether the paper's ordering holds here."""
        sign = int(self.low > 0) - int(self.high < 0)
        if self.paper is None:
            return {1: "better", 0: "not decided", -1: "worse"}[sign]
        if abs(self.paper) <= EVEN:
            return "differs: even in the paper" if sign else "no difference shown, as in the paper"
        if not sign:
            return "not decided"
        return "holds" if sign * self.paper > 0 else "does not hold: the opposite"

    def to_json(self) -> dict[str, Any]:
        """Plain values; the paper's are points, as printed."""
        return {
            "statement": self.pair.statement,
            "first": self.pair.first,
            "second": self.pair.second,
            "paper_points": None if self.paper is None else round(100 * self.paper, 1),
            "difference": self.ours,
            "interval": [self.low, self.high],
            "level": LEVEL,
            "half_of_images": self.of_images,
            "half_of_seeds": self.of_seeds,
            "verdict": self.verdict,
        }


def differences(
    outcomes: Sequence[Outcome],
    pairs: Sequence[Pair],
    *,
    resamples: int = RESAMPLES,
    on_resample: Callable[[int], None] = lambda _done: None,
) -> list[Difference]:
    """The difference of every pair of which both rows are there, judged on the same images by the same protocol.

    Two sources of chance add up as independent ones do, by their squares: other images (a paired bootstrap: both rows
    see the same resampled images) and other seeds (Student's t with the rows' pooled variance, so rows of one seed have
    an interval over images alone).

    Args:
        outcomes: rows.
        pairs: to compare.
        resamples: sets of images drawn.
        on_resample: called with the number of sets done.
    """
    known = {outcome.row.key: outcome for outcome in outcomes}
    chosen = [pair for pair in pairs if _comparable(known, pair)]
    needed = {key: known[key] for pair in chosen for key in (pair.first, pair.second)}
    resampled = _resampled(needed, resamples, on_resample)
    return [_difference(pair, needed[pair.first], needed[pair.second], resampled) for pair in chosen]


def _comparable(known: Mapping[str, Outcome], pair: Pair) -> bool:
    if pair.first not in known or pair.second not in known:
        return False
    first, second = known[pair.first], known[pair.second]
    same = (first.evaluated_on, first.row.protocol) == (second.evaluated_on, second.row.protocol)
    there = all(result.figure("mAP") is not None for outcome in (first, second) for result in outcome.results)
    return same and there


def _resampled(
    needed: Mapping[str, Outcome], resamples: int, on_resample: Callable[[int], None]
) -> dict[str, Float64[np.ndarray, " resamples"]]:
    """The mean mAP over the seeds of every row, on each of the same sets of images."""
    means: dict[str, list[float]] = {key: [] for key in needed}
    generators = {key: np.random.default_rng(0) for key in needed}  # rows of other images draw apart
    for done in range(1, resamples + 1):
        for key, outcome in needed.items():
            count = outcome.results[0].matches.images
            times = np.bincount(generators[key].integers(count, size=count), minlength=count)
            means[key].append(statistics.fmean(result.matches.mean_ap(times) for result in outcome.results))
        on_resample(done)
    return {key: np.array(values) for key, values in means.items()}


def _difference(
    pair: Pair, first: Outcome, second: Outcome, resampled: Mapping[str, Float64[np.ndarray, " resamples"]]
) -> Difference:
    values = (first.values(), second.values())
    ours = statistics.fmean(values[0]) - statistics.fmean(values[1])
    low, high = np.quantile(resampled[pair.first] - resampled[pair.second], [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    of_seeds = half_of_seeds(*values)
    below, above = (math.hypot(max(0.0, arm), of_seeds or 0.0) for arm in (ours - low, high - ours))
    figures = [outcome.row.paper.get("mAP") for outcome in (first, second)]
    paper = None if None in figures else round(float(figures[0]) - float(figures[1]), 6) / 100  # type: ignore[arg-type]
    return Difference(pair, paper, ours, ours - below, ours + above, (high - low) / 2, of_seeds)


def half_of_seeds(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Half the 95% interval of the difference of two means, by Student's t and the pooled variance; None for one seed.

    t(n + m - 2) s sqrt(1/n + 1/m), s^2 = ((n - 1) s1^2 + (m - 1) s2^2) / (n + m - 2).
    """
    if min(len(first), len(second)) < 2:
        return None
    freedom = len(first) + len(second) - 2
    squares = sum((len(values) - 1) * statistics.variance(values) for values in (first, second))
    return t_quantile(freedom) * math.sqrt(squares / freedom * (1 / len(first) + 1 / len(second)))
