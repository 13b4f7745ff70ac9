"""Draw boxes with captions on an image.

Lines, letters and dashes scale with the image; every line has a dark border, so that it shows on any background.
"""

from __future__ import annotations

import base64
import colorsys
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from singleshot.shapes import UInt8

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BORDER: Colour = (0, 0, 0)
GROUND_TRUTH: Colour = (255, 255, 255)
GOLDEN_ANGLE = 0.381966


@dataclass(frozen=True)
class Mark:
    """A box to draw.

    Attributes:
        box_xyxy: pixels of the image; may stick out.
        colour: of line and caption.
        caption: text on a plate at the box; none where empty.
        dashed: dashed line, as ground-truth boxes have.
        outlined: draw the box; else its caption alone.
    """

    box_xyxy: Sequence[float]
    colour: Colour
    caption: str = ""
    dashed: bool = False
    outlined: bool = True


def class_colour(label: int) -> Colour:
    """A bright colour for a class, the same in every image; the hues of neighbouring labels differ much."""
    hue = (0.58 + label * GOLDEN_ANGLE) % 1
    lightness = (0.60, 0.52, 0.68)[label // 8 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_marks(
    image: UInt8[np.ndarray, "H W 3"], marks: Sequence[Mark], *, zoom: float = 1.0
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of the image with the marks, later ones on top; captions are drawn above all boxes and avoid each other.

    Boxes that are not finite are left out. `zoom` makes lines and letters larger, for an image that is shown small.
    """
    canvas = Image.fromarray(np.ascontiguousarray(image))
    pen = ImageDraw.Draw(canvas)
    scale = zoom * math.sqrt(canvas.width * canvas.height)
    thickness = max(1, round(scale / 260))
    font = _font(max(10, round(scale / 42)))
    drawn = [mark for mark in marks if all(math.isfinite(value) for value in mark.box_xyxy)]
    for mark in (mark for mark in drawn if mark.outlined):
        _outline(pen, _inside(mark.box_xyxy, canvas.size), mark.colour, thickness=thickness, dashed=mark.dashed)
    captioned = [mark for mark in reversed(drawn) if mark.caption]  # the uppermost box chooses first
    plates: list[Rectangle] = []
    for mark in captioned:
        plates.append(_place(pen, mark, font, plates, canvas.size))
    for mark, plate in zip(reversed(captioned), reversed(plates), strict=True):
        _write(pen, mark, font, plate)
    return np.asarray(canvas)


def html_image(image: UInt8[np.ndarray, "H W 3"]) -> str:
    """The image as an HTML element that holds it, a JPEG."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, "JPEG", quality=90)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}">'


def shrunk(image: UInt8[np.ndarray, "H W 3"], longest_side: int) -> UInt8[np.ndarray, "h w 3"]:
    """The image with no side above so many pixels."""
    canvas = Image.fromarray(np.ascontiguousarray(image))
    canvas.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return np.asarray(canvas)


@lru_cache(maxsize=8)
def _font(size: int) -> Font:
    """The font that ships with Pillow."""
    return ImageFont.load_default(size)


def _inside(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> Rectangle:
    """The box cut to the image, corners in order."""
    left, right = sorted(min(max(v, 0), size_wh[0] - 1) for v in (box_xyxy[0], box_xyxy[2]))
    top, bottom = sorted(min(max(v, 0), size_wh[1] - 1) for v in (box_xyxy[1], box_xyxy[3]))
    return round(left), round(top), round(right), round(bottom)


def _outline(pen: ImageDraw.ImageDraw, box: Rectangle, colour: Colour, *, thickness: int, dashed: bool) -> None:
    """A coloured line between two dark borders; dashes alternate colour and border."""
    left, top, right, bottom = box
    border = max(1, thickness // 3)
    pen.rectangle(
        (left - border, top - border, right + border, bottom + border), outline=BORDER, width=thickness + 2 * border
    )
    if not dashed:
        pen.rectangle(box, outline=colour, width=thickness)
        return
    dash = 5 * thickness
    inner = thickness - 1
    for x in np.arange(left, right + 1, 2 * dash).tolist():
        end = min(x + dash, right)
        pen.rectangle((x, top, end, min(top + inner, bottom)), fill=colour)
        pen.rectangle((x, max(bottom - inner, top), end, bottom), fill=colour)
    for y in np.arange(top, bottom + 1, 2 * dash).tolist():
        end = min(y + dash, bottom)
        pen.rectangle((left, y, min(left + inner, right), end), fill=colour)
        pen.rectangle((max(right - inner, left), y, right, end), fill=colour)


def _place(
    pen: ImageDraw.ImageDraw, mark: Mark, font: Font, taken: Sequence[Rectangle], size_wh: tuple[int, int]
) -> Rectangle:
    """The plate of a caption where there is room for it: above the box, inside it, or below."""
    _, text_top, text_right, text_bottom = pen.textbbox((0, 0), mark.caption, font=font)
    pad = _pad(text_bottom - text_top)
    width, height = text_right + 2 * pad, text_bottom - text_top + 2 * pad
    left, top, _, bottom = _inside(mark.box_xyxy, size_wh)
    x = max(0, min(left, size_wh[0] - width))
    places = [y for y in (top - height, top, bottom, bottom - height) if 0 <= y <= size_wh[1] - height] or [max(0, top)]
    plates = [(x, y, x + width, y + height) for y in places]
    return next((plate for plate in plates if not any(_overlap(plate, other) for other in taken)), plates[0])


def _write(pen: ImageDraw.ImageDraw, mark: Mark, font: Font, plate: Rectangle) -> None:
    """A caption on its plate, dark on bright colours and bright on dark ones."""
    _, text_top, _, text_bottom = pen.textbbox((0, 0), mark.caption, font=font)
    pad = _pad(text_bottom - text_top)
    pen.rectangle((plate[0], plate[1], plate[2] - 1, plate[3] - 1), fill=mark.colour)
    ink = (0, 0, 0) if np.dot(mark.colour, (0.299, 0.587, 0.114)) > 128 else (255, 255, 255)
    pen.text((plate[0] + pad, plate[1] + pad - text_top), mark.caption, fill=ink, font=font)


def _pad(text_height: float) -> int:
    """Room around a text, in pixels."""
    return max(1, round(text_height / 4))


def _overlap(first: Rectangle, second: Rectangle) -> bool:
    """Whether two rectangles share area."""
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
