"""The outcome of an evaluation, the same for every protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from singleshot.evaluate.compare import Comparison
    from singleshot.evaluate.images import Images
    from singleshot.evaluate.proposals import ProposalRecall


@dataclass(frozen=True, eq=False)
class ClassCurve:
    """Precision against recall of one class, best score first; all three arrays have one entry a step of the curve."""

    recall: np.ndarray
    precision: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class ClassCounts:
    """How many there were of one class.

    Attributes:
        ground_truth: objects to find (difficult, crowd and boxes without area are not among them).
        ignored: ground-truth boxes that do not count: difficult, crowd, or without a usable box.
        detections: all detections of the class.
        hits: detections that found a ground-truth box at the protocol's threshold (COCO: at 0.5).
    """

    ground_truth: int
    ignored: int
    detections: int
    hits: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a set of detections is. Fractions are 0..1.

    Attributes:
        protocol: `voc07`, `voc12`, `ilsvrc`, `coco` or `proposals`.
        mean_ap: mean over the classes that have objects ("mAP"); None where no class has any, and of proposals.
        per_class: AP of each class by name; None where the split holds no ground-truth box of the class.
        curves: precision-recall curve of each class that has ground-truth boxes.
        counts: ground-truth boxes and detections of each class.
        iou_threshold: overlap at which a detection is a hit; None for COCO and proposals, which average ten thresholds.
        numbers: further figures by their usual names (COCO's 12; AR10, AR100, AR1000 of proposals); None where a figure
            has nothing to measure.
        foreign: detections of classes that the data set does not have, by class name; they count nowhere.
        images: how each image went, at an overlap of 0.5 whatever the protocol; None where nobody asked, and of
            proposals.
        comparison: with another set of detections; None where nobody asked.
        proposals: recall against the number of proposals; None for the other protocols, and without ground-truth boxes.
    """

    protocol: str
    mean_ap: float | None
    per_class: Mapping[str, float | None]
    curves: Mapping[str, ClassCurve]
    counts: Mapping[str, ClassCounts]
    iou_threshold: float | None
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    foreign: Mapping[str, int] = field(default_factory=dict)
    images: Images | None = None
    comparison: Comparison | None = None
    proposals: ProposalRecall | None = None

    @property
    def figure(self) -> tuple[str, float | None]:
        """Name and value of the figure that says which of two models is better: mAP, or AR100 of proposals."""
        return ("AR100", self.numbers["AR100"]) if self.protocol == "proposals" else ("mAP", self.mean_ap)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`: protocol, mAP, per_class, the protocol's own numbers, counts. Never NaN."""
        result: dict[str, Any] = {"protocol": self.protocol, "mAP": self.mean_ap, "per_class": dict(self.per_class)}
        result.update(self.numbers)
        if self.iou_threshold is not None:
            result["iou_threshold"] = self.iou_threshold
        result["truths"] = {name: count.ground_truth for name, count in self.counts.items()}
        result["detections"] = {name: count.detections for name, count in self.counts.items()}
        if self.foreign:
            result["foreign_detections"] = dict(self.foreign)
        if self.proposals is not None:
            result["proposals"] = self.proposals.to_json()
        if self.comparison is not None:
            result["against"] = self.comparison.to_json()
        return result


def mean_of_present(per_class: Mapping[Any, float | None]) -> float | None:
    """Mean over the classes that have ground-truth boxes; None where none has.

    Caffe divides by all classes and counts an absent one as 0 instead; see `caffe.mean_ap`.
    """
    present = [ap for ap in per_class.values() if ap is not None]
    return math.fsum(present) / len(present) if present else None
