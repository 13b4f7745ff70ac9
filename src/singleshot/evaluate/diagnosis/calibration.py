"""Whether a score says how probable it is that the detection is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.diagnosis.judged_set import JudgedSet
from singleshot.evaluate.voc import HIT, IGNORED
from singleshot.shapes import Float, Int64

BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Detections by their score.

    Attributes:
        counts: detections in each tenth of the scores.
        scores: their mean score; NaN where there are none.
        right: share of them that found an object; NaN where there are none.
        error: mean distance of score and share, weighted by the counts (expected calibration error).
    """

    counts: Int64[np.ndarray, " 10"]
    scores: Float[np.ndarray, " 10"]
    right: Float[np.ndarray, " 10"]
    error: float


def calibration(judged: JudgedSet) -> Calibration:
    """How far scores are from the ground-truth box. What hits an object that does not count is left out."""
    counted = judged.verdicts != IGNORED
    scores, hits = judged.scores[counted].astype(np.float64), judged.verdicts[counted] == HIT
    bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(bins, scores, minlength=BINS) / counts
        right = np.bincount(bins, hits, minlength=BINS) / counts
    filled = counts > 0
    error = float(np.abs(mean - right)[filled] @ counts[filled] / max(1, counts.sum()))
    return Calibration(counts, mean, right, error)
