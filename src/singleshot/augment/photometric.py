"""Distort: brightness, contrast, saturation and hue in 8-bit arithmetic (Caffe im_transforms.cpp, ApplyDistortImage).

A picture's distortion is drawn first and applied later: each step works on single pixels, so it may as well be applied
to the part of the picture that a crop leaves over. Pictures are RGB here and BGR in Caffe; the results are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from singleshot.augment.settings import AugmentSettings

_VALUES = np.arange(256, dtype=np.float32)

Step = tuple[str, float]  # which adjustment, and by how much


def distort(
    picture: UInt8[np.ndarray, "H W 3"], generator: np.random.Generator, settings: AugmentSettings
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture under a random distortion: `draw_distortion`, then `apply_distortion`."""
    return apply_distortion(picture, draw_distortion(generator, settings))


def draw_distortion(generator: np.random.Generator, settings: AugmentSettings) -> tuple[Step, ...]:
    """Which adjustments, in which order, by how much.

    Each has its own probability; contrast stands behind brightness or at the end, by a coin. Hue and saturation work in
    HSV, where contrast does not commute with them, hence the two orders (section 2.2 of the paper cites Howard's).
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


def apply_distortion(picture: UInt8[np.ndarray, "H W 3"], steps: tuple[Step, ...]) -> UInt8[np.ndarray, "H W 3"]:
    """The adjustments one after the other; brightness and contrast next to each other share one pass."""
    table = None
    for name, amount in steps:
        if name in {"brightness", "contrast"}:
            step = brightness_table(amount) if name == "brightness" else contrast_table(amount)
            table = step if table is None else step[table]
            continue
        if table is not None:
            picture, table = cv2.LUT(picture, table), None
        picture = _ADJUSTMENTS[name](picture, amount)
    return picture if table is None else cv2.LUT(picture, table)


def adjust_brightness(picture: UInt8[np.ndarray, "H W 3"], delta: float) -> UInt8[np.ndarray, "H W 3"]:
    """Pixel + delta, rounded and saturated."""
    return np.asarray(cv2.LUT(picture, brightness_table(delta)))


def adjust_contrast(picture: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """Pixel x factor: about black, not about the mean; nothing within 1e-3 of 1."""
    return np.asarray(cv2.LUT(picture, contrast_table(factor)))


def adjust_saturation(picture: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """S x factor in 8-bit HSV. A factor of 1 is no identity: the way to HSV and back rounds."""
    return _in_hsv(picture, 1, _table(_VALUES * np.float32(factor)))


def adjust_hue(picture: UInt8[np.ndarray, "H W 3"], delta: float) -> UInt8[np.ndarray, "H W 3"]:
    """H + delta in 8-bit HSV, where H is 0..180; nothing for 0.

    Caffe adds in 8 bits: what falls below 0 becomes 0 (red) and does not wrap, what rises above 180 wraps.
    """
    return picture if delta == 0 else _in_hsv(picture, 0, _table(_VALUES + np.float32(delta)))


def shuffle_channels(picture: UInt8[np.ndarray, "H W 3"], number: float) -> UInt8[np.ndarray, "H W 3"]:
    """One of the six orders of the channels (RandomOrderChannels)."""
    orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return np.asarray(np.stack([picture[..., channel] for channel in orders[int(number)]], axis=-1))


def brightness_table(delta: float) -> UInt8[np.ndarray, " 256"]:
    """What each pixel value becomes."""
    return _table(_VALUES + np.float32(delta))


def contrast_table(factor: float) -> UInt8[np.ndarray, " 256"]:
    """What each pixel value becomes."""
    return _table(_VALUES * np.float32(1 if abs(factor - 1) <= 1e-3 else factor))


_ADJUSTMENTS = {"saturation": adjust_saturation, "hue": adjust_hue, "shuffle": shuffle_channels}


def _table(values: np.ndarray) -> UInt8[np.ndarray, " 256"]:
    """Round half to even and saturate, as OpenCV's saturate_cast does."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _in_hsv(
    picture: UInt8[np.ndarray, "H W 3"], channel: int, table: UInt8[np.ndarray, " 256"]
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with one channel of its 8-bit HSV sent through a table."""
    tables = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    tables[:, channel] = table
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    cv2.LUT(hsv, tables.reshape(1, 256, 3), dst=hsv)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv))
