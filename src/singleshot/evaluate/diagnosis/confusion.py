"""What detections are worth at a score: which class is confused with which, and how reliable the scores are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from singleshot.evaluate.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, VOC, MatchedDetections, match
from singleshot.shapes import Float, Int64

CONFUSION = replace(VOC, any_class=True, second_best=True)
"""Rules: a detection takes the free object of largest IoU, one of its own class before one of another."""
BINS = 10


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


def confusion(matched: MatchedDetections, *, score: float) -> Confusion:
    """The confusion matrix of the detections from this score on, by `CONFUSION`; those of ignored objects left out."""
    nothing = len(matched.class_names)
    shown, objects = matched.detections.select(matched.detections.scores >= score), matched.ground_truth
    outcomes, chosen = (lane[0] for lane in match(shown, objects, matched.ignored, CONFUSION))
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    correct = outcomes == TRUE_POSITIVE
    np.add.at(counts, (objects.labels[chosen[correct]], shown.labels[correct]), 1)
    counts[nothing, :nothing] = np.bincount(shown.labels[outcomes == FALSE_POSITIVE], minlength=nothing)
    missed = ~matched.ignored
    missed[chosen[correct]] = False
    counts[:nothing, nothing] = np.bincount(objects.labels[missed], minlength=nothing)
    return Confusion(matched.class_names, score, counts)


@dataclass(frozen=True, eq=False)
class ScoreCalibration:
    """Detections by their score, in ten bins.

    Attributes:
        counts: detections in each bin.
        scores: their mean score; NaN where there are none.
        precision: share of them that are true positives; NaN where there are none.
        error: mean distance of score and precision, weighted by the counts (expected calibration error).
    """

    counts: Int64[np.ndarray, " 10"]
    scores: Float[np.ndarray, " 10"]
    precision: Float[np.ndarray, " 10"]
    error: float


def score_calibration(matched: MatchedDetections) -> ScoreCalibration:
    """How far scores are from the share of true positives. Detections of ignored objects are left out."""
    counted = matched.outcomes != IGNORED
    scores, correct = matched.detections.scores[counted].astype(np.float64), matched.outcomes[counted] == TRUE_POSITIVE
    bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(bins, scores, minlength=BINS) / counts
        precision = np.bincount(bins, correct, minlength=BINS) / counts
    filled = counts > 0
    error = float(np.abs(mean - precision)[filled] @ counts[filled] / max(1, counts.sum()))
    return ScoreCalibration(counts, mean, precision, error)
