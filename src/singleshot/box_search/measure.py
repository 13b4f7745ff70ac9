"""How many truths have a default box that may learn them: the check that small objects are not lost without a word.

A truth without a default box of IoU >= 0.5 gets at most one positive, from the one-to-one phase of the matching, and
hardly learns. Everything is in fractions of the picture, because pictures are warped to the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from singleshot.boxes import area, pairwise_iou
from singleshot.shapes import Float, Float32, Int64
from singleshot.types import Annotations

SIZE_BINS = (0.0, 0.05, 0.1, 0.2, 0.4, np.inf)
"""Edges of the size bins: the root of the area as a fraction of the picture's."""
CLASSES_NAMED = 20
PAIRS_AT_ONCE = 1 << 19  # 2 MB a temporary array: what fits a processor's cache, and bounds the memory


@dataclass(frozen=True, eq=False)
class MeasuredTruths:
    """The truths of a data set that can be measured, as fractions of their pictures.

    Attributes:
        boxes_xyxy: corners.
        labels: class of each, 0..L-1.
        degenerate: how many truths were left out because they have no area or are not finite.
        unsized: how many were left out because the set does not state their picture's size.
    """

    boxes_xyxy: Float32[np.ndarray, "M 4"]
    labels: Int64[np.ndarray, " M"]
    degenerate: int
    unsized: int

    @property
    def sizes(self) -> Float32[np.ndarray, " M"]:
        """Root of the area, as a fraction of the picture's."""
        return np.sqrt(area(self.boxes_xyxy))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Coverage:
    """How well a set of default boxes covers a set of truths; a truth is covered by an IoU of `threshold` or more.

    Attributes:
        class_names: L names.
        threshold: the IoU that counts.
        num_default_boxes: K.
        truths: number of measured truths of each class.
        covered: how many of them are covered.
        positives: default boxes of sufficient IoU a truth, mean over each class (NaN without truths).
        truths_by_size: number of measured truths in each of `SIZE_BINS`.
        covered_by_size: how many of them are covered.
        best_overlaps: best IoU of each measured truth.
        labels: class of each measured truth.
        boxes_xyxy: corners of each, as fractions of its picture.
        degenerate: truths left out because they have no area or are not finite.
        unsized: truths left out because the set does not state their picture's size.
    """

    class_names: tuple[str, ...]
    threshold: float
    num_default_boxes: int
    truths: Int64[np.ndarray, " L"]
    covered: Int64[np.ndarray, " L"]
    positives: Float[np.ndarray, " L"]
    truths_by_size: Int64[np.ndarray, " bins"]
    covered_by_size: Int64[np.ndarray, " bins"]
    best_overlaps: Float32[np.ndarray, " M"]
    labels: Int64[np.ndarray, " M"]
    boxes_xyxy: Float32[np.ndarray, "M 4"]
    degenerate: int
    unsized: int

    @property
    def shares(self) -> Float[np.ndarray, " L"]:
        """Covered share of each class, 0..1; NaN without truths."""
        return _share(self.covered, self.truths)

    @property
    def share(self) -> float:
        """Covered share of all truths; NaN without truths."""
        return float(_share(self.covered.sum(), self.truths.sum()))

    @property
    def shares_by_size(self) -> Float[np.ndarray, " bins"]:
        """Covered share in each of `SIZE_BINS`; NaN without truths."""
        return _share(self.covered_by_size, self.truths_by_size)

    def lines(self) -> list[str]:
        """The same for people: one line a class that has truths, one more for each kind of truth left out.

        Of many classes, those that are covered least.
        """
        present = np.flatnonzero(self.truths)
        shown = present
        if len(present) > CLASSES_NAMED:
            shown = np.sort(present[np.argsort(self.shares[present], kind="stable")[:CLASSES_NAMED]])
        lines = [
            f"{self.class_names[label]}: {percent(self.shares[label])} of {self.truths[label]} "
            f"{_truths(self.truths[label])} a default box of IoU >= {self.threshold:g}"
            for label in shown
        ]
        if len(shown) < len(present):
            others = np.setdiff1d(present, shown)
            lines.append(
                f"the other {len(others)} classes: at least {percent(self.shares[others].min())} of their truths"
            )
        if self.degenerate:
            lines.append(f"left out: {self.degenerate} truths without area")
        if self.unsized:
            lines.append(f"left out: {self.unsized} truths in pictures of unknown size")
        return lines

    def size_lines(self) -> list[str]:
        """The same by size of the object: one line a bin that has truths."""
        lines = []
        for (low, high), covered, truths in zip(
            pairwise(SIZE_BINS), self.covered_by_size, self.truths_by_size, strict=True
        ):
            span = f"{low:.0%} to {high:.0%}" if np.isfinite(high) else f"above {low:.0%}"
            if truths:
                lines.append(f"{span} of the picture's side: {percent(covered / truths)} of {truths} truths")
        return lines


def measurable(annotations: Annotations) -> MeasuredTruths:
    """A data set's truths as fractions of their pictures, without those that nobody can learn (crowds among them)."""
    sizes_wh = np.repeat(annotations.sizes_wh, np.diff(annotations.starts), axis=0).reshape(-1, 2)
    sized = np.all(sizes_wh > 0, axis=1)
    wanted = ~annotations.crowd
    scale = np.where(sized[:, None], sizes_wh, 1).astype(np.float32)
    boxes = annotations.boxes_xyxy / np.concatenate([scale, scale], axis=1)
    proper = np.isfinite(boxes).all(axis=1) & np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    keep = np.flatnonzero(wanted & sized & proper)
    return MeasuredTruths(
        boxes[keep].astype(np.float32),
        annotations.labels[keep],
        degenerate=int(np.count_nonzero(wanted & ~proper)),
        unsized=int(np.count_nonzero(wanted & proper & ~sized)),
    )


def measure(
    annotations: Annotations, default_boxes_xyxy: Float32[np.ndarray, "K 4"], *, threshold: float = 0.5
) -> Coverage:
    """How well default boxes cover a data set.

    Args:
        annotations: the truths; crowds are no part of it, truths without area are left out and counted.
        default_boxes_xyxy: corners as fractions of the picture.
        threshold: a truth is covered when a default box has this IoU with it or more.
    """
    truths = measurable(annotations)
    default_boxes = np.asarray(default_boxes_xyxy, np.float32)
    best, positives = _overlaps(truths.boxes_xyxy, default_boxes, threshold)
    hit = best >= np.float32(threshold)
    num_classes = len(annotations.class_names)
    counts = np.bincount(truths.labels, minlength=num_classes)
    bins = np.digitize(truths.sizes, SIZE_BINS[1:-1])
    return Coverage(
        class_names=annotations.class_names,
        threshold=threshold,
        num_default_boxes=len(default_boxes),
        truths=counts,
        covered=np.bincount(truths.labels[hit], minlength=num_classes),
        positives=_share(np.bincount(truths.labels, positives, minlength=num_classes), counts),
        truths_by_size=np.bincount(bins, minlength=len(SIZE_BINS) - 1),
        covered_by_size=np.bincount(bins[hit], minlength=len(SIZE_BINS) - 1),
        best_overlaps=best,
        labels=truths.labels,
        boxes_xyxy=truths.boxes_xyxy,
        degenerate=truths.degenerate,
        unsized=truths.unsized,
    )


def _overlaps(
    truths: Float32[np.ndarray, "M 4"], default_boxes: Float32[np.ndarray, "K 4"], threshold: float
) -> tuple[Float32[np.ndarray, " M"], Int64[np.ndarray, " M"]]:
    """Best IoU of each truth and how many default boxes reach the threshold, a few truths at a time."""
    best, positives = np.zeros(len(truths), np.float32), np.zeros(len(truths), np.int64)
    columns = np.asfortranarray(default_boxes)
    step = max(1, PAIRS_AT_ONCE // max(1, len(columns)))
    for start in range(0, len(truths) if len(columns) else 0, step):
        overlaps = pairwise_iou(truths[start : start + step], columns)
        best[start : start + step] = overlaps.max(axis=1)
        positives[start : start + step] = (overlaps >= np.float32(threshold)).sum(axis=1)
    return best, positives


def _share(part: np.ndarray, whole: np.ndarray) -> Float[np.ndarray, "..."]:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def percent(share: float) -> str:
    """Whole percent, cut: 100% means all."""
    return f"{int(100 * share + 1e-9)}%"


def _truths(count: int) -> str:
    return "truth has" if count == 1 else "truths have"
