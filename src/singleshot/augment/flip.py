"""Mirror a picture and its truths; twice is the identity."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2

from singleshot.boxes import flip_horizontally

if TYPE_CHECKING:
    from singleshot.types import Sample


def mirror(sample: Sample) -> Sample:
    """Left becomes right."""
    return replace(
        sample, picture=cv2.flip(sample.picture, 1), boxes_xyxy=flip_horizontally(sample.boxes_xyxy, width=1)
    )
