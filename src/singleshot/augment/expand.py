"""Expand: the image somewhere on a larger canvas of the mean colour (Caffe data_transformer.cpp, ExpandImage).

This is the zoom-out that makes small objects (the paper's section 3.6, "*" in its table 6). The canvas has up to 16
times the image's area, so `cut` builds only the part of it that is in the crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from singleshot.augment.crop import Window
from singleshot.augment.settings import AugmentSettings
from singleshot.shapes import Float32, UInt8


@dataclass(frozen=True)
class Canvas:
    """Where an image lies on its canvas, in pixels.

    Attributes:
        image_hw: height and width of the image.
        size_hw: height and width of the canvas.
        top: row of the canvas that holds the image's first row.
        left: column of the canvas that holds the image's first column.
    """

    image_hw: tuple[int, int]
    size_hw: tuple[int, int]
    top: int = 0
    left: int = 0

    @property
    def frame_xyxy(self) -> Float32[np.ndarray, " 4"]:
        """The canvas in fractions of the image; it reaches beyond [0, 1]."""
        height, width = self.image_hw
        right, bottom = self.size_hw[1] - self.left, self.size_hw[0] - self.top
        pixels = np.array([-self.left, -self.top, right, bottom], np.float32)
        return pixels / np.array([width, height, width, height], np.float32)

    @property
    def frames(self) -> tuple[Float32[np.ndarray, " 4"], ...]:
        """The canvas as a frame for ground-truth boxes; empty where the image was not expanded."""
        return () if self.size_hw == self.image_hw else (self.frame_xyxy,)


def draw_canvas(image_hw: tuple[int, int], generator: np.random.Generator, settings: AugmentSettings) -> Canvas:
    """The image itself, or with `expand_probability` a canvas of 1 to `max_expand_ratio` times its sides."""
    # Caffe does not expand for a greatest ratio within 1e-2 of 1.
    if generator.random() >= settings.expand_probability or settings.max_expand_ratio - 1 < 1e-2:
        return Canvas(image_hw, image_hw)
    return place(image_hw, generator.uniform(1, settings.max_expand_ratio), generator)


def place(image_hw: tuple[int, int], ratio: float, generator: np.random.Generator) -> Canvas:
    """A canvas of `ratio` times the image's sides, with the image anywhere on it; all in whole pixels."""
    height, width = (int(side * ratio) for side in image_hw)
    top = int(generator.uniform(0, height - image_hw[0]))
    left = int(generator.uniform(0, width - image_hw[1]))
    return Canvas(image_hw, (height, width), top, left)


def expand(
    image: UInt8[np.ndarray, "H W 3"], canvas: Canvas, mean_rgb: tuple[float, float, float]
) -> UInt8[np.ndarray, "h w 3"]:
    """The whole canvas with the image on it."""
    return _on_border(image, canvas.size_hw, (canvas.top, canvas.left), mean_rgb)


def cut(
    image: UInt8[np.ndarray, "H W 3"],
    canvas: Canvas,
    window: Window,
    mean_rgb: tuple[float, float, float],
    change: Callable[[UInt8[np.ndarray, "a b 3"]], UInt8[np.ndarray, "a b 3"]],
) -> UInt8[np.ndarray, "h w 3"]:
    """The window of the canvas, without building the canvas.

    Law: equal to `window.of(expand(change(image), canvas, mean_rgb))` where `change` works on single pixels; it is
    called with the visible part of the image only. (OpenCV's way back from HSV rounds the last pixels of a row, fewer
    than 32, differently by a level: there the two differ, as two widths of the same image do.)
    """
    height, width = canvas.image_hw
    top, bottom = (min(max(row - canvas.top, 0), height) for row in (window.top, window.bottom))
    left, right = (min(max(column - canvas.left, 0), width) for column in (window.left, window.right))
    seen = image[top:bottom, left:right]
    if seen.shape[:2] == window.size_hw:
        return change(seen)
    if not seen.size:
        return _filled(window.size_hw, mean_rgb)
    above, before = canvas.top + top - window.top, canvas.left + left - window.left
    return _on_border(change(seen), window.size_hw, (above, before), mean_rgb)


def _on_border(
    image: UInt8[np.ndarray, "H W 3"],
    size_hw: tuple[int, int],
    place: tuple[int, int],
    mean_rgb: tuple[float, float, float],
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with its first pixel at this row and column of a canvas of the mean colour."""
    (height, width), (above, before) = size_hw, place
    below, behind = height - above - image.shape[0], width - before - image.shape[1]
    border = (above, below, before, behind, cv2.BORDER_CONSTANT)
    return np.asarray(cv2.copyMakeBorder(image, *border, value=np.rint(mean_rgb).tolist()))


def _filled(size_hw: tuple[int, int], mean_rgb: tuple[float, float, float]) -> UInt8[np.ndarray, "h w 3"]:
    """A patch of the mean colour."""
    return _on_border(np.full((1, 1, 3), np.rint(mean_rgb), np.uint8), size_hw, (0, 0), mean_rgb)
