"""How each single image went: for the report's best and worst images, and for finding what to label next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.box_table import BoxTable
from singleshot.evaluate.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, MatchedDetections
from singleshot.shapes import Bool, Int8, Int64
from singleshot.types import Detections


@dataclass(frozen=True, eq=False)
class ImageResult:
    """One image at the score from which detections count (`PerImageResults.score_threshold`).

    Attributes:
        f1: 2 true positives / (ground-truth boxes + detections that count), in [0, 1]; NaN where there is neither.
        outcomes: (n,) of each detection in its own order: `TRUE_POSITIVE`, `FALSE_POSITIVE` or `IGNORED` (below the
            score, of a class that the set does not have, or on an ignored ground-truth box).
        matched: (R,) whether each ground-truth box was found.
        ignored: (R,) ground-truth boxes that do not count.
    """

    f1: float
    outcomes: Int8[np.ndarray, " n"]
    matched: Bool[np.ndarray, " R"]
    ignored: Bool[np.ndarray, " R"]

    @property
    def true_positives(self) -> Int64[np.ndarray, " tp"]:
        """Their positions among the detections."""
        return np.flatnonzero(self.outcomes == TRUE_POSITIVE)

    @property
    def false_positives(self) -> Int64[np.ndarray, " fp"]:
        """Their positions among the detections."""
        return np.flatnonzero(self.outcomes == FALSE_POSITIVE)

    @property
    def missed(self) -> int:
        """Ground-truth boxes that count and were not found."""
        return int((~self.matched & ~self.ignored).sum())

    @property
    def errors(self) -> int:
        """False positives and missed ground-truth boxes."""
        return len(self.false_positives) + self.missed


@dataclass(frozen=True, eq=False)
class PerImageResults:
    """All images of a set, at the score where F1 of the whole set is highest.

    Attributes:
        score_threshold: detections from this score on count.
        f1: of the whole set there; NaN where it has neither ground-truth boxes nor detections.
        results: one an image, in the set's order.
    """

    score_threshold: float
    f1: float
    results: tuple[ImageResult, ...]

    def ordered(self) -> list[int]:
        """Images that have objects or detections, best first: by F1, then fewer errors, then more objects found."""

        def rank(i: int) -> tuple[float, int, int, int]:
            result = self.results[i]
            return -result.f1, result.errors, -int(result.matched.sum()), i

        return sorted((i for i, result in enumerate(self.results) if not np.isnan(result.f1)), key=rank)


def per_image_results(matched: MatchedDetections, detections: Sequence[Detections]) -> PerImageResults:
    """How each image went, at the score that is best for the set.

    Args:
        matched: the set and its detections, by VOC's rules.
        detections: the same of each image, with the classes that the set does not have.
    """
    annotations, ignored = matched.annotations, matched.ignored
    table, (outcomes, chosen) = matched.detections, (lane[0].copy() for lane in matched.matches)
    threshold, best_f1 = best_score(table, outcomes, positives=int((~ignored).sum()))
    outcomes[table.scores < threshold] = IGNORED
    is_matched = np.zeros(len(ignored), bool)
    is_matched[chosen[outcomes == TRUE_POSITIVE]] = True
    starts = np.searchsorted(table.images, np.arange(len(annotations) + 1))
    results = []
    for i, of_image in enumerate(detections):
        known = np.isin([*of_image.class_names], annotations.class_names)[of_image.labels]
        of_all = np.full(len(of_image), IGNORED, np.int8)
        of_all[known] = outcomes[starts[i] : starts[i + 1]]
        rows = slice(annotations.starts[i], annotations.starts[i + 1])
        results.append(ImageResult(_f1(of_all, ~ignored[rows]), of_all, is_matched[rows], ignored[rows]))
    return PerImageResults(threshold, best_f1, tuple(results))


def best_score(table: BoxTable, outcomes: Int8[np.ndarray, " n"], *, positives: int) -> tuple[float, float]:
    """The score from which on detections give the highest F1 = 2 TP / (ground-truth boxes + detections), and that F1.

    Without a true positive, the highest score and 0.
    """
    counted = table.ranked(np.flatnonzero(outcomes != IGNORED))
    if len(counted) == 0:
        return 0.0, 0.0 if positives else float("nan")
    f1 = 2 * np.cumsum(outcomes[counted] == TRUE_POSITIVE) / (positives + np.arange(1, len(counted) + 1))
    # A threshold cuts only where the next score is lower.
    cuts = np.append(np.diff(table.scores[counted]) < 0, True)
    best = int(np.argmax(np.where(cuts, f1, -1)))
    return float(table.scores[counted[best]]), float(f1[best])


def _f1(outcomes: Int8[np.ndarray, " n"], objects: Bool[np.ndarray, " R"]) -> float:
    """F1 of one image; NaN where it has no objects and no detections."""
    counted = int((outcomes != IGNORED).sum() + objects.sum())
    return 2 * int((outcomes == TRUE_POSITIVE).sum()) / counted if counted else float("nan")


def most_different(first: PerImageResults, second: PerImageResults, count: int) -> list[int]:
    """The images of a set on which two sets of detections differ most, each at the score that is best for it.

    They differ by their numbers of errors, and where these are equally far apart by F1. Images with the same result,
    and those without objects and detections, are left out.

    Args:
        first: of one set of detections.
        second: of the other.
        count: at most so many on which the first is better, and as many on which the second is; those of the first
            come first.
    """
    pairs = list(zip(first.results, second.results, strict=True))

    def gain(index: int) -> tuple[int, float]:
        ours, theirs = pairs[index]
        return theirs.errors - ours.errors, float(np.nan_to_num(ours.f1) - np.nan_to_num(theirs.f1))

    order = sorted(range(len(pairs)), key=lambda index: (*(-part for part in gain(index)), index))
    better = [index for index in order if gain(index) > (0, 0.0)][:count]
    worse = [index for index in order[::-1] if gain(index) < (0, 0.0)][:count]
    return [*better, *worse]
