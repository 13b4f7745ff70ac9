"""Evaluate by the protocol that fits the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from singleshot.errors import UnknownNameError
from singleshot.evaluate.average_precision import (
    AP_VERSIONS,
    average_precision,
    mean_of_present,
    recall_and_precision,
)
from singleshot.evaluate.coco import evaluate_coco
from singleshot.evaluate.evaluation import ClassCounts, ClassCurve, Evaluation
from singleshot.evaluate.matching import IGNORED, ILSVRC, TRUE_POSITIVE, VOC, MatchedDetections
from singleshot.evaluate.per_image import PerImageResults, per_image_results
from singleshot.evaluate.proposals import NAMED, measure_proposals
from singleshot.spec import OBJECT
from singleshot.types import Annotations, Detections

__all__ = [
    "PROPOSALS",
    "PROTOCOLS",
    "ClassCounts",
    "ClassCurve",
    "Evaluation",
    "PerImageResults",
    "Protocol",
    "default_protocol",
    "evaluate",
]

Protocol = Literal["voc07", "voc12", "coco", "ilsvrc", "proposals"]
PROPOSALS: Protocol = "proposals"
PROTOCOLS: tuple[Protocol, ...] = ("voc07", "voc12", "coco", "ilsvrc", PROPOSALS)


def default_protocol(annotations: Annotations) -> str:
    """`coco` and `ilsvrc` for data that was read from these formats, else `voc07`."""
    return annotations.format if annotations.format in {"coco", "ilsvrc"} else "voc07"


def evaluate(annotations: Annotations, detections: Sequence[Detections], protocol: str | None = None) -> Evaluation:
    """How good the detections are.

    Args:
        annotations: images and ground-truth boxes.
        detections: of each image, in the set's order; boxes in pixels of the displayed image.
        protocol: one of `PROTOCOLS`; None takes the data's own.

    Raises:
        UnknownNameError: there is no such protocol.
        DataError: the detections do not fit the set; see `detection_table`.
    """
    name = protocol or default_protocol(annotations)
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    if name == PROPOSALS:
        return _evaluate_proposals(annotations, detections)
    matched = MatchedDetections.of(annotations, detections, VOC)
    if name == "coco":
        result = evaluate_coco(matched)
    else:
        result = _evaluate_matched(matched.by(ILSVRC if name == "ilsvrc" else VOC), name)
    return replace(result, per_image=per_image_results(matched, detections))


def evaluate_voc(
    annotations: Annotations,
    detections: Sequence[Detections],
    *,
    protocol: str = "voc07",
    iou_threshold: float = 0.5,
    plus_one: bool = False,
) -> Evaluation:
    """Evaluate by VOC2007's (eleven points) or VOC2012's (area under the envelope) rules at any IoU threshold.

    Args:
        annotations: images and ground-truth boxes.
        detections: of each image, in the set's order; boxes in pixels.
        protocol: `voc07` or `voc12`.
        iou_threshold: from which a detection matches.
        plus_one: count both edge pixels of a box in its width and height, as VOC's development kit does. Off by
            default: the authors' Caffe evaluates its released models on fractions of the image, without it.

    Raises:
        DataError: see `detection_table`.
    """
    rules = replace(VOC, iou_thresholds=(iou_threshold,), plus_one=plus_one)
    return _evaluate_matched(MatchedDetections.of(annotations, detections, rules), protocol)


def _evaluate_matched(matched: MatchedDetections, protocol: str) -> Evaluation:
    """Average precision, curve and counts of each class, at one IoU threshold."""
    per_class: dict[str, float | None] = {}
    curves: dict[str, ClassCurve] = {}
    counts: dict[str, ClassCounts] = {}
    for label, name in enumerate(matched.class_names):
        of_class = matched.ground_truth.labels == label
        positives, ignored = (int((of_class & mask).sum()) for mask in (~matched.ignored, matched.ignored))
        rows = matched.of_class(label)
        counted = rows[matched.outcomes[rows] != IGNORED]
        correct = matched.outcomes[counted] == TRUE_POSITIVE
        counts[name] = ClassCounts(positives, ignored, len(rows), int(np.count_nonzero(correct)))
        per_class[name] = None
        if positives:
            curve = recall_and_precision(correct, positives=positives)
            per_class[name] = average_precision(curve, AP_VERSIONS[protocol])
            curves[name] = ClassCurve(*curve, matched.detections.scores[counted])
    return Evaluation(
        protocol,
        mean_of_present(per_class),
        per_class,
        curves,
        counts,
        iou_threshold=matched.rules.iou_thresholds[0],
        unknown_classes=matched.unknown_classes,
    )


def _evaluate_proposals(annotations: Annotations, detections: Sequence[Detections]) -> Evaluation:
    """Average recall of the best 10, 100 and 1000 boxes of an image, whatever their class."""
    recall = measure_proposals(annotations, detections)
    numbers = {
        f"AR{count}": float(recall.average[recall.counts.index(count)]) if recall.objects else None for count in NAMED
    }
    counts = {OBJECT: ClassCounts(recall.objects, recall.ignored, recall.proposals, recall.reached)}
    return Evaluation(
        PROPOSALS,
        None,
        {},
        {},
        counts,
        iou_threshold=None,
        numbers=numbers,
        proposals=recall if recall.objects else None,
    )
