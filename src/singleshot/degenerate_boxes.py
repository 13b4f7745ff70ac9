"""The one rule for which ground-truth boxes are usable: for training, `data check`, `stats`, box search and evaluation.

A box is degenerate, and is dropped, where a coordinate is not finite, where right < left or bottom < top (inverted),
where it has no area, or where nothing of it lies in the image. A box that sticks out is clipped to the image. What is
dropped and clipped is counted and reported.

Evaluation knows no borders (`width` and `height` None): VOC's and COCO's tools count a box that lies outside, too.
"""

from __future__ import annotations

import numpy as np

from singleshot.boxes import area
from singleshot.shapes import Bool, Float, Int8
from singleshot.types import Annotations

BOX_FAULTS = ("good", "not finite", "inverted", "zero area", "outside", "partly outside")
GOOD, NOT_FINITE, INVERTED, ZERO_AREA, OUTSIDE, PARTLY_OUTSIDE = range(6)
SLACK = 1e-4
"""Of the side: rounded fractions that end a hair beyond the border are no fault."""

Side = float | np.ndarray | None


def box_faults(
    boxes_xyxy: Float[np.ndarray, "n 4"], *, width: Side = None, height: Side = None
) -> Int8[np.ndarray, " n"]:
    """What is wrong with each box, an index into `BOX_FAULTS`.

    Args:
        boxes_xyxy: in the units of `width` and `height`.
        width: of the image, or of each box's image; infinite where it is not known; None: no box is outside.
        height: likewise.
    """
    finite = np.isfinite(boxes_xyxy).all(-1)
    boxes = np.where(finite[:, None], boxes_xyxy, 0)
    faults = np.full(len(boxes), GOOD, np.int8)
    if width is not None and height is not None:
        limits = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1)
        slack = np.where(np.isfinite(limits), SLACK * limits, 0)
        faults[((boxes < -slack) | (boxes > limits + slack)).any(-1)] = PARTLY_OUTSIDE
        faults[area(boxes.clip(0, limits)) == 0] = OUTSIDE
    faults[~(area(boxes) > 0)] = ZERO_AREA
    faults[(boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])] = INVERTED
    faults[~finite] = NOT_FINITE
    return faults


def usable_boxes(
    boxes_xyxy: Float[np.ndarray, "n 4"], *, width: Side = None, height: Side = None
) -> Bool[np.ndarray, " n"]:
    """Boxes that are not degenerate; those that stick out are usable once clipped. Arguments as of `box_faults`."""
    return np.isin(box_faults(boxes_xyxy, width=width, height=height), (GOOD, PARTLY_OUTSIDE))


def faults_of_set(annotations: Annotations) -> Int8[np.ndarray, " M"]:
    """`box_faults` of every box of a set, by the sizes that its annotations state."""
    width, height = _sides(annotations)
    return box_faults(annotations.boxes_xyxy, width=width, height=height)


def usable_in_set(annotations: Annotations) -> Bool[np.ndarray, " M"]:
    """`usable_boxes` of a set, by the sizes that its annotations state."""
    width, height = _sides(annotations)
    return usable_boxes(annotations.boxes_xyxy, width=width, height=height)


def count_box_faults(annotations: Annotations) -> dict[str, int]:
    """How many boxes training drops or clips, by fault; empty where all are good."""
    counts = np.bincount(faults_of_set(annotations), minlength=len(BOX_FAULTS))
    return {name: int(count) for name, count in zip(BOX_FAULTS, counts, strict=True) if count and name != "good"}


def _sides(annotations: Annotations) -> tuple[np.ndarray, np.ndarray]:
    """Width and height of each box's image; infinite where the annotation states none."""
    counts = np.diff(annotations.starts)
    sizes = np.where(annotations.sizes_wh > 0, annotations.sizes_wh, np.inf).repeat(counts, axis=0)
    return sizes[:, 0], sizes[:, 1]


def box_sides(annotations: Annotations) -> tuple[np.ndarray, np.ndarray]:
    """Width and height in pixels of the boxes that training uses, and of their images; both (m, 2)."""
    keep = usable_in_set(annotations) & ~annotations.crowd
    boxes = annotations.boxes_xyxy[keep]
    sizes = annotations.sizes_wh.repeat(np.diff(annotations.starts), axis=0)[keep]
    return boxes[:, 2:] - boxes[:, :2], sizes
