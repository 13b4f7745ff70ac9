"""The whole diagnosis of a model on a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.evaluate.diagnosis.class_groups import groups_of, similarity
from singleshot.evaluate.diagnosis.confusion import Confusion, ScoreCalibration, confusion, score_calibration
from singleshot.evaluate.diagnosis.error_types import KINDS, ErrorTrend, ErrorTypes, classify_errors, error_trends
from singleshot.evaluate.diagnosis.sensitivity import Sensitivity, sensitivities
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.evaluate.matching import MatchedDetections
from singleshot.evaluate.per_image import PerImageResults, per_image_results
from singleshot.types import Annotations, Detections


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Everything that `ssd analyze` tells. Classes stand in one order everywhere, the set's.

    Attributes:
        matched: the set with its detections, by VOC's rules at IoU 0.5.
        groups: classes that are easily confused.
        error_types: of each false positive.
        trends: how the error types change with how many detections are taken.
        size: sensitivity to it.
        shape: sensitivity to width / height.
        confusion: at the score where F1 is best.
        calibration: of the scores.
        per_image: how each image went.
        learnt_images: how many of the images the model has learnt; None where that is not known.
    """

    matched: MatchedDetections
    groups: tuple[tuple[str, ...], ...]
    error_types: ErrorTypes
    trends: tuple[ErrorTrend, ...]
    size: Sensitivity
    shape: Sensitivity
    confusion: Confusion
    calibration: ScoreCalibration
    per_image: PerImageResults
    learnt_images: LearntOverlap | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; fractions as fractions. `pictures` is the old name of `images`."""
        images = self._images()
        learnt = {} if self.learnt_images is None else {"learnt_images": self.learnt_images.to_json()}
        return {
            **learnt,
            "similar": [list(group) for group in self.groups],
            "mAP gained without": {kind: round(gain, 6) for kind, gain in self.error_types.gains.items()},
            "per_class": self._per_class(),
            "size": _of_sensitivity(self.size),
            "shape": _of_sensitivity(self.shape),
            "confusion": {
                "score": self.confusion.score,
                "rows": [*self.confusion.class_names, "nothing"],
                "columns": [*self.confusion.class_names, "missed"],
                "counts": self.confusion.counts.tolist(),
            },
            "calibration": {
                "error": self.calibration.error,
                "detections": self.calibration.counts.tolist(),
                "score": [_number(value) for value in self.calibration.scores],
                "right": [_number(value) for value in self.calibration.precision],
            },
            "images": images,
            "pictures": images,
        }

    def _per_class(self) -> dict[str, Any]:
        types, labels = self.error_types, self.matched.detections.labels
        kinds = [types.kinds[(labels == label) & (types.kinds >= 0)] for label in range(len(types.class_names))]
        return {
            name: {
                "objects": int(types.ground_truth[label]),
                "AP": _number(types.average_precision[label]),
                "recall": _number(types.recall[label]),
                "recall at IoU 0.1": _number(types.weak_recall[label]),
                "detections": {kind: int((kinds[label] == number).sum()) for number, kind in enumerate(KINDS)},
                "AP without": {kind: _number(types.without[number, label]) for number, kind in enumerate(KINDS[1:])},
            }
            for label, name in enumerate(types.class_names)
        }

    def _images(self) -> list[dict[str, Any]]:
        """Each image that has objects or detections, the worst first."""
        files, results = self.matched.annotations.files, self.per_image.results
        return [
            {
                "file": files[index],
                "F1": round(results[index].f1, 6),
                "wrong": len(results[index].false_positives),
                "missed": results[index].missed,
            }
            for index in reversed(self.per_image.ordered())
        ]


def diagnose(
    annotations: Annotations, detections: Sequence[Detections], *, groups: Sequence[Sequence[str]] | None = None
) -> Diagnosis:
    """Why the detections are as good as they are, by VOC's rules at IoU 0.5.

    Args:
        annotations: images and ground-truth boxes.
        detections: of each image, in the set's order; boxes in pixels.
        groups: classes that are easily confused; None takes those that are known.

    Raises:
        DataError: see `detection_table`.
    """
    matched = MatchedDetections.of(annotations, detections)
    names = annotations.class_names
    chosen = tuple(tuple(sorted(group, key=names.index)) for group in (groups_of(names) if groups is None else groups))
    per_image = per_image_results(matched, detections)
    types = classify_errors(matched, similarity(names, chosen))
    size, shape = sensitivities(matched)
    return Diagnosis(
        matched=matched,
        groups=chosen,
        error_types=types,
        trends=error_trends(matched, types, chosen),
        size=size,
        shape=shape,
        confusion=confusion(matched, score=per_image.score_threshold),
        calibration=score_calibration(matched),
        per_image=per_image,
    )


def _of_sensitivity(parts: Sensitivity) -> dict[str, Any]:
    return {
        "parts": list(parts.parts),
        "mean": [_number(value) for value in parts.means],
        "per_class": {
            name: {
                "normalised AP": [round(float(value), 6) for value in parts.values[row]],
                "standard error": [round(float(value), 6) for value in parts.errors[row]],
                "objects": parts.objects[row].tolist(),
                "cut at": [round(float(value), 6) for value in parts.edges[row]],
                "whole": round(float(parts.whole[row]), 6),
            }
            for row, name in enumerate(parts.class_names)
        },
    }


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
