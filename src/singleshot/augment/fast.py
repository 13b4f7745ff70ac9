"""The same random choices on fewer pixels: one resampling, and colours changed at the network's input size.

Differences from the exact pixels (`docs/deviations.md`): a JPEG larger than needed is decoded at a half, quarter or
eighth; the visible part is resized directly into its place on a canvas of the input size, rounded by at most half a
pixel; colours change after the resampling, not before; saturation and hue share one conversion to HSV and back; Lanczos
becomes cubic.
"""

from __future__ import annotations

import cv2
import numpy as np

from singleshot.augment.crop import Window
from singleshot.augment.expand import Canvas
from singleshot.augment.geometry import resize
from singleshot.augment.photometric import Step, apply_distortion, apply_in_hsv
from singleshot.shapes import UInt8

REDUCTIONS = (8, 4, 2)
"""Factors by which a JPEG decoder can shrink."""


def reduction(window: Window, input_size_hw: tuple[int, int]) -> int:
    """By what factor the image may be decoded smaller without enlarging it again."""
    spare = min(have / need for have, need in zip(window.size_hw, input_size_hw, strict=True))
    return next((factor for factor in REDUCTIONS if factor <= spare), 1)


def cut_resized(
    image: UInt8[np.ndarray, "h w 3"],
    canvas: Canvas,
    window: Window,
    mean_rgb: tuple[float, float, float],
    steps: tuple[Step, ...],
    interpolation: str,
    input_size_hw: tuple[int, int],
) -> UInt8[np.ndarray, "H W 3"]:
    """The window of the canvas at the input size; the image may have been decoded smaller than `canvas.image_hw`."""
    source, target = [], []
    for axis, (first, last, offset) in enumerate(
        ((window.top, window.bottom, canvas.top), (window.left, window.right, canvas.left))
    ):
        whole, stored, wanted = canvas.image_hw[axis], image.shape[axis], input_size_hw[axis]
        start, stop = max(first, offset), min(last, offset + whole)
        if start >= stop:
            source.append(slice(0, 0))
            target.append(slice(0, 0))
            continue
        scale = wanted / (last - first)
        begin = min(round((start - first) * scale), wanted - 1)
        target.append(slice(begin, max(round((stop - first) * scale), begin + 1)))
        begin = min(round((start - offset) * stored / whole), stored - 1)
        source.append(slice(begin, max(round((stop - offset) * stored / whole), begin + 1)))
    size = target[0].stop - target[0].start, target[1].stop - target[1].start
    if 0 in size:
        return _canvas(input_size_hw, mean_rgb)
    seen = resize(image[source[0], source[1]], size, "cubic" if interpolation == "lanczos" else interpolation)
    seen = _distorted(seen, steps)
    if size == input_size_hw:
        return seen
    result = _canvas(input_size_hw, mean_rgb)
    result[target[0], target[1]] = seen
    return result


def _canvas(size_hw: tuple[int, int], mean_rgb: tuple[float, float, float]) -> UInt8[np.ndarray, "H W 3"]:
    canvas = np.empty((*size_hw, 3), np.uint8)
    canvas[:] = np.rint(mean_rgb).astype(np.uint8)
    return canvas


def _distorted(image: UInt8[np.ndarray, "h w 3"], steps: tuple[Step, ...]) -> UInt8[np.ndarray, "h w 3"]:
    names = [name for name, _ in steps]
    if "saturation" not in names or "hue" not in names:
        return apply_distortion(image, steps)
    first = names.index("saturation")  # hue follows it in both orders
    image = apply_distortion(image, steps[:first])
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    for step in steps[first : first + 2]:
        apply_in_hsv(hsv, step)
    image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv))
    return apply_distortion(image, steps[first + 2 :])
