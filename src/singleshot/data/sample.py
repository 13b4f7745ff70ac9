"""The truths of one picture of a set, as augmentation and the matcher take them."""

from __future__ import annotations

import numpy as np

from singleshot.boxes import clip_boxes
from singleshot.data.bad_boxes import judge_boxes, usable
from singleshot.shapes import Int64
from singleshot.types import Truths


def truths_to_learn(
    truths: Truths, *, width: int, height: int, keep_difficult: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes as fractions, labels and difficult flags, grouped by label in the order of first appearance.

    Bad boxes are dropped or clipped (`bad_boxes`), crowd regions never learnt; difficult objects are, if
    `keep_difficult` (VOC does, COCO and ILSVRC do not).
    Coordinates are divided by the size with no -1, in float32 (Caffe io.cpp, ReadXMLToAnnotatedDatum). The order is the
    one that Caffe's matcher sees: its AnnotatedDatum holds one group a label.
    """
    keep = usable(judge_boxes(truths.boxes_xyxy, width=width, height=height)) & ~truths.crowd
    if not keep_difficult:
        keep &= ~truths.difficult
    rows = _grouped(truths.labels, np.flatnonzero(keep))
    boxes = clip_boxes(truths.boxes_xyxy[rows], width=width, height=height)
    return boxes / np.array([width, height] * 2, np.float32), truths.labels[rows], truths.difficult[rows]


def _grouped(labels: Int64[np.ndarray, " R"], rows: Int64[np.ndarray, " r"]) -> Int64[np.ndarray, " r"]:
    """The rows, those of one label together, labels in the order of their first appearance among all objects."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    return rows[np.argsort(first[which[rows]], kind="stable")]
