"""Which class is taken for which, at one score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.diagnosis.judged_set import JudgedSet
from singleshot.evaluate.voc import ranked
from singleshot.shapes import Int64


@dataclass(frozen=True, eq=False)
class Confusion:
    """Objects against detections, whatever their classes.

    Attributes:
        class_names: L names.
        score: detections from this score on.
        counts: (L + 1, L + 1): row the object's class, or nothing; column the detection's class, or missed.
    """

    class_names: tuple[str, ...]
    score: float
    counts: Int64[np.ndarray, "L1 L1"]

    def most(self, count: int) -> list[tuple[str, str, int]]:
        """The most frequent confusions of two classes: object, detection, how often."""
        between = self.counts[:-1, :-1].copy()
        np.fill_diagonal(between, 0)
        order = np.argsort(-between, axis=None, kind="stable")[:count]
        places = [np.unravel_index(place, between.shape) for place in order]
        return [
            (self.class_names[row], self.class_names[column], int(between[row, column]))
            for row, column in places
            if between[row, column]
        ]


def confusion(judged: JudgedSet, *, score: float) -> Confusion:
    """Pair detections and objects of an image, best score first, each with the free object it overlaps most (>= 0.5).

    An object of the detection's own class is taken before one of another. What hits an object that does not count is
    left out.

    Args:
        judged: the set.
        score: detections from this score on.
    """
    nothing = len(judged.class_names)
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    for of_found, of_ground_truth, overlaps in judged.overlaps():
        labels, ground_truth = judged.found.labels[of_found], judged.ground_truth.labels[of_ground_truth]
        ignored, free = judged.ignored[of_ground_truth], np.ones(len(ground_truth), bool)
        for row in ranked(np.flatnonzero(judged.scores[of_found] >= score), judged.scores[of_found]):
            reach = (overlaps[row] >= 0.5) & free
            own = reach & (ground_truth == labels[row])
            choice = own if own.any() else reach
            if not choice.any():
                counts[nothing, labels[row]] += 1
                continue
            best = int(np.argmax(np.where(choice, overlaps[row], -1)))
            if not ignored[best]:
                free[best] = False
                counts[ground_truth[best], labels[row]] += 1
        counts[:-1, nothing] += np.bincount(ground_truth[free & ~ignored], minlength=nothing)
    return Confusion(judged.class_names, score, counts)
