"""The pictures that went best and worst, with truths and detections drawn, as figures of the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.errors import SingleshotError
from singleshot.evaluate.pictures import PictureResult, Pictures
from singleshot.report.content import ReportContent
from singleshot.report.draw import Mark, draw_marks
from singleshot.shapes import UInt8
from singleshot.types import Annotations, Detections, Truths

RIGHT, WRONG, MISSED, FOUND, IGNORED = (40, 150, 255), (255, 80, 50), (255, 214, 0), (255, 255, 255), (150, 150, 150)
LONGEST_SIDE = 640
MAX_BYTES = 200_000

LEGEND = (
    '<p class="legend"><span><i class="key right"></i>right</span><span><i class="key wrong"></i>wrong</span>'
    '<span><i class="key dashed missed"></i>missed</span>'
    '<span><i class="key dashed found"></i>truth that was found</span>'
    '<span><i class="key dashed ignored"></i>truth that does not count</span></p>'
)


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures that were judged, with all that is needed to show them; see `ReportContent`."""

    annotations: Annotations
    detections: Sequence[Detections]
    pictures: Pictures
    open_picture: Callable[[Path], np.ndarray]

    def best_and_worst(self, count: int) -> tuple[list[int], list[int]]:
        """At most `count` pictures each: the best first, and of the others the worst first."""
        order = self.pictures.ordered()
        count = min(count, (len(order) + 1) // 2)
        return order[:count], order[::-1][: min(count, len(order) - count)]

    def figure(self, index: int) -> str:
        """One picture with its marks and a line on how it went; a picture that cannot be read says so."""
        result = self.pictures.results[index]
        name = self.annotations.files[index]
        try:
            picture = self.open_picture(self.annotations.path(index))
        except (SingleshotError, OSError) as error:
            return f'<figure><p class="quiet">{escape(str(error))}</p>{_caption(name, result)}</figure>'
        truths, names = self.annotations.truths(index), self.annotations.class_names
        drawn = _shrunk_and_marked(picture, truths, names, self.detections[index], result)
        return f"<figure>{_image(drawn, name)}{_caption(name, result)}</figure>"


def gallery_of(content: ReportContent) -> Gallery | None:
    """The judged pictures of a report; None where it lacks pictures, detections or their evaluation."""
    pictures = content.evaluation.pictures if content.evaluation is not None else None
    if pictures is None or content.annotations is None or content.detections is None:
        return None
    return Gallery(content.annotations, content.detections, pictures, content.open_picture)


def shown_as_it_is(picture: UInt8[np.ndarray, "H W 3"], caption: str) -> str:
    """A finished picture as a figure."""
    image = Image.fromarray(picture)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return f"<figure>{_image(np.asarray(image), caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(picture: UInt8[np.ndarray, "h w 3"], name: str) -> str:
    """The picture inside the page."""
    source = f"data:image/jpeg;base64,{base64.b64encode(_jpeg(picture)).decode()}"
    height, width = picture.shape[:2]
    return f'<img src="{source}" width="{width}" height="{height}" alt="{escape(name)}">'


def _caption(name: str, result: PictureResult) -> str:
    """How it went, in words."""
    wanted = int((~result.ignored).sum())
    words = f"{len(result.right)} of {wanted} found, {len(result.wrong)} wrong"
    return f"<figcaption><b>{escape(name)}</b><br>{words}, F1 {100 * result.f1:.0f}%</figcaption>"


def _shrunk_and_marked(
    picture: UInt8[np.ndarray, "H W 3"],
    truths: Truths,
    class_names: Sequence[str],
    detections: Detections,
    result: PictureResult,
) -> UInt8[np.ndarray, "h w 3"]:
    """Shrunk first, so that lines and letters stay sharp."""
    image = Image.fromarray(picture)
    factor = min(1.0, LONGEST_SIDE / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    scale = np.tile(np.array(size) / image.size, 2)
    marks = []
    for box, label, found, ignored in zip(truths.boxes_xyxy, truths.labels, result.found, result.ignored, strict=True):
        colour = IGNORED if ignored else FOUND if found else MISSED
        caption = class_names[label] if colour is MISSED else ""
        marks.append(Mark((box * scale).tolist(), colour, caption, dashed=True))
    for rows, colour in ((result.wrong, WRONG), (result.right, RIGHT)):
        for row in rows[::-1].tolist():
            caption = f"{detections.class_names[detections.labels[row]]} {100 * detections.scores[row]:.0f}%"
            marks.append(Mark((detections.boxes[row] * scale).tolist(), colour, caption))
    return draw_marks(np.asarray(image.resize(size, Image.Resampling.LANCZOS)), marks, zoom=1.4)


def _jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The picture's bytes; quality gives way where they would be many, so that the page stays small."""
    for quality in (88, 75, 60, 40, 20):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()
