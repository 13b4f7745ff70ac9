"""The cells of a map, drawn on an image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from singleshot.shapes import UInt8

FINEST_GRID = 40
"""Cells a side: a finer grid would hide the image."""


def with_grid(image: UInt8[np.ndarray, "h w 3"], map_size_hw: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The image, a little faded, with the borders of a map's cells."""
    rows, columns = map_size_hw
    faded = (128 + 0.55 * (image.astype(np.float32) - 128)).astype(np.uint8)
    if max(rows, columns) > FINEST_GRID:
        return faded
    canvas = Image.fromarray(faded)
    pen = ImageDraw.Draw(canvas)
    for column in range(1, columns):
        x = round(column * canvas.width / columns)
        pen.line((x, 0, x, canvas.height), fill=(200, 200, 200))
    for row in range(1, rows):
        y = round(row * canvas.height / rows)
        pen.line((0, y, canvas.width, y), fill=(200, 200, 200))
    return np.asarray(canvas)
