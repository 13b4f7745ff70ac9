"""The rule about bad boxes, for training, checking and the reports alike.

A box is dropped where a coordinate is not finite, where right < left or bottom < top (inverted), where it has no area,
or where nothing of it lies in the picture; a box that sticks out is clipped to the picture. What is dropped and clipped
is counted, never silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from singleshot.boxes import area, clip_boxes

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int8

VERDICTS = ("good", "not finite", "inverted", "zero area", "outside", "partly outside")
GOOD, NOT_FINITE, INVERTED, ZERO_AREA, OUTSIDE, PARTLY_OUTSIDE = range(6)


def judge_boxes(boxes_xyxy: Float[np.ndarray, "n 4"], *, width: float, height: float) -> Int8[np.ndarray, " n"]:
    """The verdict on each box, an index into `VERDICTS`.

    Args:
        boxes_xyxy: in the units of `width` and `height`.
        width: of the picture; infinite where it is not known.
        height: likewise.
    """
    finite = np.isfinite(boxes_xyxy).all(-1)
    boxes = np.where(finite[:, None], boxes_xyxy, 0)
    clipped = clip_boxes(boxes, width=width, height=height)
    inverted = (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    conditions = [~finite, inverted, area(boxes) == 0, area(clipped) == 0, (clipped != boxes).any(-1)]
    verdicts: np.ndarray = np.select(conditions, list(range(1, 6)), default=GOOD)
    return verdicts.astype(np.int8)


def usable(verdicts: Int8[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Boxes that training keeps, after clipping."""
    return (verdicts == GOOD) | (verdicts == PARTLY_OUTSIDE)
