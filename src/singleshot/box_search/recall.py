"""Default-box recall: the share of ground-truth boxes that some default box fits with an IoU of 0.5 or more.

Default boxes are the anchors of other detectors. A ground-truth box that none of them fits is matched to a single one
(the first phase of the matching) and is hardly learnt, which is how small objects get lost. All boxes are fractions of
the image, because images are warped to the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from singleshot.boxes import area, clip_boxes, pairwise_iou
from singleshot.degenerate_boxes import usable_in_set
from singleshot.shapes import Bool, Float, Float32, Int64
from singleshot.types import Annotations

IOU_THRESHOLD = 0.5
LEAST_OBJECTS = 20
"""Classes with fewer objects do not decide which default boxes are chosen: one object is 5 points of recall or more."""
SIZE_BINS = (0.0, 0.05, 0.1, 0.2, 0.4, np.inf)
"""Edges of the size bins: square root of the area, as a fraction of the image's."""
SHAPE_BINS = (0.0, 1 / 3, 1 / 2, 2 / 3, 1.5, 2.0, 3.0, np.inf)
"""Edges of the shape bins: width / height as the network sees it."""
CLASSES_NAMED = 20
PAIRS_AT_ONCE = 1 << 19
"""IoUs computed at once: 2 MB fit a processor's cache and bound the memory."""
LARGEST_SAMPLE = 20_000
"""Of larger sets, evenly spaced images with about so many ground-truth boxes are measured."""


@dataclass(frozen=True, eq=False)
class GroundTruthBoxes:
    """The ground-truth boxes of a data set that can be learnt, as fractions of their images.

    Attributes:
        boxes_xyxy: corners.
        labels: class of each, 0..L-1.
        degenerate: number of boxes left out because they are degenerate, see `degenerate_boxes`.
        unsized: number of boxes left out because the set does not state their image's size.
    """

    boxes_xyxy: Float32[np.ndarray, "M 4"]
    labels: Int64[np.ndarray, " M"]
    degenerate: int
    unsized: int

    @property
    def sizes(self) -> Float32[np.ndarray, " M"]:
        """Square root of the area, as a fraction of the image's."""
        return np.sqrt(area(self.boxes_xyxy))  # type: ignore[no-any-return]


class RecallBin(NamedTuple):
    """Recall of the ground-truth boxes whose size or shape lies between `low` and `high`."""

    low: float
    high: float
    objects: int
    matched: int

    @property
    def recall(self) -> float:
        """Matched share, 0..1; NaN without ground-truth boxes."""
        return self.matched / self.objects if self.objects else float("nan")


@dataclass(frozen=True, eq=False)
class DefaultBoxRecall:
    """How well default boxes fit the ground-truth boxes of a data set.

    Attributes:
        class_names: L names.
        num_default_boxes: K.
        ground_truth: what was measured.
        best_ious: best IoU of each ground-truth box with any default box.
        fitting_boxes: number of default boxes whose IoU with each ground-truth box reaches the threshold.
        threshold: IoU from which a default box fits a ground-truth box.
    """

    class_names: tuple[str, ...]
    num_default_boxes: int
    ground_truth: GroundTruthBoxes
    best_ious: Float32[np.ndarray, " M"]
    fitting_boxes: Int64[np.ndarray, " M"]
    threshold: float

    @property
    def matched(self) -> Bool[np.ndarray, " M"]:
        """Which ground-truth boxes have a default box that fits."""
        return self.best_ious >= np.float32(self.threshold)

    @property
    def counts(self) -> Int64[np.ndarray, " L"]:
        """Ground-truth boxes of each class."""
        return np.bincount(self.ground_truth.labels, minlength=len(self.class_names))

    @property
    def per_class(self) -> Float[np.ndarray, " L"]:
        """Recall of each class, 0..1; NaN without ground-truth boxes."""
        return self._class_means(self.matched)

    @property
    def fitting_per_object(self) -> Float[np.ndarray, " L"]:
        """Mean number of fitting default boxes of a ground-truth box of each class; NaN without any."""
        return self._class_means(self.fitting_boxes)

    def _class_means(self, values: np.ndarray) -> Float[np.ndarray, " L"]:
        sums = np.bincount(self.ground_truth.labels, values, minlength=len(self.class_names))
        return np.where(self.counts > 0, sums / np.maximum(self.counts, 1), np.nan)

    @property
    def total(self) -> float:
        """Recall over all ground-truth boxes, 0..1; NaN without any."""
        return float(self.matched.mean()) if len(self.best_ious) else float("nan")

    @property
    def deciding(self) -> Int64[np.ndarray, " D"]:
        """Classes that decide: those of `LEAST_OBJECTS` objects or more; if none has so many, all that are present."""
        many = self.counts >= LEAST_OBJECTS
        return np.flatnonzero(many if many.any() else self.counts)

    @property
    def lowest(self) -> float:
        """Recall of the deciding class that has least; 0 without ground-truth boxes."""
        return float(self.per_class[self.deciding].min()) if len(self.best_ious) else 0.0

    @property
    def mean(self) -> float:
        """Mean recall of the deciding classes."""
        return float(self.per_class[self.deciding].mean())

    @property
    def mean_of_all(self) -> float:
        """Mean recall of all classes that have ground-truth boxes, however few."""
        return float(np.nanmean(self.per_class))

    def by_size(self) -> list[RecallBin]:
        """Recall in each of `SIZE_BINS`."""
        return self._bins(self.ground_truth.sizes, SIZE_BINS)

    def by_shape(self, input_size_hw: tuple[int, int]) -> list[RecallBin]:
        """Recall in each of `SHAPE_BINS`, in a network input of this height and width."""
        corners = self.ground_truth.boxes_xyxy
        sides = (corners[:, 2:] - corners[:, :2]) * input_size_hw[::-1]
        return self._bins(sides[:, 0] / sides[:, 1], SHAPE_BINS)

    def _bins(self, values: np.ndarray, edges: Sequence[float]) -> list[RecallBin]:
        places = np.digitize(values, edges[1:-1])
        counts, matched = (np.bincount(rows, minlength=len(edges) - 1) for rows in (places, places[self.matched]))
        return [
            RecallBin(low, high, int(counts[place]), int(matched[place]))
            for place, (low, high) in enumerate(pairwise(edges))
        ]

    def lines(self) -> list[str]:
        """For people: a line for each class that has objects (of many, those of least recall), and what is left out."""
        counts, recalls = self.counts, self.per_class
        present = np.flatnonzero(counts)
        shown = np.sort(present[np.argsort(recalls[present], kind="stable")[:CLASSES_NAMED]])
        lines = [
            f"{self.class_names[label]}: {whole_percent(recalls[label])} of {counts[label]} "
            f"{'ground-truth box has' if counts[label] == 1 else 'ground-truth boxes have'} "
            f"a default box of IoU >= {self.threshold:g}"
            for label in shown
        ]
        others = np.setdiff1d(present, shown)
        if len(others):
            lines.append(
                f"the other {len(others)} classes: at least {whole_percent(recalls[others].min())} of their objects"
            )
        if self.ground_truth.degenerate:
            lines.append(f"left out: {self.ground_truth.degenerate} ground-truth boxes without area")
        if self.ground_truth.unsized:
            lines.append(f"left out: {self.ground_truth.unsized} ground-truth boxes in images of unknown size")
        return lines


def learnable(annotations: Annotations) -> GroundTruthBoxes:
    """A data set's objects as fractions of their images; without crowds and degenerate boxes."""
    sizes_wh = np.repeat(annotations.sizes_wh, np.diff(annotations.starts), axis=0).reshape(-1, 2)
    sized = np.all(sizes_wh > 0, axis=1)
    single, usable = ~annotations.crowd, usable_in_set(annotations)
    keep = np.flatnonzero(single & sized & usable)
    boxes = annotations.boxes_xyxy[keep] / np.tile(sizes_wh[keep], 2).astype(np.float32)
    return GroundTruthBoxes(
        clip_boxes(boxes, width=1, height=1).astype(np.float32),
        annotations.labels[keep],
        degenerate=int(np.count_nonzero(single & ~usable)),
        unsized=int(np.count_nonzero(single & usable & ~sized)),
    )


def measure_recall(
    annotations: Annotations, default_boxes_xyxy: Float32[np.ndarray, "K 4"], *, threshold: float = IOU_THRESHOLD
) -> DefaultBoxRecall:
    """Recall of a data set's objects by default boxes, given as fractions of the image."""
    ground_truth = learnable(annotations)
    default_boxes = np.asfortranarray(default_boxes_xyxy, np.float32)
    count = len(ground_truth.labels)
    best, fitting = np.zeros(count, np.float32), np.zeros(count, np.int64)
    step = max(1, PAIRS_AT_ONCE // max(1, len(default_boxes)))
    for start in range(0, count if len(default_boxes) else 0, step):
        ious = pairwise_iou(ground_truth.boxes_xyxy[start : start + step], default_boxes)
        best[start : start + step] = ious.max(axis=1)
        fitting[start : start + step] = (ious >= np.float32(threshold)).sum(axis=1)
    return DefaultBoxRecall(annotations.class_names, len(default_boxes), ground_truth, best, fitting, threshold)


def sample_of(annotations: Annotations) -> tuple[Annotations, str]:
    """Evenly spaced images of a large set, with about `LARGEST_SAMPLE` objects, and a remark that says so."""
    every = -(-len(annotations.labels) // LARGEST_SAMPLE)
    if every <= 1:
        return annotations, ""
    sample = annotations.subset(range(0, len(annotations), every))
    return sample, f" (measured on {len(sample)} of {len(annotations)} images)"


def whole_percent(share: float) -> str:
    """Whole percent, rounded down: 100% means all."""
    return f"{int(100 * share + 1e-9)}%"
