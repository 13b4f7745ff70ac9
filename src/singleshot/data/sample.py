"""The ground-truth boxes of one image of a set, as augmentation and the matcher take them."""

from __future__ import annotations

import numpy as np

from singleshot.boxes import clip_boxes
from singleshot.degenerate_boxes import usable_boxes
from singleshot.shapes import Int64
from singleshot.types import GroundTruth


def ground_truth_to_learn(
    ground_truth: GroundTruth, *, width: int, height: int, keep_difficult: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes as fractions, labels and difficult flags, grouped by label in the order of first appearance.

    Degenerate boxes are dropped and those that stick out clipped (see `degenerate_boxes`). Crowd regions are never
    learnt; difficult objects are with `keep_difficult` (VOC does, COCO and ILSVRC do not).
    Coordinates are divided by the size with no -1, in float32 (Caffe io.cpp, ReadXMLToAnnotatedDatum). The order is the
    one that Caffe's matcher sees: its AnnotatedDatum holds one group a label.
    """
    keep = usable_boxes(ground_truth.boxes_xyxy, width=width, height=height) & ~ground_truth.crowd
    if not keep_difficult:
        keep &= ~ground_truth.difficult
    rows = _grouped(ground_truth.labels, np.flatnonzero(keep))
    boxes = clip_boxes(ground_truth.boxes_xyxy[rows], width=width, height=height)
    return boxes / np.array([width, height] * 2, np.float32), ground_truth.labels[rows], ground_truth.difficult[rows]


def _grouped(labels: Int64[np.ndarray, " R"], rows: Int64[np.ndarray, " r"]) -> Int64[np.ndarray, " r"]:
    """The rows, those of one label together, labels in the order of their first appearance among all objects."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    return rows[np.argsort(first[which[rows]], kind="stable")]
