"""Whether one model is better than another, or only luckier with these images: a paired bootstrap of the mAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.errors import UnknownNameError
from singleshot.evaluate.judged import VERSIONS, Judged
from singleshot.types import Annotations, Detections

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Comparison:
    """Two sets of detections of the same images. Fractions are 0..1.

    Attributes:
        protocol: `voc07`, `voc12`, `ilsvrc` or `coco`.
        mean_ap: of the first.
        against: of the second.
        per_class: the second's AP of each class; None where there are no ground-truth boxes.
        low: lower end of the 95% interval of the difference, first less second.
        high: its upper end.
        images: how many there are.
        resamples: how many sets of as many images were drawn from them, with replacement.
    """

    protocol: str
    mean_ap: float
    against: float
    per_class: Mapping[str, float | None]
    low: float
    high: float
    images: int
    resamples: int

    @property
    def difference(self) -> float:
        """First less second."""
        return self.mean_ap - self.against

    def __str__(self) -> str:
        """A line for people: figures in points."""
        verdict = "better" if self.low > 0 else "worse" if self.high < 0 else "no difference that these images show"
        return (
            f"{100 * self.mean_ap:.2f}% against {100 * self.against:.2f}%: {100 * self.difference:+.2f} points, "
            f"95% of {self.resamples} resamples of the {self.images} images between {100 * self.low:+.2f} and "
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
    """The difference in mAP and the interval in which resampling the images puts it.

    Both models see the same resampled images, so that what is hard about an image is hard for both. The interval
    tells of other images of the same kind, not of other training seeds.

    Args:
        annotations: images and ground-truth boxes.
        first: detections of each image, in the set's order; boxes in pixels.
        second: the other's.
        protocol: `voc07`, `voc12`, `ilsvrc` or `coco`.
        resamples: sets drawn.
        seed: of the drawing.

    Raises:
        UnknownNameError: another protocol.
        DataError: see `flat_detections`.
    """
    if protocol not in (protocols := (*VERSIONS, "coco")):
        raise UnknownNameError("protocol of a comparison", protocol, protocols)
    judged = [Judged.of(annotations, detections, protocol) for detections in (first, second)]
    generator = np.random.default_rng(seed)
    count = len(annotations)
    drawn = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples)]
    differences = [judged[0].mean_ap(weights) - judged[1].mean_ap(weights) for weights in drawn]
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    once = np.ones(count, np.int64)
    mean_ap, theirs = (one.mean_ap(once) for one in judged)
    per_class = dict(zip(annotations.class_names, judged[1].precisions(once), strict=True))
    return Comparison(protocol, mean_ap, theirs, per_class, float(low), float(high), count, resamples)
