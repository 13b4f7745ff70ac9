"""Whether one model is better than another, or the difference may be chance: a paired bootstrap of the mAP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.errors import UnknownNameError
from singleshot.evaluate.average_precision import (
    AP_VERSIONS,
    COCO_RECALLS,
    at_recalls,
    average_precision,
    mean_of_present,
)
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.evaluate.matching import COCO, IGNORED, ILSVRC, TRUE_POSITIVE, VOC, MatchedDetections
from singleshot.shapes import Bool, Int64
from singleshot.types import Annotations, Detections

RESAMPLES = 2000
LEVEL = 0.95
PROTOCOLS = (*AP_VERSIONS, "coco")


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
        learnt_images: how many of the images the second's model has learnt; None where that is not known.
    """

    protocol: str
    mean_ap: float
    against: float
    per_class: Mapping[str, float | None]
    low: float
    high: float
    images: int
    resamples: int
    learnt_images: LearntOverlap | None = None

    @property
    def difference(self) -> float:
        """First less second."""
        return self.mean_ap - self.against

    def __str__(self) -> str:
        """A line for people: figures in points."""
        conclusion = "better" if self.low > 0 else "worse" if self.high < 0 else "no difference that these images show"
        return (
            f"{100 * self.mean_ap:.2f}% against {100 * self.against:.2f}%: {100 * self.difference:+.2f} points, "
            f"95% of {self.resamples} resamples of the {self.images} images between {100 * self.low:+.2f} and "
            f"{100 * self.high:+.2f}: {conclusion}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        learnt = {} if self.learnt_images is None else {"learnt_images": self.learnt_images.to_json()}
        return {
            "mAP": self.against,
            "per_class": dict(self.per_class),
            "difference": self.difference,
            "interval": [self.low, self.high],
            "level": LEVEL,
            "resamples": self.resamples,
            **learnt,
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

    Both models see the same resampled images. The interval is over images of the same kind, not over training seeds.

    Args:
        annotations: images and ground-truth boxes.
        first: detections of each image, in the set's order; boxes in pixels.
        second: the other's.
        protocol: `voc07`, `voc12`, `ilsvrc` or `coco`.
        resamples: sets drawn.
        seed: of the drawing.

    Raises:
        UnknownNameError: another protocol.
        DataError: see `detection_table`.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("protocol of a comparison", protocol, PROTOCOLS)
    both = [ResampledEvaluation.of(annotations, detections, protocol) for detections in (first, second)]
    generator = np.random.default_rng(seed)
    count = len(annotations)
    drawn = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples)]
    differences = [both[0].mean_ap(times) - both[1].mean_ap(times) for times in drawn]
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    once = np.ones(count, np.int64)
    mean_ap, against = (evaluation.mean_ap(once) for evaluation in both)
    per_class = dict(zip(annotations.class_names, both[1].average_precisions(once), strict=True))
    return Comparison(protocol, mean_ap, against, per_class, float(low), float(high), count, resamples)


@dataclass(frozen=True, eq=False)
class ClassOutcomes:
    """The detections of a class, best first, and its ground truth.

    Attributes:
        images: image of each detection.
        correct: whether it is a true positive, at each IoU threshold of the protocol.
        counted: whether it counts there.
        ground_truth: ground-truth boxes of each image.
    """

    images: Int64[np.ndarray, " n"]
    correct: Bool[np.ndarray, "T n"]
    counted: Bool[np.ndarray, "T n"]
    ground_truth: Int64[np.ndarray, " images"]

    def average_precision(self, times: Int64[np.ndarray, " images"], protocol: str) -> float | None:
        """The AP in a set that holds each image so many times; None where it has no ground-truth boxes."""
        positives = int(times @ self.ground_truth)
        if not positives:
            return None
        of_each = times[self.images]
        aps = []
        for correct, counted in zip(self.correct, self.counted, strict=True):
            there = counted & (of_each > 0)
            right, shown = np.cumsum(correct[there] * of_each[there]), np.cumsum(of_each[there])
            if protocol in AP_VERSIONS:
                curve = (right.astype(np.float32) / np.float32(positives), right / shown.astype(np.float32))
                aps.append(average_precision(curve, AP_VERSIONS[protocol]))
            else:
                aps.append(at_recalls(right / positives, right / shown, COCO_RECALLS))
        return float(np.mean(aps))


@dataclass(frozen=True, eq=False)
class ResampledEvaluation:
    """A set matched once, so that the mAP of any resampling of its images is quickly computed.

    That is possible because which box a detection matches does not depend on the other images.
    """

    protocol: str
    classes: tuple[ClassOutcomes, ...]

    @property
    def images(self) -> int:
        """Images of the set."""
        return len(self.classes[0].ground_truth)

    @classmethod
    def of(cls, annotations: Annotations, detections: Sequence[Detections], protocol: str) -> ResampledEvaluation:
        """Match the detections by `voc07`, `voc12`, `ilsvrc` or `coco`; arguments as of `compare`."""
        rules = {"ilsvrc": ILSVRC, "coco": COCO}.get(protocol, VOC)
        matched = MatchedDetections.of(annotations, detections, rules)
        classes = []
        for label in range(len(annotations.class_names)):
            rows = matched.of_class(label)
            boxes = matched.ground_truth.images[(matched.ground_truth.labels == label) & ~matched.ignored]
            outcomes = matched.matches.outcomes[:, rows]
            classes.append(
                ClassOutcomes(
                    matched.detections.images[rows],
                    outcomes == TRUE_POSITIVE,
                    outcomes != IGNORED,
                    np.bincount(boxes, minlength=len(annotations)),
                )
            )
        return cls(protocol, tuple(classes))

    def mean_ap(self, times: Int64[np.ndarray, " images"]) -> float:
        """The mAP of a set that holds each image so many times; 0 where no class has ground-truth boxes."""
        return mean_of_present(dict(enumerate(self.average_precisions(times)))) or 0.0

    def average_precisions(self, times: Int64[np.ndarray, " images"]) -> list[float | None]:
        """The AP of each class there; None where it has no ground-truth boxes."""
        return [outcomes.average_precision(times, self.protocol) for outcomes in self.classes]
