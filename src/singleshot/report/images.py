"""Images inside pages: shrunk, marked and embedded as small JPEGs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from singleshot.draw import Mark, draw_marks
from singleshot.errors import SingleshotError
from singleshot.shapes import UInt8

LONGEST_SIDE = 640
MAX_BYTES = 200_000
FINEST_GRID = 40
"""Cells a side: a finer grid would hide the image."""

OpenImage = Callable[[Path], np.ndarray]
"""Path to RGB pixels."""


@dataclass(frozen=True)
class Figure:
    """An image of a page, or the reason why there is none.

    Attributes:
        caption: below it.
        title: before the caption, in bold.
        source: the image as a `data:` address; empty where it could not be read.
        size_wh: its pixels.
        error: why it could not be read.
    """

    caption: str
    title: str = ""
    source: str = ""
    size_wh: tuple[int, int] = (0, 0)
    error: str = ""


def figure(image: UInt8[np.ndarray, "H W 3"], caption: str, *, title: str = "") -> Figure:
    """A finished image, shrunk where it is larger than a page needs."""
    small, _ = shrunk(image)
    source = f"data:image/jpeg;base64,{base64.b64encode(_jpeg(small)).decode()}"
    return Figure(caption, title, source, (small.shape[1], small.shape[0]))


def figure_of_file(
    path: Path, open_image: OpenImage, draw: Callable[[np.ndarray], np.ndarray], caption: str, *, title: str = ""
) -> Figure:
    """A file's image as `draw` makes it; a file that cannot be read says so in its place."""
    try:
        image = open_image(path)
    except (SingleshotError, OSError) as error:
        return Figure(caption, title, error=str(error))
    return figure(draw(image), caption, title=title)


def shrunk(image: UInt8[np.ndarray, "H W 3"]) -> tuple[UInt8[np.ndarray, "h w 3"], np.ndarray]:
    """The image with no side above `LONGEST_SIDE`, and what boxes (x1, y1, x2, y2) are multiplied by to lie on it."""
    height, width = image.shape[:2]
    factor = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return resized(image, size), np.array([size[0] / width, size[1] / height] * 2)


def resized(image: UInt8[np.ndarray, "H W 3"], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The image at another size."""
    if size_wh == (image.shape[1], image.shape[0]):
        return image
    canvas = Image.fromarray(np.ascontiguousarray(image))
    grows = size_wh[0] > canvas.width
    return np.asarray(canvas.resize(size_wh, Image.Resampling.BICUBIC if grows else Image.Resampling.LANCZOS))


def marked(
    image: UInt8[np.ndarray, "H W 3"],
    marks: Sequence[Mark],
    *,
    zoom: float = 1.0,
    grid_hw: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "h w 3"]:
    """The image shrunk first, so that lines and letters stay sharp, then with marks, which are in its own pixels.

    Args:
        image: of any size.
        marks: later ones on top.
        zoom: of lines and letters, for an image that is shown small.
        grid_hw: rows and columns of a map whose cells are drawn below the marks.
    """
    small, scale = shrunk(image)
    if grid_hw is not None:
        small = _with_grid(small, grid_hw)
    scaled = [
        Mark((np.asarray(mark.box_xyxy) * scale).tolist(), mark.colour, mark.caption, mark.dashed) for mark in marks
    ]
    return draw_marks(small, scaled, zoom=zoom)


def _with_grid(image: UInt8[np.ndarray, "h w 3"], map_size_hw: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
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


def _jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The image's bytes; quality gives way where they would be many, so that the page stays small."""
    for quality in (88, 75, 60, 40, 20):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()
