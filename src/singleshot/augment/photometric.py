"""Distort: brightness, contrast, saturation and hue in 8-bit arithmetic (Caffe im_transforms.cpp, ApplyDistortImage).

An image's distortion is drawn first and applied later: each step works on single pixels, so it can be applied to the
crop alone. Images are RGB here and BGR in Caffe; the results are the same.
"""

from __future__ import annotations

import cv2
import numpy as np

from singleshot.augment.settings import AugmentSettings
from singleshot.shapes import UInt8

Step = tuple[str, float]  # which adjustment, and by how much


def draw_distortion(generator: np.random.Generator, settings: AugmentSettings) -> tuple[Step, ...]:
    """Which adjustments, in which order, by how much.

    Each has its own probability; contrast follows brightness or comes last, with equal probability. Hue and
    saturation work in HSV, where contrast does not commute with them, hence the two orders (section 2.2 of the paper
    cites Howard's).
    """
    contrast_last = generator.random() < 0.5
    deltas = {
        "brightness": (settings.brightness_probability, -settings.brightness_delta, settings.brightness_delta),
        "contrast": (settings.contrast_probability, *settings.contrast_range),
        "saturation": (settings.saturation_probability, *settings.saturation_range),
        "hue": (settings.hue_probability, -settings.hue_delta, settings.hue_delta),
        "shuffle": (settings.shuffle_probability, 0.0, 6.0),
    }
    order = ["brightness", "contrast", "saturation", "hue", "shuffle"]
    if contrast_last:
        order = ["brightness", "saturation", "hue", "contrast", "shuffle"]
    steps = []
    for name in order:
        probability, low, high = deltas[name]
        drawn, share = generator.random(2)
        if drawn < probability:
            steps.append((name, low + share * (high - low)))
    return tuple(steps)


def apply_distortion(image: UInt8[np.ndarray, "H W 3"], steps: tuple[Step, ...]) -> UInt8[np.ndarray, "H W 3"]:
    """The adjustments one after the other."""
    for name, amount in steps:
        image = _ADJUSTMENTS[name](image, amount)
    return image


def adjust_brightness(image: UInt8[np.ndarray, "H W 3"], delta: float) -> UInt8[np.ndarray, "H W 3"]:
    """Pixel + delta, rounded and saturated."""
    return _shifted(image, delta)


def adjust_contrast(image: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """Pixel x factor: about black, not about the mean; no change within 1e-3 of 1."""
    return image if abs(factor - 1) <= 1e-3 else _scaled(image, factor)


def adjust_saturation(image: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """S x factor in 8-bit HSV. A factor of 1 is not the identity: the conversion to HSV and back rounds."""
    return _in_hsv(image, ("saturation", factor))


def adjust_hue(image: UInt8[np.ndarray, "H W 3"], delta: float) -> UInt8[np.ndarray, "H W 3"]:
    """H + delta in 8-bit HSV, where H is 0..180; no change for 0.

    Caffe adds in 8 bits: what falls below 0 becomes 0 (red) and does not wrap, what rises above 180 wraps.
    """
    return image if delta == 0 else _in_hsv(image, ("hue", delta))


def shuffle_channels(image: UInt8[np.ndarray, "H W 3"], number: float) -> UInt8[np.ndarray, "H W 3"]:
    """One of the six orders of the channels, numbered 0 up to 6 (RandomOrderChannels)."""
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return np.asarray(np.stack([image[..., channel] for channel in orders[int(number)]], axis=-1))


_ADJUSTMENTS = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
    "shuffle": shuffle_channels,
}


def _shifted(values: UInt8[np.ndarray, "..."], delta: float) -> UInt8[np.ndarray, "..."]:
    """Values + delta, rounded half to even and saturated (cv::Mat::convertTo); twice as fast as a table."""
    return np.asarray(cv2.addWeighted(values, 1, values, 0, delta))


def _scaled(values: UInt8[np.ndarray, "..."], factor: float) -> UInt8[np.ndarray, "..."]:
    """Values x factor, not negative, rounded half to even and saturated."""
    return np.asarray(cv2.convertScaleAbs(values, alpha=factor))


def _in_hsv(image: UInt8[np.ndarray, "H W 3"], step: Step) -> UInt8[np.ndarray, "H W 3"]:
    """The image with one channel of its 8-bit HSV changed."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    apply_in_hsv(hsv, step)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv))


def apply_in_hsv(hsv: np.ndarray, step: Step) -> None:
    """Saturation or hue, on an image that already is 8-bit HSV, in place."""
    name, amount = step
    channel, change = (1, _scaled) if name == "saturation" else (0, _shifted)
    cv2.insertChannel(change(cv2.extractChannel(hsv, channel), amount), hsv, channel)
