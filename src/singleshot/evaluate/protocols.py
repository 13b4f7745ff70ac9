"""Evaluate by the protocol that fits the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from singleshot.errors import UnknownNameError
from singleshot.evaluate.evaluation import ClassCounts, ClassCurve, Evaluation
from singleshot.evaluate.ilsvrc import evaluate_ilsvrc
from singleshot.evaluate.images import ImageResult, Images, judge_images
from singleshot.evaluate.proposals import PROTOCOL as PROPOSALS
from singleshot.evaluate.proposals import evaluate_proposals
from singleshot.evaluate.voc import AP_VERSIONS, evaluate_voc
from singleshot.types import Annotations, Detections

__all__ = [
    "PROPOSALS",
    "PROTOCOLS",
    "ClassCounts",
    "ClassCurve",
    "Evaluation",
    "ImageResult",
    "Images",
    "default_protocol",
    "evaluate",
]

PROTOCOLS = ("voc07", "voc12", "coco", "ilsvrc", PROPOSALS)
_OF_LAYOUT = {"coco": "coco", "ilsvrc": "ilsvrc"}


def default_protocol(annotations: Annotations) -> str:
    """`coco` and `ilsvrc` for data that was read from these layouts, else `voc07`."""
    return _OF_LAYOUT.get(annotations.layout, "voc07")


def evaluate(annotations: Annotations, detections: Sequence[Detections], protocol: str | None = None) -> Evaluation:
    """How good the detections are.

    Args:
        annotations: images and ground-truth boxes.
        detections: what was found in each image, in the set's order; boxes in pixels of the displayed image.
        protocol: one of `PROTOCOLS`; None takes the data's own.

    Raises:
        UnknownNameError: there is no such protocol.
        DataError: the detections do not fit the set; see `flat_detections`.
    """
    name = protocol or default_protocol(annotations)
    if name == PROPOSALS:
        return evaluate_proposals(annotations, detections)
    if name in AP_VERSIONS:
        result = evaluate_voc(annotations, detections, protocol=name)
    elif name == "ilsvrc":
        result = evaluate_ilsvrc(annotations, detections)
    elif name == "coco":
        from singleshot.evaluate.coco import evaluate_coco

        result = evaluate_coco(annotations, detections)
    else:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return replace(result, images=judge_images(annotations, detections))
