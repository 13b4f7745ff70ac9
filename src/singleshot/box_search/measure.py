"""How many objects have a default box that may learn them: the check that small objects are not lost without a word.

A object without a default box of IoU >= 0.5 gets at most one positive, from the one-to-one phase of the matching, and
hardly learns. Everything is in fractions of the image, because images are warped to the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from singleshot.boxes import area, clip_boxes, pairwise_iou
from singleshot.degenerate_boxes import usable_in_set
from singleshot.shapes import Float, Float32, Int64
from singleshot.types import Annotations

SIZE_BINS = (0.0, 0.05, 0.1, 0.2, 0.4, np.inf)
"""Edges of the size bins: the root of the area as a fraction of the image's."""
CLASSES_NAMED = 20
PAIRS_AT_ONCE = 1 << 19  # 2 MB a temporary array: what fits a processor's cache, and bounds the memory


@dataclass(frozen=True, eq=False)
class MeasuredGroundTruth:
    """The ground-truth boxes of a data set that can be measured, as fractions of their images.

    Attributes:
        boxes_xyxy: corners.
        labels: class of each, 0..L-1.
        degenerate: how many ground-truth boxes were left out because they have no area or are not finite.
        unsized: how many were left out because the set does not state their image's size.
    """

    boxes_xyxy: Float32[np.ndarray, "M 4"]
    labels: Int64[np.ndarray, " M"]
    degenerate: int
    unsized: int

    @property
    def sizes(self) -> Float32[np.ndarray, " M"]:
        """Root of the area, as a fraction of the image's."""
        return np.sqrt(area(self.boxes_xyxy))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Coverage:
    """How well a set of default boxes covers a set of objects; an object is covered by an IoU of `threshold` or more.

    Attributes:
        class_names: L names.
        threshold: the IoU that counts.
        num_default_boxes: K.
        ground_truth: number of measured ground-truth boxes of each class.
        covered: how many of them are covered.
        positives: default boxes of sufficient IoU an object, mean over each class (NaN without ground-truth boxes).
        ground_truth_by_size: number of measured ground-truth boxes in each of `SIZE_BINS`.
        covered_by_size: how many of them are covered.
        best_overlaps: best IoU of each measured ground-truth box.
        labels: class of each measured ground-truth box.
        boxes_xyxy: corners of each, as fractions of its image.
        degenerate: ground-truth boxes left out because they have no area or are not finite.
        unsized: ground-truth boxes left out because the set does not state their image's size.
    """

    class_names: tuple[str, ...]
    threshold: float
    num_default_boxes: int
    ground_truth: Int64[np.ndarray, " L"]
    covered: Int64[np.ndarray, " L"]
    positives: Float[np.ndarray, " L"]
    ground_truth_by_size: Int64[np.ndarray, " bins"]
    covered_by_size: Int64[np.ndarray, " bins"]
    best_overlaps: Float32[np.ndarray, " M"]
    labels: Int64[np.ndarray, " M"]
    boxes_xyxy: Float32[np.ndarray, "M 4"]
    degenerate: int
    unsized: int

    @property
    def shares(self) -> Float[np.ndarray, " L"]:
        """Covered share of each class, 0..1; NaN without ground-truth boxes."""
        return _share(self.covered, self.ground_truth)

    @property
    def share(self) -> float:
        """Covered share of all ground-truth boxes; NaN without ground-truth boxes."""
        return float(_share(self.covered.sum(), self.ground_truth.sum()))

    @property
    def shares_by_size(self) -> Float[np.ndarray, " bins"]:
        """Covered share in each of `SIZE_BINS`; NaN without ground-truth boxes."""
        return _share(self.covered_by_size, self.ground_truth_by_size)

    def lines(self) -> list[str]:
        """The same for people: one line a class that has objects, one more for each kind of ground-truth box left out.

        Of many classes, those that are covered least.
        """
        present = np.flatnonzero(self.ground_truth)
        shown = present
        if len(present) > CLASSES_NAMED:
            shown = np.sort(present[np.argsort(self.shares[present], kind="stable")[:CLASSES_NAMED]])
        lines = [
            f"{self.class_names[label]}: {percent(self.shares[label])} of {self.ground_truth[label]} "
            f"{_ground_truth(self.ground_truth[label])} a default box of IoU >= {self.threshold:g}"
            for label in shown
        ]
        if len(shown) < len(present):
            others = np.setdiff1d(present, shown)
            lines.append(
                f"the other {len(others)} classes: at least {percent(self.shares[others].min())} of their objects"
            )
        if self.degenerate:
            lines.append(f"left out: {self.degenerate} ground-truth boxes without area")
        if self.unsized:
            lines.append(f"left out: {self.unsized} ground-truth boxes in images of unknown size")
        return lines

    def size_lines(self) -> list[str]:
        """The same by size of the object: one line a bin that has ground-truth boxes."""
        lines = []
        for (low, high), covered, ground_truth in zip(
            pairwise(SIZE_BINS), self.covered_by_size, self.ground_truth_by_size, strict=True
        ):
            span = f"{low:.0%} to {high:.0%}" if np.isfinite(high) else f"above {low:.0%}"
            if ground_truth:
                lines.append(f"{span} of the image's side: {percent(covered / ground_truth)} of {ground_truth} objects")
        return lines


def measurable(annotations: Annotations) -> MeasuredGroundTruth:
    """A data set's objects as fractions of their images, without those that nobody can learn (crowds among them)."""
    sizes_wh = np.repeat(annotations.sizes_wh, np.diff(annotations.starts), axis=0).reshape(-1, 2)
    sized = np.all(sizes_wh > 0, axis=1)
    wanted, usable = ~annotations.crowd, usable_in_set(annotations)
    keep = np.flatnonzero(wanted & sized & usable)
    boxes = annotations.boxes_xyxy[keep] / np.tile(sizes_wh[keep], 2).astype(np.float32)
    return MeasuredGroundTruth(
        clip_boxes(boxes, width=1, height=1).astype(np.float32),
        annotations.labels[keep],
        degenerate=int(np.count_nonzero(wanted & ~usable)),
        unsized=int(np.count_nonzero(wanted & usable & ~sized)),
    )


def measure(
    annotations: Annotations, default_boxes_xyxy: Float32[np.ndarray, "K 4"], *, threshold: float = 0.5
) -> Coverage:
    """How well default boxes cover a data set.

    Args:
        annotations: the objects; crowds are no part of it, ground-truth boxes without area are left out and counted.
        default_boxes_xyxy: corners as fractions of the image.
        threshold: a ground-truth box is covered when a default box has this IoU with it or more.
    """
    ground_truth = measurable(annotations)
    default_boxes = np.asarray(default_boxes_xyxy, np.float32)
    best, positives = _overlaps(ground_truth.boxes_xyxy, default_boxes, threshold)
    hit = best >= np.float32(threshold)
    num_classes = len(annotations.class_names)
    counts = np.bincount(ground_truth.labels, minlength=num_classes)
    bins = np.digitize(ground_truth.sizes, SIZE_BINS[1:-1])
    return Coverage(
        class_names=annotations.class_names,
        threshold=threshold,
        num_default_boxes=len(default_boxes),
        ground_truth=counts,
        covered=np.bincount(ground_truth.labels[hit], minlength=num_classes),
        positives=_share(np.bincount(ground_truth.labels, positives, minlength=num_classes), counts),
        ground_truth_by_size=np.bincount(bins, minlength=len(SIZE_BINS) - 1),
        covered_by_size=np.bincount(bins[hit], minlength=len(SIZE_BINS) - 1),
        best_overlaps=best,
        labels=ground_truth.labels,
        boxes_xyxy=ground_truth.boxes_xyxy,
        degenerate=ground_truth.degenerate,
        unsized=ground_truth.unsized,
    )


def _overlaps(
    ground_truth: Float32[np.ndarray, "M 4"], default_boxes: Float32[np.ndarray, "K 4"], threshold: float
) -> tuple[Float32[np.ndarray, " M"], Int64[np.ndarray, " M"]]:
    """Best IoU of each object and how many default boxes reach the threshold, a few ground-truth boxes at a time."""
    best, positives = np.zeros(len(ground_truth), np.float32), np.zeros(len(ground_truth), np.int64)
    columns = np.asfortranarray(default_boxes)
    step = max(1, PAIRS_AT_ONCE // max(1, len(columns)))
    for start in range(0, len(ground_truth) if len(columns) else 0, step):
        overlaps = pairwise_iou(ground_truth[start : start + step], columns)
        best[start : start + step] = overlaps.max(axis=1)
        positives[start : start + step] = (overlaps >= np.float32(threshold)).sum(axis=1)
    return best, positives


def _share(part: np.ndarray, whole: np.ndarray) -> Float[np.ndarray, "..."]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def percent(share: float) -> str:
    """Whole percent, cut: 100% means all."""
    return f"{int(100 * share + 1e-9)}%"


def _ground_truth(count: int) -> str:
    return "ground-truth box has" if count == 1 else "ground-truth boxes have"
