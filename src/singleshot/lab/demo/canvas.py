"""A transparent canvas in unit coordinates: what the demonstration's objects are drawn on, edges smoothed by area."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from singleshot.shapes import Bool, Float, Float32

MARGIN = 1.15
"""The canvas covers [-MARGIN, MARGIN] both ways; objects keep to about [-1, 1]."""
_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates: a sixteenth of a pixel


@dataclass(frozen=True, eq=False)
class Sprite:
    """A drawn object: colour 0..1 already multiplied by the opacity 0..1."""

    colour: Float32[np.ndarray, "h w 3"]
    opacity: Float32[np.ndarray, "h w"]


class Canvas:
    """Draws at two to four times the final size; `finish` averages that away.

    Args:
        size: pixels that two units (-1 to 1) have in the finished sprite.
    """

    def __init__(self, size: float) -> None:
        self.factor = 4 if size < 50 else 2
        self.side = int(np.ceil(size * MARGIN))
        self.scale = self.side * self.factor / (2 * MARGIN)
        drawn = self.side * self.factor
        self.colour = np.zeros((drawn, drawn, 3), np.float32)
        self.opacity = np.zeros((drawn, drawn), np.float32)
        axis = ((np.arange(drawn, dtype=np.float32) + 0.5) / self.scale - MARGIN).astype(np.float32)
        self.x, self.y = np.meshgrid(axis, axis)

    def paint(self, where: Bool[np.ndarray, "D D"], colours: Float32[np.ndarray, "D D 3"]) -> None:
        """Cover pixels, each with its own colour."""
        np.copyto(self.colour, colours, where=where[..., None])
        self.opacity[where] = 1

    def fill(self, outline: Float[np.ndarray, "n 2"], colour: Float[np.ndarray, " 3"]) -> None:
        """Cover a polygon with one colour."""
        points = [self._fixed_point(outline)]
        cv2.fillPoly(self.colour, points, [float(channel) for channel in colour], shift=_FRACTION_BITS)
        cv2.fillPoly(self.opacity, points, 1.0, shift=_FRACTION_BITS)

    def stroke(self, points: Float[np.ndarray, "n 2"], width: float, colour: Float[np.ndarray, " 3"]) -> None:
        """Draw a line with round ends, `width` in units."""
        lines, thickness = [self._fixed_point(points)], max(1, round(width * self.scale))
        closed, line_type = False, cv2.LINE_8
        channels = [float(channel) for channel in colour]
        cv2.polylines(self.colour, lines, closed, channels, thickness, line_type, _FRACTION_BITS)
        cv2.polylines(self.opacity, lines, closed, 1.0, thickness, line_type, _FRACTION_BITS)

    def inside(self, outline: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, "D D"]:
        """The pixels inside a polygon."""
        mask = np.zeros(self.opacity.shape, np.uint8)
        cv2.fillPoly(mask, [self._fixed_point(outline)], 1, shift=_FRACTION_BITS)
        return mask.view(bool)

    def finish(self) -> Sprite:
        """The sprite at its final size."""
        size = (self.side, self.side)
        colour = cv2.resize(self.colour * self.opacity[..., None], size, interpolation=cv2.INTER_AREA)
        return Sprite(np.clip(colour, 0, 1), cv2.resize(self.opacity, size, interpolation=cv2.INTER_AREA))

    def _fixed_point(self, points: Float[np.ndarray, "n 2"]) -> np.ndarray:
        pixels = (np.asarray(points) + MARGIN) * self.scale - 0.5
        return np.round(pixels * (1 << _FRACTION_BITS)).astype(np.int32)
