"""The whole diagnosis of a model on a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.evaluate.diagnosis.calibration import Calibration, calibration
from singleshot.evaluate.diagnosis.confusion import Confusion, confusion
from singleshot.evaluate.diagnosis.depths import Depth, depths_of
from singleshot.evaluate.diagnosis.judged_set import JudgedSet
from singleshot.evaluate.diagnosis.mistakes import KINDS, Mistakes, classify
from singleshot.evaluate.diagnosis.sensitivity import Sensitivity, sensitivities
from singleshot.evaluate.diagnosis.similar import groups_of, similarity
from singleshot.evaluate.images import Images, judge_images
from singleshot.types import Annotations, Detections


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Everything that `ssd analyze` tells. Classes stand in one order everywhere, the set's.

    Attributes:
        judged: the set with its detections.
        groups: classes that are easily taken for each other.
        mistakes: the kind of each false detection.
        depths: how the kinds change with how many detections are taken.
        size: sensitivity to it.
        shape: sensitivity to width / height.
        confusion: at the score where F1 is best.
        calibration: of the scores.
        images: how each image went.
    """

    judged: JudgedSet
    groups: tuple[tuple[str, ...], ...]
    mistakes: Mistakes
    depths: tuple[Depth, ...]
    size: Sensitivity
    shape: Sensitivity
    confusion: Confusion
    calibration: Calibration
    images: Images

    def to_json(self) -> dict[str, Any]:
        """Plain values; fractions as fractions."""
        mistakes = self.mistakes
        per_class = {}
        for label, name in enumerate(mistakes.class_names):
            mine = mistakes.kinds[(self.judged.found.labels == label) & (mistakes.kinds >= 0)]
            per_class[name] = {
                "objects": int(mistakes.ground_truth[label]),
                "AP": _number(mistakes.average_precision[label]),
                "recall": _number(mistakes.recall[label]),
                "recall at IoU 0.1": _number(mistakes.weak_recall[label]),
                "detections": {kind: int(np.count_nonzero(mine == number)) for number, kind in enumerate(KINDS)},
                "AP without": {kind: _number(mistakes.without[number, label]) for number, kind in enumerate(KINDS[1:])},
            }
        return {
            "similar": [list(group) for group in self.groups],
            "mAP gained without": {kind: round(gain, 6) for kind, gain in mistakes.gains.items()},
            "per_class": per_class,
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
                "right": [_number(value) for value in self.calibration.right],
            },
            "pictures": self._images(),
        }

    def _images(self) -> list[dict[str, Any]]:
        """Each image that has something to judge, the worst first."""
        found = []
        for index in reversed(self.images.ordered()):
            result = self.images.results[index]
            missed = int((~result.found & ~result.ignored).sum())
            file = self.judged.annotations.files[index]
            found.append({"file": file, "F1": round(result.f1, 6), "wrong": len(result.wrong), "missed": missed})
        return found


def diagnose(
    annotations: Annotations, detections: Sequence[Detections], *, groups: Sequence[Sequence[str]] | None = None
) -> Diagnosis:
    """Why the detections are as good as they are, by VOC's rules at an overlap of 0.5.

    Args:
        annotations: images and ground-truth boxes.
        detections: what was found in each image, in the set's order; boxes in pixels.
        groups: classes that are easily taken for each other; None takes those that are known.

    Raises:
        DataError: see `flat_detections`.
    """
    judged = JudgedSet.of(annotations, detections)
    names = annotations.class_names
    chosen = tuple(tuple(sorted(group, key=names.index)) for group in (groups_of(names) if groups is None else groups))
    images = judge_images(annotations, detections)
    mistakes = classify(judged, similarity(names, chosen))
    size, shape = sensitivities(judged)
    return Diagnosis(
        judged=judged,
        groups=chosen,
        mistakes=mistakes,
        depths=depths_of(judged, mistakes, chosen),
        size=size,
        shape=shape,
        confusion=confusion(judged, score=images.score_threshold),
        calibration=calibration(judged),
        images=images,
    )


def _of_sensitivity(found: Sensitivity) -> dict[str, Any]:
    return {
        "parts": list(found.parts),
        "mean": [_number(value) for value in found.means],
        "per_class": {
            name: {
                "normalised AP": [round(float(value), 6) for value in found.values[row]],
                "standard error": [round(float(value), 6) for value in found.errors[row]],
                "objects": found.objects[row].tolist(),
                "cut at": [round(float(value), 6) for value in found.edges[row]],
                "whole": round(float(found.whole[row]), 6),
            }
            for row, name in enumerate(found.class_names)
        },
    }


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
