"""The rule about bad boxes, for training, checking and the reports alike.

A box is dropped where a coordinate is not finite, where right < left or bottom < top (inverted), where it has no area,
or where nothing of it lies in the image; a box that sticks out is clipped to the image. What is dropped and clipped
is counted, never silent.
"""

from __future__ import annotations

import numpy as np

from singleshot.boxes import area
from singleshot.shapes import Bool, Float, Int8
from singleshot.types import Annotations

VERDICTS = ("good", "not finite", "inverted", "zero area", "outside", "partly outside")
GOOD, NOT_FINITE, INVERTED, ZERO_AREA, OUTSIDE, PARTLY_OUTSIDE = range(6)
SLACK = 1e-4  # of the side: rounded fractions that end a hair beyond the edge are no fault


def judge_boxes(
    boxes_xyxy: Float[np.ndarray, "n 4"], *, width: float | np.ndarray, height: float | np.ndarray
) -> Int8[np.ndarray, " n"]:
    """The verdict on each box, an index into `VERDICTS`.

    Args:
        boxes_xyxy: in the units of `width` and `height`.
        width: of the image, or of each box's image; infinite where it is not known.
        height: likewise.
    """
    finite = np.isfinite(boxes_xyxy).all(-1)
    boxes = np.where(finite[:, None], boxes_xyxy, 0)
    limits = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1)
    slack = np.where(np.isfinite(limits), SLACK * limits, 0)
    inverted = (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    sticks_out = ((boxes < -slack) | (boxes > limits + slack)).any(-1)
    verdicts = np.full(len(boxes), GOOD, np.int8)
    verdicts[sticks_out] = PARTLY_OUTSIDE
    verdicts[area(boxes.clip(0, limits)) == 0] = OUTSIDE
    verdicts[area(boxes) == 0] = ZERO_AREA
    verdicts[inverted] = INVERTED
    verdicts[~finite] = NOT_FINITE
    return verdicts


def usable(verdicts: Int8[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Boxes that training keeps, after clipping."""
    return np.isin(verdicts, (GOOD, PARTLY_OUTSIDE))


def judge_set(annotations: Annotations) -> Int8[np.ndarray, " M"]:
    """The verdict on every box of a set, by the sizes that its annotations state."""
    counts = np.diff(annotations.starts)
    sizes = np.where(annotations.sizes_wh > 0, annotations.sizes_wh, np.inf).repeat(counts, axis=0)
    return judge_boxes(annotations.boxes_xyxy, width=sizes[:, 0], height=sizes[:, 1])


def count_bad_boxes(annotations: Annotations) -> dict[str, int]:
    """How many boxes training drops or clips, by verdict; empty where all are good."""
    counts = np.bincount(judge_set(annotations), minlength=len(VERDICTS))
    return {name: int(count) for name, count in zip(VERDICTS, counts, strict=True) if count and name != "good"}
