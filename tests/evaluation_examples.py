"""Small data sets and detections for the tests of evaluation, files and reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from singleshot.types import Annotations, Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

GroundTruth = tuple[float, float, float, float, int]
Found = tuple[float, float, float, float, int, float]


def annotations(
    images: Sequence[Sequence[GroundTruth]],
    *,
    class_names: Sequence[str] = ("cat", "dog"),
    difficult: Sequence[bool] | None = None,
    crowd: Sequence[bool] | None = None,
    format_name: str = "voc",
    ids: Sequence[str] | None = None,
    root: Path = Path("set"),
) -> Annotations:
    """A set from (left, top, right, bottom, label) rows an image."""
    rows = np.array([target for image in images for target in image], np.float64).reshape(-1, 5)
    boxes = rows[:, :4].astype(np.float32)
    none = np.zeros(len(rows), bool)
    return Annotations(
        format=format_name,
        root=root,
        files=tuple(f"images/{i:03d}.jpg" for i in range(len(images))),
        ids=tuple(ids or (f"{i:03d}" for i in range(len(images)))),
        class_names=tuple(class_names),
        category_ids=tuple(range(1, len(class_names) + 1)),
        sizes_wh=np.full((len(images), 2), 200, np.int32),
        starts=np.concatenate([[0], np.cumsum([len(image) for image in images])]).astype(np.int64),
        boxes_xyxy=boxes,
        labels=rows[:, 4].astype(np.int64),
        difficult=none if difficult is None else np.array(difficult, bool),
        crowd=none if crowd is None else np.array(crowd, bool),
        areas=((rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])).astype(np.float32),
    )


def detections(rows: Sequence[Found], *, class_names: Sequence[str] = ("cat", "dog")) -> Detections:
    """One image's detections from (left, top, right, bottom, label, score) rows, best first."""
    table = np.array(sorted(rows, key=lambda row: -row[5]), np.float64).reshape(-1, 6)
    return Detections(
        table[:, :4].astype(np.float32),
        table[:, 5].astype(np.float32),
        table[:, 4].astype(np.int64),
        tuple(class_names),
    )


def random_set(
    seed: int, *, images: int = 12, classes: int = 3, detected: int = 15
) -> tuple[Annotations, list[Detections]]:
    """Objects (some difficult) and detections near them or anywhere; scores in hundredths, so that ties occur."""
    random = np.random.default_rng(seed)
    names = [f"class {i}" for i in range(classes)]
    ground_truth: list[list[GroundTruth]] = []
    results = []
    for _ in range(images):
        corner = random.uniform(0, 120, (random.integers(0, 6), 2))
        boxes = np.hstack([corner, corner + random.uniform(15, 80, corner.shape)])
        labels = random.integers(0, classes, len(boxes))
        ground_truth.append([(*box, int(label)) for box, label in zip(boxes.tolist(), labels, strict=True)])
        rows: list[Found] = []
        for _ in range(random.integers(0, detected + 1)):
            score = int(random.integers(1, 100)) / 100
            if len(boxes) and random.random() < 0.7:
                pick = random.integers(len(boxes))
                rows.append((*(boxes[pick] + random.normal(0, 5, 4)).tolist(), int(labels[pick]), score))
            else:
                left, top = random.uniform(0, 120, 2)
                rows.append((left, top, left + 40, top + 40, int(random.integers(classes)), score))
        results.append(detections(rows, class_names=names))
    total = sum(map(len, ground_truth))
    return annotations(ground_truth, class_names=names, difficult=(random.random(total) < 0.15).tolist()), results
