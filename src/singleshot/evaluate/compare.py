"""Whether one model is better than another, or only luckier with these pictures: a paired bootstrap of the mAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from singleshot.errors import UnknownNameError
from singleshot.evaluate.average_precision import average_precision
from singleshot.evaluate.evaluation import mean_of_present
from singleshot.evaluate.flat import flat_detections, flat_truths
from singleshot.evaluate.voc import AP_VERSIONS, HIT, IGNORED, judge, ranked, unusable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Int64

    from singleshot.evaluate.average_precision import ApVersion
    from singleshot.types import Annotations, Detections

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Comparison:
    """Two sets of detections of the same pictures. Fractions are 0..1.

    Attributes:
        protocol: `voc07` or `voc12`.
        mean_ap: of the first.
        against: of the second.
        per_class: the second's AP of each class; None where there are no truths.
        low: lower end of the 95% interval of the difference, first less second.
        high: its upper end.
        pictures: how many there are.
        resamples: how many sets of as many pictures were drawn from them, with replacement.
    """

    protocol: str
    mean_ap: float
    against: float
    per_class: Mapping[str, float | None]
    low: float
    high: float
    pictures: int
    resamples: int

    @property
    def difference(self) -> float:
        """First less second."""
        return self.mean_ap - self.against

    def __str__(self) -> str:
        """A line for people: figures in points."""
        verdict = "better" if self.low > 0 else "worse" if self.high < 0 else "no difference that these pictures show"
        return (
            f"{100 * self.mean_ap:.2f}% against {100 * self.against:.2f}%: {100 * self.difference:+.2f} points, "
            f"95% of {self.resamples} resamples of the {self.pictures} pictures between {100 * self.low:+.2f} and "
            f"{100 * self.high:+.2f}: {verdict}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "mAP": self.against,
            "per_class": dict(self.per_class),
            "difference": self.difference,
            "interval": [self.low, self.high],
            "level": LEVEL,
            "resamples": self.resamples,
        }


def compare(
    annotations: Annotations,
    first: Sequence[Detections],
    second: Sequence[Detections],
    *,
    protocol: str = "voc07",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """The difference in mAP and the interval in which resampling the pictures puts it.

    Both models see the same resampled pictures, so that what is hard about a picture is hard for both. The interval
    tells of other pictures of the same kind, not of other training seeds.

    Args:
        annotations: pictures and truths.
        first: detections of each picture, in the set's order; boxes in pixels.
        second: the other's.
        protocol: `voc07` or `voc12`.
        resamples: sets drawn.
        seed: of the drawing.

    Raises:
        UnknownNameError: another protocol.
        DataError: see `flat_detections`.
    """
    version = next((version for name, version in AP_VERSIONS.items() if name == protocol), None)
    if version is None:
        raise UnknownNameError("protocol of a comparison", protocol, AP_VERSIONS)
    ranks = [_Ranks.of(annotations, detections) for detections in (first, second)]
    generator = np.random.default_rng(seed)
    count = len(annotations)
    drawn = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples)]
    differences = [ranks[0].mean_ap(weights, version) - ranks[1].mean_ap(weights, version) for weights in drawn]
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    once = np.ones(count, np.int64)
    mean_ap, theirs = (one.mean_ap(once, version) for one in ranks)
    per_class = dict(zip(annotations.class_names, ranks[1].precisions(once, version), strict=True))
    return Comparison(protocol, mean_ap, theirs, per_class, float(low), float(high), count, resamples)


@dataclass(frozen=True, eq=False)
class _Class:
    """The counted detections of a class, best first: their pictures and whether they hit; its truths by picture."""

    pictures: Int64[np.ndarray, " n"]
    hits: Bool[np.ndarray, " n"]
    truths: Int64[np.ndarray, " pictures"]

    def average_precision(self, weights: Int64[np.ndarray, " pictures"], version: ApVersion) -> float | None:
        """The AP in a set that holds each picture so many times; None where it has no truths."""
        positives = int(weights @ self.truths)
        if not positives:
            return None
        times = weights[self.pictures]
        hits, times = self.hits[times > 0], times[times > 0]
        found, shown = (np.cumsum(column).astype(np.float32) for column in (hits * times, times))
        return average_precision((found / np.float32(positives), found / shown), version)


@dataclass(frozen=True, eq=False)
class _Ranks:
    """All that mAP depends on, judged once: which truth a detection hits does not depend on the other pictures."""

    classes: tuple[_Class, ...]

    @classmethod
    def of(cls, annotations: Annotations, detections: Sequence[Detections]) -> _Ranks:
        truths = flat_truths(annotations)
        found, scores, _ = flat_detections(annotations, detections)
        ignored = annotations.difficult | annotations.crowd | unusable(truths)
        verdicts, _ = judge(found, scores, truths, ignored, iou_threshold=0.5)
        classes = []
        for label in range(len(annotations.class_names)):
            counted = ranked(np.flatnonzero((found.labels == label) & (verdicts != IGNORED)), scores)
            of_class = truths.pictures[(truths.labels == label) & ~ignored]
            by_picture = np.bincount(of_class, minlength=len(annotations))
            classes.append(_Class(found.pictures[counted], verdicts[counted] == HIT, by_picture))
        return cls(tuple(classes))

    def mean_ap(self, weights: Int64[np.ndarray, " pictures"], version: ApVersion) -> float:
        """The mAP of a set that holds each picture so many times; 0 where no class has truths."""
        return mean_of_present(dict(enumerate(self.precisions(weights, version)))) or 0.0

    def precisions(self, weights: Int64[np.ndarray, " pictures"], version: ApVersion) -> list[float | None]:
        """The AP of each class there; None where it has no truths."""
        return [one.average_precision(weights, version) for one in self.classes]
