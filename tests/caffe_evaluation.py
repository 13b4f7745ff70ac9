"""The authors' evaluation, row by row: DetectionEvaluate, then the sums of Solver::TestDetection.

Only for comparison with Caffe: it counts a class without objects as AP 0, which `evaluate` leaves out of the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from singleshot.boxes import clip_boxes
from singleshot.evaluate.average_precision import ApVersion, Curve, average_precision, recall_and_precision
from singleshot.evaluate.box_table import BoxTable
from singleshot.evaluate.matching import FALSE_POSITIVE, TRUE_POSITIVE, VOC, match
from singleshot.shapes import Float, Int


@dataclass(frozen=True, eq=False)
class CaffeEvaluation:
    """What Caffe's layer and solver hold after a test.

    Attributes:
        rows: (C - 1 + n, 5) the layer's output: first (-1, label, objects, -1, -1) a class, then (image, label, score,
            true positive, false positive) a
            detection, by image, label and falling score; both 0: ignored.
        positives: (C,) ground-truth boxes of each label; 0 is background.
    """

    rows: Float[np.ndarray, "rows 5"]
    positives: Int[np.ndarray, " C"]

    def curve(self, label: int) -> Curve:
        """Recall and precision of a label; empty where it has no ground-truth box or no detection that counts."""
        rows = self.rows[len(self.positives) - 1 :]
        counted = np.flatnonzero((rows[:, 1] == label) & (rows[:, 3:].sum(-1) > 0))
        if self.positives[label] == 0:
            counted = counted[:0]
        counted = counted[np.argsort(-rows[counted, 2], kind="stable")]
        return recall_and_precision(rows[counted, 3] > 0, positives=max(int(self.positives[label]), 1))

    def average_precisions(self, version: ApVersion) -> Float[np.ndarray, " C"]:
        """AP of each label, 0 for background and for labels without ground-truth boxes or detections."""
        return np.array([average_precision(self.curve(label), version) for label in range(len(self.positives))])

    def mean_ap(self, version: ApVersion) -> float:
        """Sum of AP over labels 1..C-1, divided by C - 1: a class absent from the set lowers it."""
        return float(self.average_precisions(version)[1:].sum() / (len(self.positives) - 1))


def detection_evaluate(
    ground_truth: Float[np.ndarray, "m 8"],
    detections: Float[np.ndarray, "n 7"],
    *,
    num_classes: int,
    iou_threshold: float,
    evaluate_difficult: bool,
    sizes_hw: Int[np.ndarray, "N 2"] | None = None,
) -> CaffeEvaluation:
    """Caffe's DetectionEvaluate layer.

    Args:
        ground_truth: image, label, instance, left, top, right, bottom (fractions), difficult.
        detections: image, label, score, left, top, right, bottom (fractions, may lie outside).
        num_classes: C, with background, label 0.
        iou_threshold: IoU from which a detection matches.
        evaluate_difficult: difficult ground-truth boxes count as any other.
        sizes_hw: height and width of each image: boxes are then clipped and scaled to pixels, and IoU counts both
            edges (Caffe's name_size_file). None compares fractions as they are.
    """
    pixels = sizes_hw is not None and len(sizes_hw) > 0
    objects, detected = (
        BoxTable(
            rows[:, 0].astype(np.int64),
            rows[:, 1].astype(np.int64),
            _to_pixels(rows[:, 3:7], rows[:, 0], sizes_hw) if pixels else rows[:, 3:7],
            rows[:, 2],
        )
        for rows in (ground_truth, detections)
    )
    ignored = (ground_truth[:, 7] > 0) & (not evaluate_difficult)
    rules = replace(VOC, iou_thresholds=(iou_threshold,), plus_one=pixels)
    outcomes = match(detected, objects, ignored, rules).outcomes[0]
    positives = np.bincount(objects.labels[~ignored], minlength=num_classes)
    heads = np.array([(-1, label, positives[label], -1, -1) for label in range(1, num_classes)], np.float32)
    # Within an image and a class Caffe sorts only where that class has a ground-truth box in that image.
    comparable = np.isin(detected.images * num_classes + detected.labels, objects.images * num_classes + objects.labels)
    order = np.lexsort((np.where(comparable, -detected.scores, 0), detected.labels, detected.images))
    rows = np.column_stack([
        detected.images, detected.labels, detected.scores, outcomes == TRUE_POSITIVE, outcomes == FALSE_POSITIVE
    ]).astype(np.float32)[order]  # fmt: skip
    return CaffeEvaluation(np.concatenate([heads.reshape(-1, 5), rows]), positives)


def _to_pixels(
    boxes_xyxy: Float[np.ndarray, "n 4"], images: Float[np.ndarray, " n"], sizes_hw: Int[np.ndarray, "N 2"]
) -> Float[np.ndarray, "n 4"]:
    """Clip to the image, then scale to its pixels (Caffe bbox_util.cpp, OutputBBox)."""
    scale = np.tile(sizes_hw[images.astype(np.int64)][:, ::-1], 2).astype(np.float32)
    return clip_boxes(boxes_xyxy, width=1, height=1) * scale
