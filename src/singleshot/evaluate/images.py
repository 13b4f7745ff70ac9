"""How each single image went: for the report's best and worst images, and for finding what to label next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.flat import flat_detections, flat_ground_truth
from singleshot.evaluate.voc import HIT, IGNORED, MISS, judge, ranked, unusable
from singleshot.shapes import Bool, Float, Int8, Int64
from singleshot.types import Annotations, Detections


@dataclass(frozen=True, eq=False)
class ImageResult:
    """One image at the score from which detections count (`Images.score_threshold`).

    Attributes:
        f1: 2 hits / (ground-truth boxes + detections that count), in [0, 1]; NaN where there is neither.
        verdicts: (n,) of each detection in its own order: `HIT`, `MISS` or `IGNORED` (below the score, of a class that
            the set does not have, or on an ignored ground-truth box).
        found: (R,) whether each ground-truth box was found.
        ignored: (R,) ground-truth boxes that do not count.
    """

    f1: float
    verdicts: Int8[np.ndarray, " n"]
    found: Bool[np.ndarray, " R"]
    ignored: Bool[np.ndarray, " R"]

    @property
    def right(self) -> Int64[np.ndarray, " hits"]:
        """Positions of the detections that found a ground-truth box."""
        return np.flatnonzero(self.verdicts == HIT)

    @property
    def wrong(self) -> Int64[np.ndarray, " misses"]:
        """Positions of the detections that count and found none."""
        return np.flatnonzero(self.verdicts == MISS)

    @property
    def errors(self) -> int:
        """Wrong detections and missed ground-truth boxes."""
        return len(self.wrong) + int((~self.found & ~self.ignored).sum())


@dataclass(frozen=True, eq=False)
class Images:
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
        """Images with something to judge, best first: by F1, then fewer errors, then more objects found."""

        def rank(i: int) -> tuple[float, int, int, int]:
            result = self.results[i]
            return -result.f1, result.errors, -int(result.found.sum()), i

        return sorted((i for i, result in enumerate(self.results) if not np.isnan(result.f1)), key=rank)


def judge_images(annotations: Annotations, detections: Sequence[Detections], *, iou_threshold: float = 0.5) -> Images:
    """Judge every image by VOC's matching, at the score that serves the set best.

    Raises:
        DataError: see `flat_detections`.
    """
    ground_truth = flat_ground_truth(annotations)
    found, scores, _ = flat_detections(annotations, detections)
    ignored = annotations.difficult | annotations.crowd | unusable(ground_truth)
    verdicts, hit_ground_truth = judge(found, scores, ground_truth, ignored, iou_threshold=iou_threshold)
    threshold, best_f1 = best_score(scores, verdicts, positives=int((~ignored).sum()))
    verdicts[scores < threshold] = IGNORED
    was_found = np.zeros(len(ground_truth), bool)
    was_found[hit_ground_truth[verdicts == HIT]] = True
    results = []
    known_rows = np.searchsorted(found.images, np.arange(len(annotations) + 1))
    for i, one in enumerate(detections):
        known = np.isin([*one.class_names], annotations.class_names)[one.labels]
        of_all = np.full(len(one), IGNORED, np.int8)
        of_all[known] = verdicts[known_rows[i] : known_rows[i + 1]]
        rows = slice(annotations.starts[i], annotations.starts[i + 1])
        results.append(ImageResult(_f1(of_all, ~ignored[rows]), of_all, was_found[rows], ignored[rows]))
    return Images(threshold, best_f1, tuple(results))


def best_score(
    scores: Float[np.ndarray, " n"], verdicts: Int8[np.ndarray, " n"], *, positives: int
) -> tuple[float, float]:
    """The score from which on detections give the highest F1 = 2 hits / (ground-truth boxes + detections), and that F1.

    Without a hit nothing is gained by any score: then the highest one, and 0.
    """
    counted = ranked(np.flatnonzero(verdicts != IGNORED), scores)
    if len(counted) == 0:
        return 0.0, 0.0 if positives else float("nan")
    f1 = 2 * np.cumsum(verdicts[counted] == HIT) / (positives + np.arange(1, len(counted) + 1))
    # Only where the next score is lower does a threshold cut.
    cuts = np.append(np.diff(scores[counted]) < 0, True)
    best = int(np.argmax(np.where(cuts, f1, -1)))
    return float(scores[counted[best]]), float(f1[best])


def _f1(verdicts: Int8[np.ndarray, " n"], wanted: Bool[np.ndarray, " R"]) -> float:
    """F1 of one image; NaN where nothing was wanted and nothing found."""
    counted = int((verdicts != IGNORED).sum() + wanted.sum())
    return 2 * int((verdicts == HIT).sum()) / counted if counted else float("nan")
