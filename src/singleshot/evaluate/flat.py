"""Ground-truth boxes and detections of a whole set as flat arrays, which every protocol evaluates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.errors import DataError
from singleshot.types import Annotations, Detections


@dataclass(frozen=True, eq=False)
class Flat:
    """Boxes of all images in one row after another, in image order.

    Attributes:
        images: (n,) index of the image of each.
        labels: (n,) class, 0..L-1, in the data set's numbering.
        boxes_xyxy: (n, 4) float32.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes_xyxy: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def flat_ground_truth(annotations: Annotations) -> Flat:
    """All ground-truth boxes of a set."""
    images = np.repeat(np.arange(len(annotations)), np.diff(annotations.starts))
    return Flat(images, annotations.labels, annotations.boxes_xyxy)


def flat_detections(
    annotations: Annotations, detections: Sequence[Detections]
) -> tuple[Flat, np.ndarray, dict[str, int]]:
    """All detections in the data set's numbering of the classes (matched by name), their scores, and the foreign ones.

    The foreign ones are those of classes that the set does not have: they are left out and counted by name.

    Raises:
        DataError: another number of images than the set has; a box or a score is not finite; no class in common.
    """
    if len(detections) != len(annotations):
        raise DataError(f"detections of {len(detections)} images, but the data set has {len(annotations)}")
    number = {name: label for label, name in enumerate(annotations.class_names)}
    foreign: Counter[str] = Counter()
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for file, found in zip(annotations.files, detections, strict=True):
        if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
            raise DataError(f"{file}: a detection has a box or score that is not finite")
        renumber = np.array([number.get(name, -1) for name in found.class_names], np.int64)
        labels = renumber[found.labels] if len(found) else np.zeros(0, np.int64)
        foreign.update(found.class_names[label] for label in found.labels[labels < 0])
        known = labels >= 0
        pieces.append((labels[known], found.boxes[known], found.scores[known]))
    _require_common_class(annotations, detections)
    counts = [len(labels) for labels, _, _ in pieces]
    empty = (np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    labels, boxes, scores = (np.concatenate(parts) for parts in zip(empty, *pieces, strict=True))
    return Flat(np.repeat(np.arange(len(pieces)), counts), labels, boxes), scores, dict(sorted(foreign.items()))


def _require_common_class(annotations: Annotations, detections: Sequence[Detections]) -> None:
    """A model of wholly other classes would score 0 without a word; say so instead."""
    names = {name for found in detections for name in found.class_names}
    if names and not names & set(annotations.class_names):
        raise DataError(
            f"the detections know {_some(names)}, the data set {_some(annotations.class_names)}: no class in common"
        )


def _some(names: set[str] | tuple[str, ...]) -> str:
    """A few names for a message."""
    first = sorted(names)[:5]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
