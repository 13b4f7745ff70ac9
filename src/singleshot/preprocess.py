"""From a decoded image to the network's input: resize, subtract the mean, order the channels.

`to_network_input` is Caffe's test transform (DataTransformer with `resize_mode: WARP` and `interp_mode: LINEAR`).
"""

from __future__ import annotations

import cv2
import numpy as np

from singleshot.shapes import Float32, UInt8
from singleshot.spec import Preprocess

LEAST_CONTRAST = 8
"""Levels of 0 .. 255: with no more between the least and the greatest value of each channel, an image shows nothing."""


def to_network_input(
    image: UInt8[np.ndarray, "H W 3"], input_size_hw: tuple[int, int], preprocess: Preprocess
) -> Float32[np.ndarray, "3 h w"]:
    """The test transform: bilinear resize of the 8-bit image (proportions are not kept), then `normalise`."""
    height, width = input_size_hw
    if image.shape[:2] != input_size_hw:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return normalise(image, preprocess)


def has_contrast(image: UInt8[np.ndarray, "H W 3"]) -> bool:
    """Whether anything can be seen in an image: the values of a channel differ by more than `LEAST_CONTRAST` levels.

    No network learns what a lens cap or a uniform surface looks like, and what it makes of one is arbitrary.
    """
    for part in (image[::16, ::16], image):  # nearly every image shows it in its first 256th
        low, high = part.min(axis=(0, 1)).astype(int), part.max(axis=(0, 1)).astype(int)
        if (high - low > LEAST_CONTRAST).any():
            return True
    return False


def normalise(image: UInt8[np.ndarray, "H W 3"], preprocess: Preprocess) -> Float32[np.ndarray, "3 H W"]:
    """(pixel - mean) / std for each channel, in the network's channel order, channels first; float32 arithmetic."""
    mean, std = np.array([preprocess.mean_rgb, preprocess.std_rgb], np.float32)
    planes = np.empty((3, *image.shape[:2]), np.float32)
    order = (0, 1, 2) if preprocess.channel_order == "rgb" else (2, 1, 0)
    # Plane by plane: five times as fast as one expression for the interleaved image.
    channels = cv2.split(image)
    for plane, channel in zip(planes, order, strict=True):
        np.subtract(channels[channel], mean[channel], out=plane, dtype=np.float32)
        if std[channel] != 1:
            plane /= std[channel]
    return planes
