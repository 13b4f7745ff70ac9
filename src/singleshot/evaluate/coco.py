"""COCO's twelve numbers (pycocotools cocoeval.py, accumulate and summarize)."""

from __future__ import annotations

import numpy as np

from singleshot.evaluate.average_precision import COCO_RECALLS, mean_of_present
from singleshot.evaluate.evaluation import ClassCounts, ClassCurve, Evaluation
from singleshot.evaluate.matching import (
    COCO,
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    MatchedDetections,
    ignored_ground_truth,
    match,
    ranks_in_image,
)
from singleshot.shapes import Bool, Float, Int8

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
AREAS = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)])
"""Of all objects, and of small, medium and large ones, in pixels; both ends belong to a range."""
LIMITS = (1, 10, 100)
"""Detections of an image and class that AR1, AR10 and AR100 take."""


def evaluate_coco(matched: MatchedDetections) -> Evaluation:
    """COCO's evaluation of boxes: AP averaged over IoU 0.5, 0.55 ... 0.95 and 101 recalls; 100 an image and class.

    Crowd regions are ignored and may swallow several detections; sizes s, m, l are by `Annotations.areas`. VOC's
    difficult boxes and boxes that are not finite are treated as crowd. `curves` and `counts` are those at IoU 0.5.

    Args:
        matched: the set and its detections, by any protocol's rules: they are matched by COCO's.
    """
    annotations = matched.annotations
    crowd = ignored_ground_truth(annotations, COCO)
    ignored = crowd | _outside(annotations.areas)
    outcomes = _outcomes(matched, ignored, crowd)
    ap, recall = _ap_and_recall(matched, outcomes, ignored)
    per_class: dict[str, float | None] = {}
    curves: dict[str, ClassCurve] = {}
    counts: dict[str, ClassCounts] = {}
    for label, name in enumerate(annotations.class_names):
        rows, of_class = matched.of_class(label), matched.ground_truth.labels == label
        at_half = outcomes[0, :1, rows].T
        objects = int((of_class & ~crowd).sum())
        correct = int((at_half == TRUE_POSITIVE).sum())
        counts[name] = ClassCounts(objects, int((of_class & crowd).sum()), len(rows), correct)
        per_class[name] = float(ap[label, 0].mean()) if np.isfinite(ap[label, 0]).all() else None
        if per_class[name] is not None:
            precision, scores = interpolated(at_half, matched.detections.scores[rows], objects)
            curves[name] = ClassCurve(COCO_RECALLS, precision[0], scores[0])
    return Evaluation(
        "coco",
        mean_of_present(per_class),
        per_class,
        curves,
        counts,
        iou_threshold=None,
        numbers=_numbers(ap, recall),
        unknown_classes=matched.unknown_classes,
    )


def _ap_and_recall(
    matched: MatchedDetections, outcomes: Int8[np.ndarray, "4 T n"], ignored: Bool[np.ndarray, "4 M"]
) -> tuple[Float[np.ndarray, "L 4 T"], Float[np.ndarray, "3 L 4 T"]]:
    """AP of each class, area range and IoU threshold, and recall at each of `LIMITS`; NaN without objects."""
    ranks = ranks_in_image(matched.detections)
    ap = np.full((len(matched.class_names), *outcomes.shape[:2]), np.nan)
    recall = np.full((len(LIMITS), *ap.shape), np.nan)
    for label in range(len(ap)):
        rows = matched.of_class(label)
        positives = ((matched.ground_truth.labels == label) & ~ignored).sum(axis=1)
        for area in np.flatnonzero(positives):
            of_area = outcomes[area][:, rows]
            precision, _ = interpolated(of_area, matched.detections.scores[rows], int(positives[area]))
            ap[label, area] = precision.mean(axis=1)
            for place, limit in enumerate(LIMITS):
                correct = (of_area[:, ranks[rows] < limit] == TRUE_POSITIVE).sum(axis=1)
                recall[place, label, area] = correct / positives[area]
    return ap, recall


def _outside(areas: Float[np.ndarray, " n"]) -> Bool[np.ndarray, "4 n"]:
    """Whether each area lies outside each of `AREAS`."""
    low, high = AREAS[:, :1], AREAS[:, 1:]
    outside: np.ndarray = (areas < low) | (areas > high)
    return outside


def _outcomes(
    matched: MatchedDetections, ignored: Bool[np.ndarray, "4 M"], crowd: Bool[np.ndarray, " M"]
) -> Int8[np.ndarray, "4 T n"]:
    """The outcome of each detection at each IoU threshold, when only the objects of one of `AREAS` count.

    A false positive whose own area lies outside does not count, either.
    """
    matches = match(matched.detections, matched.ground_truth, ignored, COCO, crowd=crowd)
    outcomes = matches.outcomes.reshape(len(AREAS), len(COCO.iou_thresholds), -1)
    boxes = matched.detections.boxes_xyxy.astype(np.float64)
    outside = _outside((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    outcomes[outside[:, None] & (outcomes == FALSE_POSITIVE)] = IGNORED
    return outcomes


def interpolated(
    outcomes: Int8[np.ndarray, "T n"], scores: Float[np.ndarray, " n"], positives: int
) -> tuple[Float[np.ndarray, "T 101"], Float[np.ndarray, "T 101"]]:
    """The best precision at each of `COCO_RECALLS` or beyond, and the score where that recall is reached; else 0.

    Args:
        outcomes: of a class's detections, best score first.
        scores: of these detections.
        positives: objects to find, at least 1.
    """
    precision, at_scores = np.zeros((len(outcomes), len(COCO_RECALLS))), np.zeros((len(outcomes), len(COCO_RECALLS)))
    shown = np.cumsum(outcomes != IGNORED, axis=1)
    for row, outcome in enumerate(outcomes):
        places = np.flatnonzero(outcome == TRUE_POSITIVE)
        so_far = np.arange(1, len(places) + 1)
        envelope = np.maximum.accumulate((so_far / shown[row, places])[::-1])[::-1]
        at = np.searchsorted(so_far / positives, COCO_RECALLS, side="left")
        reached = at < len(places)
        precision[row, reached], at_scores[row, reached] = envelope[at[reached]], scores[places[at[reached]]]
    at_scores[:, 0] = scores.max(initial=0)  # a recall of 0 is reached by the first detection, whatever it is
    return precision, at_scores


def _numbers(ap: Float[np.ndarray, "L 4 T"], recall: Float[np.ndarray, "3 L 4 T"]) -> dict[str, float | None]:
    """`NUMBERS`: means over the classes that have objects in the range; None where none has."""
    at_50, at_75 = (COCO.iou_thresholds.index(threshold) for threshold in (0.5, 0.75))
    parts = [ap[:, 0], ap[:, 0, at_50], ap[:, 0, at_75], ap[:, 1], ap[:, 2], ap[:, 3]]
    parts += [recall[0, :, 0], recall[1, :, 0], recall[2, :, 0], recall[2, :, 1], recall[2, :, 2], recall[2, :, 3]]
    return {
        name: float(np.nanmean(values)) if np.isfinite(values).any() else None
        for name, values in zip(NUMBERS, parts, strict=True)
    }
