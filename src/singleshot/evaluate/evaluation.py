"""The outcome of an evaluation, the same for every protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from singleshot.evaluate.compare import Comparison
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.evaluate.per_image import PerImageResults
from singleshot.evaluate.pre_annotation import PreAnnotation
from singleshot.evaluate.proposals import ProposalRecall

MOST_ABSENT = 10
"""Classes without ground-truth boxes that are listed one by one."""


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
        ground_truth: objects to find (without those that are ignored).
        ignored: ground-truth boxes that do not count: difficult, crowd, or degenerate.
        detections: all detections of the class.
        true_positives: detections that match a ground-truth box at the protocol's threshold (COCO: at 0.5).
    """

    ground_truth: int
    ignored: int
    detections: int
    true_positives: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a set of detections is. Fractions are 0..1.

    Attributes:
        protocol: `voc07`, `voc12`, `ilsvrc`, `coco` or `proposals`.
        mean_ap: mean over the classes that have objects ("mAP"); None where no class has any, and of proposals.
        per_class: AP of each class by name; None where the split holds no ground-truth box of the class.
        curves: precision-recall curve of each class that has ground-truth boxes.
        counts: ground-truth boxes and detections of each class.
        iou_threshold: from which a detection matches; None for COCO and proposals, which average ten thresholds.
        numbers: further figures by their usual names (COCO's 12; AR10, AR100, AR1000 of proposals); None where a figure
            has nothing to measure.
        unknown_classes: detections of classes that the data set does not have, by class name; they are left out.
        per_image: how each image went, by VOC's matching at IoU 0.5 whatever the protocol; None for proposals.
        comparison: with another set of detections, where there is one.
        proposals: recall against the number of proposals; None for the other protocols, and without ground-truth boxes.
        pre_annotation: what the detections would save a person who labels the images; None where it was not measured.
        learnt_images: how many of the images the model has learnt; None where that is not known.
    """

    protocol: str
    mean_ap: float | None
    per_class: Mapping[str, float | None]
    curves: Mapping[str, ClassCurve]
    counts: Mapping[str, ClassCounts]
    iou_threshold: float | None
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    unknown_classes: Mapping[str, int] = field(default_factory=dict)
    per_image: PerImageResults | None = None
    comparison: Comparison | None = None
    proposals: ProposalRecall | None = None
    pre_annotation: PreAnnotation | None = None
    learnt_images: LearntOverlap | None = None

    @property
    def figure(self) -> tuple[str, float | None]:
        """Name and value of the figure that says which of two models is better: mAP, or AR100 of proposals."""
        return ("AR100", self.numbers["AR100"]) if self.protocol == "proposals" else ("mAP", self.mean_ap)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`: protocol, mAP, per_class, the protocol's own numbers, counts. Never NaN.

        `truths` and `foreign_detections` are the old names of `ground_truth` and `unknown_class_detections`.
        """
        result: dict[str, Any] = {"protocol": self.protocol, "mAP": self.mean_ap, "per_class": dict(self.per_class)}
        result.update(self.numbers)
        if self.iou_threshold is not None:
            result["iou_threshold"] = self.iou_threshold
        result["ground_truth"] = {name: count.ground_truth for name, count in self.counts.items()}
        result["truths"] = result["ground_truth"]
        result["detections"] = {name: count.detections for name, count in self.counts.items()}
        if self.unknown_classes:
            result["unknown_class_detections"] = result["foreign_detections"] = dict(self.unknown_classes)
        if self.proposals is not None:
            result["proposals"] = self.proposals.to_json()
        if self.pre_annotation is not None:
            result["pre_annotation"] = self.pre_annotation.to_json()
        if self.learnt_images is not None:
            result["learnt_images"] = self.learnt_images.to_json()
        if self.comparison is not None:
            result["against"] = self.comparison.to_json()
        return result

    def lines(self) -> list[str]:
        """A table for people: recall of proposals, or AP of each class and the mAP, beside those compared with."""
        name, figure = self.figure
        aps = {**self.per_class, f"{name} {self.protocol}": figure or 0.0}
        comparison = self.comparison
        others = {} if comparison is None else {**comparison.per_class, f"mAP {self.protocol}": comparison.against}
        absent = sum(ap is None for ap in aps.values())
        shown = [] if self.proposals is None else self.proposals.lines()
        for name, ap in aps.items():
            if ap is None and absent > MOST_ABSENT:
                continue
            line = f"{name:>16}  {'no ground-truth boxes' if ap is None else f'{100 * ap:5.1f}%'}"
            other = others.get(name)
            shown.append(line if other is None else f"{line}  against {100 * other:5.1f}%")
        return shown + [f"{absent} more classes have no ground-truth boxes"] * (absent > MOST_ABSENT)
