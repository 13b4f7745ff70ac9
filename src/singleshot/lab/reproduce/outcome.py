"""What came out of a table: figures over seeds, and which orderings they bear out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from singleshot.evaluate.compare import ResampledEvaluation
from singleshot.lab.reproduce.datasets import DataSplit
from singleshot.lab.reproduce.paper import TableRow, with_old_keys

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Quantiles of Student's t for 1, 2, ... degrees of freedom; 1.96 beyond."""


def t_quantile(freedom: int) -> float:
    """The 97.5% quantile of Student's t."""
    return T_975[freedom - 1] if freedom <= len(T_975) else 1.96


@dataclass(frozen=True)
class Result:
    """One model of a row, evaluated. Fractions are 0..1.

    Attributes:
        seed: of its training; None for a model that the user gave.
        figures: see `Evaluation.to_json`.
        model: its folder.
        matches: from which the mAP of any resampling of the images is computed.
    """

    seed: int | None
    figures: Mapping[str, Any]
    model: str
    matches: ResampledEvaluation

    def figure(self, name: str) -> float | None:
        """mAP, AP50 and so on; COCO's AP is its mAP."""
        value = self.figures.get("mAP" if name == "AP" else name)
        return None if value is None else float(value)


@dataclass(frozen=True)
class Outcome:
    """A row of ours.

    Attributes:
        row: of the table.
        learnt: the splits it learnt, before them COCO's where it learnt that first.
        evaluated: the split it was evaluated on.
        boxes: default boxes.
        parameters: of the network.
        results: of each seed.
        milliseconds: of the network of the paper's width, and of the whole detection, batch 1; empty where not timed.
        given: whether the user gave the models.
        trained: network, recipe and length under the budget; empty where the models were given.
    """

    row: TableRow
    learnt: tuple[DataSplit, ...]
    evaluated_on: DataSplit
    boxes: int
    parameters: int
    results: tuple[Result, ...]
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    given: bool = False
    trained: Mapping[str, Any] = field(default_factory=dict)

    def values(self, name: str = "mAP") -> list[float]:
        """A figure of each seed."""
        return [value for result in self.results if (value := result.figure(name)) is not None]

    def mean(self, name: str = "mAP") -> float | None:
        """The mean over the seeds."""
        return statistics.fmean(values) if (values := self.values(name)) else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where 95% of such means of the mAP lie, 0 to 1, by Student's t over the seeds; None for a single seed.

        It tells of other seeds, not of other images.
        """
        values = self.values()
        count = len(values)
        if count < 2:
            return None
        half = t_quantile(count - 1) * statistics.stdev(values) / math.sqrt(count)
        middle = statistics.fmean(values)
        return max(0.0, middle - half), min(1.0, middle + half)

    def to_json(self) -> dict[str, Any]:
        """Plain values; ours are fractions, the paper's are percent, as printed."""
        return {
            "key": self.row.key,
            "label": self.row.label,
            "paper_percent": dict(self.row.paper),
            "paper_per_class_percent": dict(self.row.per_class),
            "paper_boxes": self.row.boxes,
            "boxes": self.boxes,
            "parameters": self.parameters,
            "learnt": [str(source) for source in self.learnt],
            "judged": str(self.evaluated_on),
            "mAP": self.mean(),
            "interval": self.interval,
            "milliseconds": dict(self.milliseconds),
            "given": self.given,
            "seeds": [{"seed": result.seed, "model": result.model, **result.figures} for result in self.results],
            "trained": with_old_keys(self.trained),
            "paper_configuration": self.row.configuration(),
        }


def orderings(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Pairs of rows, by key, the better first, whose intervals part: no other ordering is claimed.

    Intervals of single rows are compared, each of 95%, with no correction for how many pairs there are.
    """
    return [
        (better.row.key, worse.row.key)
        for better in outcomes
        for worse in outcomes
        if better.interval and worse.interval and better.interval[0] > worse.interval[1]
    ]
