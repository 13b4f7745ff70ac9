"""The boxes of a whole set as flat arrays, which every protocol evaluates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.errors import DataError, first_of
from singleshot.types import Annotations, Detections


@dataclass(frozen=True, eq=False)
class BoxTable:
    """One row a box, in image order.

    Attributes:
        images: (n,) index of the image.
        labels: (n,) class, 0..L-1, in the data set's numbering.
        boxes_xyxy: (n, 4) float32.
        scores: (n,) float32; 1 for ground truth.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes_xyxy: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: np.ndarray) -> BoxTable:
        """Only these rows, by mask or by number."""
        return BoxTable(self.images[rows], self.labels[rows], self.boxes_xyxy[rows], self.scores[rows])

    def ranked(self, rows: np.ndarray) -> np.ndarray:
        """The rows by falling score; equal scores stay in their order (Caffe bbox_util.cpp, CumSum: stable_sort)."""
        return rows[np.argsort(-self.scores[rows], kind="stable")]


def ground_truth_table(annotations: Annotations) -> BoxTable:
    """All ground-truth boxes of a set."""
    images = np.repeat(np.arange(len(annotations)), np.diff(annotations.starts))
    return BoxTable(images, annotations.labels, annotations.boxes_xyxy, np.ones(len(images), np.float32))


def detection_table(annotations: Annotations, detections: Sequence[Detections]) -> tuple[BoxTable, dict[str, int]]:
    """All detections, their classes matched by name, and how many were left out of each class that the set lacks.

    Raises:
        DataError: another number of images than the set has; a box or a score is not finite; no class in common.
    """
    if len(detections) != len(annotations):
        raise DataError(f"detections of {len(detections)} images, but the data set has {len(annotations)}")
    number = {name: label for label, name in enumerate(annotations.class_names)}
    unknown: Counter[str] = Counter()
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for file, of_image in zip(annotations.files, detections, strict=True):
        if not (np.isfinite(of_image.boxes).all() and np.isfinite(of_image.scores).all()):
            raise DataError(f"{file}: a detection has a box or score that is not finite")
        renumber = np.array([number.get(name, -1) for name in of_image.class_names], np.int64)
        labels = renumber[of_image.labels] if len(of_image) else np.zeros(0, np.int64)
        unknown.update(of_image.class_names[label] for label in of_image.labels[labels < 0])
        known = labels >= 0
        pieces.append((labels[known], of_image.boxes[known], of_image.scores[known]))
    detected = {name for of_image in detections for name in of_image.class_names}
    if detected:
        require_common_class("the detections", detected, "the data set", annotations.class_names)
    images = np.repeat(np.arange(len(pieces)), [len(labels) for labels, _, _ in pieces])
    empty = (np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    labels, boxes, scores = (np.concatenate(parts) for parts in zip(empty, *pieces, strict=True))
    return BoxTable(images, labels, boxes, scores), dict(sorted(unknown.items()))


def require_common_class(detector: str, known: Iterable[str], data: str, names: Iterable[str]) -> None:
    """Refuse detections of wholly other classes, which would score 0 without a word.

    Args:
        detector: what has the detections, in words.
        known: its classes.
        data: the set, in words.
        names: the set's classes.

    Raises:
        DataError: there is no class in common.
    """
    known, names = set(known), set(names)
    if not known & names:
        theirs, ours = (first_of(sorted(classes), 5) for classes in (known, names))
        raise DataError(f"no class in common: {theirs} of {detector}; {ours} of {data}")
