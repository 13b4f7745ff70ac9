"""VOC's evaluation: who hit what, and average precision a class.

Caffe detection_evaluate_layer.cpp: detections are taken best score first; the ground-truth box of the same class that a
detection overlaps most decides, difficult ones included (ties: the first); overlap >= threshold is a hit, a second hit
on the same object is a miss (never handed to the second-best object), and what hits a difficult object is neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from singleshot.boxes import area, iou
from singleshot.evaluate.average_precision import ApVersion, average_precision, recall_and_precision
from singleshot.evaluate.evaluation import ClassCounts, ClassCurve, Evaluation, mean_of_present
from singleshot.evaluate.flat import Flat, flat_detections, flat_ground_truth
from singleshot.shapes import Bool, Float, Int8, Int64
from singleshot.types import Annotations, Detections

MISS, HIT, IGNORED = 0, 1, 2

VocProtocol = Literal["voc07", "voc12"]
AP_VERSIONS: dict[VocProtocol, ApVersion] = {"voc07": "11point", "voc12": "MaxIntegral"}


def evaluate_voc(
    annotations: Annotations,
    detections: Sequence[Detections],
    *,
    protocol: VocProtocol = "voc07",
    iou_threshold: float = 0.5,
    plus_one: bool = False,
) -> Evaluation:
    """Evaluate a set's detections by VOC2007's (eleven points) or VOC2012's (area under the envelope) rules.

    Difficult and crowd objects are ignored, as are those that no detection can overlap (without area, not finite).

    Args:
        annotations: images and ground-truth boxes.
        detections: what was found in each image, in the set's order; boxes in pixels.
        protocol: which average precision.
        iou_threshold: overlap from which a detection is a hit.
        plus_one: count both edge pixels of a box in its width and height, as VOC's development kit does. Off by
            default: the authors' Caffe evaluates its released models on fractions of the image, without it.

    Raises:
        DataError: see `flat_detections`.
    """
    ground_truth = flat_ground_truth(annotations)
    found, scores, foreign = flat_detections(annotations, detections)
    ignored = annotations.difficult | annotations.crowd | unusable(ground_truth)
    verdicts, _ = judge(found, scores, ground_truth, ignored, iou_threshold=iou_threshold, plus_one=plus_one)
    return evaluation_of(
        annotations.class_names,
        ground_truth,
        ignored,
        found,
        scores,
        verdicts,
        protocol=protocol,
        version=AP_VERSIONS[protocol],
        iou_threshold=iou_threshold,
        foreign=foreign,
    )


def evaluation_of(
    class_names: Sequence[str],
    ground_truth: Flat,
    ignored: Bool[np.ndarray, " m"],
    found: Flat,
    scores: Float[np.ndarray, " n"],
    verdicts: Int8[np.ndarray, " n"],
    *,
    protocol: str,
    version: ApVersion,
    iou_threshold: float,
    foreign: dict[str, int],
) -> Evaluation:
    """Average precision, curve and counts of each class, once every detection has its verdict."""
    per_class: dict[str, float | None] = {}
    curves: dict[str, ClassCurve] = {}
    counts: dict[str, ClassCounts] = {}
    for label, name in enumerate(class_names):
        of_class = ground_truth.labels == label
        positives = int((of_class & ~ignored).sum())
        mine = np.flatnonzero(found.labels == label)
        hits = int((verdicts[mine] == HIT).sum())
        counts[name] = ClassCounts(positives, int((of_class & ignored).sum()), len(mine), hits)
        if positives == 0:
            per_class[name] = None
            continue
        counted = ranked(mine[verdicts[mine] != IGNORED], scores)
        curve = recall_and_precision(verdicts[counted] == HIT, positives=positives)
        per_class[name] = average_precision(curve, version)
        curves[name] = ClassCurve(*curve, scores[counted])
    return Evaluation(
        protocol, mean_of_present(per_class), per_class, curves, counts, iou_threshold=iou_threshold, foreign=foreign
    )


def unusable(ground_truth: Flat) -> Bool[np.ndarray, " m"]:
    """Ground-truth boxes that no detection can overlap: not finite, inverted or without area."""
    bad: np.ndarray = ~(np.isfinite(ground_truth.boxes_xyxy).all(-1) & (area(ground_truth.boxes_xyxy) > 0))
    return bad


def ranked(rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The rows by falling score; equal scores stay in their order (Caffe bbox_util.cpp, CumSum: stable_sort)."""
    return rows[np.argsort(-scores[rows], kind="stable")]


def judge(
    found: Flat,
    scores: Float[np.ndarray, " n"],
    ground_truth: Flat,
    ignored: Bool[np.ndarray, " m"],
    *,
    iou_threshold: float,
    plus_one: bool = False,
) -> tuple[Int8[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The verdict on every detection, `HIT`, `MISS` or `IGNORED`, and the object it overlaps most (-1: there is none).

    A detection is compared with the objects of its image and class only: those pairs lie flat, one detection after
    another, and reductions over each detection's stretch replace the loops of detection_evaluate_layer.cpp.
    """
    verdicts = np.full(len(found), MISS, np.int8)
    best_ground_truth, best_overlap = _best_ground_truth(found, ground_truth, plus_one=plus_one)
    over = np.flatnonzero((best_ground_truth >= 0) & (best_overlap >= iou_threshold))
    verdicts[over[ignored[best_ground_truth[over]]]] = IGNORED
    candidates = ranked(over[~ignored[best_ground_truth[over]]], scores)
    _, first = np.unique(best_ground_truth[candidates], return_index=True)
    verdicts[candidates[first]] = HIT
    return verdicts, best_ground_truth


def _best_ground_truth(found: Flat, ground_truth: Flat, *, plus_one: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of each detection: the object of its image and class that it overlaps most (-1: there is none), and how much."""
    classes = 1 + max(found.labels.max(initial=0), ground_truth.labels.max(initial=0))
    order = np.argsort(ground_truth.images * classes + ground_truth.labels, kind="stable")
    groups = (ground_truth.images * classes + ground_truth.labels)[order]
    mine = found.images * classes + found.labels
    begin = np.searchsorted(groups, mine, side="left")
    count = np.searchsorted(groups, mine, side="right") - begin
    best = np.full(len(found), -1, np.int64)
    overlap = np.zeros(len(found), np.float32)
    with_ground_truth = np.flatnonzero(count)
    if len(with_ground_truth) == 0:
        return best, overlap
    begin, count = begin[with_ground_truth], count[with_ground_truth]
    starts = np.cumsum(count) - count
    pair_ground_truth = order[np.arange(count.sum()) + np.repeat(begin - starts, count)]
    pair_found = np.repeat(with_ground_truth, count)
    overlaps = box_overlaps(found.boxes_xyxy[pair_found], ground_truth.boxes_xyxy[pair_ground_truth], plus_one=plus_one)
    top = np.maximum.reduceat(overlaps, starts)
    is_top = np.flatnonzero(overlaps == np.repeat(top, count))
    first = is_top[np.searchsorted(is_top, starts)]
    best[with_ground_truth], overlap[with_ground_truth] = pair_ground_truth[first], top
    return best, overlap


def box_overlaps(
    first_xyxy: Float[np.ndarray, "n 4"], second_xyxy: Float[np.ndarray, "n 4"], *, plus_one: bool
) -> Float[np.ndarray, " n"]:
    """IoU of each pair (Caffe bbox_util.cpp, JaccardOverlap); 0 where a coordinate is not finite.

    With `plus_one`, boxes are pixels and both edges belong to them; boxes apart overlap 0 (Caffe: by one pixel).
    """
    if plus_one:
        edge = np.array([0, 0, 1, 1], np.float32)
        first_xyxy, second_xyxy = first_xyxy + edge, second_xyxy + edge
    with np.errstate(invalid="ignore"):
        overlaps = iou(first_xyxy, second_xyxy)
    return np.where(np.isfinite(overlaps), overlaps, 0).astype(np.float32)
