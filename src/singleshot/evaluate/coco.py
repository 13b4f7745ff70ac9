"""COCO's twelve numbers, by faster-coco-eval: pycocotools' rules at many times its speed, from arrays in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from singleshot.errors import RequestError
from singleshot.evaluate.evaluation import ClassCounts, ClassCurve, Evaluation, mean_of_present
from singleshot.evaluate.flat import Flat, flat_detections, flat_ground_truth
from singleshot.types import Annotations, Detections

NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def evaluate_coco(annotations: Annotations, detections: Sequence[Detections]) -> Evaluation:
    """COCO's evaluation of boxes: AP averaged over IoU 0.5, 0.55 ... 0.95 and 101 recalls; 100 an image and class.

    Crowd regions are ignored and may swallow several detections; sizes s, m, l are by `Annotations.areas` with the
    borders 32^2 and 96^2 pixels. VOC's difficult ground-truth boxes and boxes that are not finite are treated
    as crowd. `curves` and `hits` are those at IoU 0.5.

    Raises:
        DataError: see `flat_detections`.
        RequestError: faster-coco-eval is not installed.
    """
    found, scores, foreign = flat_detections(annotations, detections)
    evaluator = _run(annotations, found, scores)
    precision = evaluator.eval["precision"]  # (thresholds, recalls, classes, area ranges, limits)
    per_class: dict[str, float | None] = {}
    curves: dict[str, ClassCurve] = {}
    counts: dict[str, ClassCounts] = {}
    crowd = ignored_as_crowd(annotations)
    for label, name in enumerate(annotations.class_names):
        ground_truth = int(((annotations.labels == label) & ~crowd).sum())
        ignored = int(((annotations.labels == label) & crowd).sum())
        per_class[name] = float(precision[:, :, label, 0, 2].mean()) if ground_truth else None
        reached = float(evaluator.eval["recall"][0, label, 0, 2]) if ground_truth else 0.0
        counts[name] = ClassCounts(
            ground_truth, ignored, int((found.labels == label).sum()), round(reached * ground_truth)
        )
        if ground_truth:
            recalls = np.asarray(evaluator.params.recThrs)
            at_half = evaluator.eval["scores"][0, :, label, 0, 2]
            curves[name] = ClassCurve(recalls, precision[0, :, label, 0, 2], at_half)
    numbers = {
        name: None if value < 0 else float(value) for name, value in zip(NUMBERS, evaluator.stats[:12], strict=True)
    }
    return Evaluation(
        "coco",
        mean_of_present(per_class),
        per_class,
        curves,
        counts,
        iou_threshold=None,
        numbers=numbers,
        foreign=foreign,
    )


def ignored_as_crowd(annotations: Annotations) -> np.ndarray:
    """Objects that are handed over as crowd: crowd itself, VOC's difficult ones, and boxes that are not finite."""
    not_finite = ~np.isfinite(annotations.boxes_xyxy).all(-1)
    ignored: np.ndarray = annotations.crowd | annotations.difficult | not_finite
    return ignored


def _run(annotations: Annotations, found: Flat, scores: np.ndarray) -> Any:
    """The finished evaluator, silent and without files."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise RequestError(
            "the coco protocol needs faster-coco-eval: pip install 'singleshot[evaluate]', or take --protocol voc07"
        ) from error
    target = COCO(_ground_truth_document(annotations))
    results = COCO(_result_document(annotations, found, scores))
    evaluator = COCOeval_faster(target, results, iouType="bbox", print_function=lambda *_: None, extra_calc=False)
    evaluator.run()
    return evaluator


def _base(annotations: Annotations) -> dict[str, Any]:
    """Images and classes of a COCO document, numbered by position: our indices are the ids."""
    return {
        "info": {},
        "images": [{"id": i + 1, "width": int(w), "height": int(h)} for i, (w, h) in enumerate(annotations.sizes_wh)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(annotations.class_names)],
    }


def _ground_truth_document(annotations: Annotations) -> dict[str, Any]:
    """The ground-truth boxes as an instances file would state them."""
    ground_truth = flat_ground_truth(annotations)
    columns = (ground_truth.images, ground_truth.labels, annotations.areas, ignored_as_crowd(annotations))
    boxes = np.nan_to_num(ground_truth.boxes_xyxy, posinf=0, neginf=0)
    rows = zip(*(column.tolist() for column in columns), _xywh(boxes), strict=True)
    return _base(annotations) | {
        "annotations": [
            {"id": i, "image_id": p + 1, "category_id": c + 1, "bbox": box, "area": size, "iscrowd": int(many)}
            for i, (p, c, size, many, box) in enumerate(rows, 1)
        ]
    }


def _result_document(annotations: Annotations, found: Flat, scores: np.ndarray) -> dict[str, Any]:
    """The detections in the form that COCO's `loadRes` makes of a results file; best score first in each image."""
    columns = (found.images, found.labels, scores)
    rows = zip(*(column.tolist() for column in columns), _xywh(found.boxes_xyxy), strict=True)
    return _base(annotations) | {
        "annotations": [
            {"id": i, "image_id": p + 1, "category_id": c + 1, "bbox": box, "area": box[2] * box[3], "score": score}
            | {"iscrowd": 0}
            for i, (p, c, score, box) in enumerate(rows, 1)
        ]
    }


def _xywh(boxes_xyxy: np.ndarray) -> list[list[float]]:
    """COCO's box: left, top, width, height. float64 first, so that a COCO file's own numbers come back closest."""
    boxes = boxes_xyxy.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()  # type: ignore[no-any-return]
