"""Resize to the network's input, proportions not kept, by one of five interpolations (Caffe ApplyResize, WARP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt8

CODES = {
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def resize(
    picture: UInt8[np.ndarray, "H W 3"], size_hw: tuple[int, int], interpolation: str
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture at this height and width."""
    return np.asarray(cv2.resize(picture, size_hw[::-1], interpolation=CODES[interpolation]))
