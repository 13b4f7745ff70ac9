"""How the kinds of detections change with how many are taken (the upper and the lower half of the paper's figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.diagnosis.judged_set import JudgedSet
from singleshot.evaluate.diagnosis.mistakes import CORRECT, KINDS, UNCOUNTED, Mistakes
from singleshot.evaluate.voc import ranked
from singleshot.shapes import Float, Int64

MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
NUMBERS = (25, 50, 100, 200, 400, 800, 1600, 3200)
CLASSES_SHOWN = 5
"""Where no groups are known."""


@dataclass(frozen=True, eq=False)
class Depth:
    """Some classes added up.

    Attributes:
        name: for people.
        multiples: how many detections of a class are taken, as multiples of its objects.
        counts: detections of each of `KINDS` among these, (D, 5).
        found: share of the objects found by these, at an overlap of 0.5.
        touched: likewise at 0.1.
        numbers: of the surest mistakes.
        mistakes: of each kind but the first among them, (N, 4).
    """

    name: str
    multiples: tuple[float, ...]
    counts: Int64[np.ndarray, "D 5"]
    found: Float[np.ndarray, " D"]
    touched: Float[np.ndarray, " D"]
    numbers: tuple[int, ...]
    mistakes: Int64[np.ndarray, "N 4"]


def depths_of(judged: JudgedSet, mistakes: Mistakes, groups: Sequence[Sequence[str]]) -> tuple[Depth, ...]:
    """All classes together, then each group, or the classes with most objects where no groups are known.

    Classes stand in the set's order, as everywhere in a diagnosis.
    """
    names = judged.class_names
    present = np.flatnonzero(mistakes.ground_truth)
    rows: list[tuple[str, list[int]]] = [(f"{len(present)} classes" if len(present) > 1 else "", present.tolist())]
    for group in groups:
        labels = [label for label in map(names.index, group) if mistakes.ground_truth[label]]
        if len(labels) > 1:
            rows.append((", ".join(names[label] for label in labels), labels))
    if len(rows) == 1:
        most = np.sort(present[np.argsort(-mistakes.ground_truth[present], kind="stable")][:CLASSES_SHOWN])
        rows = [*(rows if len(present) > 1 else []), *((names[label], [int(label)]) for label in most)]
    return tuple(_depth(judged, mistakes, name, labels) for name, labels in rows)


def _depth(judged: JudgedSet, mistakes: Mistakes, name: str, labels: list[int]) -> Depth:
    counts = np.zeros((len(MULTIPLES), len(KINDS)), np.int64)
    found, touched = np.zeros(len(MULTIPLES)), np.zeros(len(MULTIPLES))
    counted = mistakes.kinds != UNCOUNTED
    for label in labels:
        mine = ranked(np.flatnonzero((judged.found.labels == label) & counted), judged.scores)
        for row, multiple in enumerate(MULTIPLES):
            best = mine[: max(1, round(multiple * int(mistakes.ground_truth[label])))]
            counts[row] += np.bincount(mistakes.kinds[best], minlength=len(KINDS))
            found[row] += np.count_nonzero(mistakes.kinds[best] == CORRECT)
            touched[row] += np.count_nonzero(mistakes.touches[best])
    total = max(1, int(mistakes.ground_truth[labels].sum()))
    wrong = np.flatnonzero(np.isin(judged.found.labels, labels) & (mistakes.kinds > CORRECT))
    surest = mistakes.kinds[ranked(wrong, judged.scores)]
    numbers = tuple(number for number in NUMBERS if number <= len(surest))
    of_number = [np.bincount(surest[:number], minlength=len(KINDS))[1:] for number in numbers]
    return Depth(name, MULTIPLES, counts, found / total, touched / total, numbers, np.array(of_number).reshape(-1, 4))
