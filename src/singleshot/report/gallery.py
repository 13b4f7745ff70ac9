"""The images that went best and worst, with ground-truth boxes and detections drawn, as figures of the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.draw import Mark, draw_marks
from singleshot.errors import SingleshotError
from singleshot.evaluate.per_image import ImageResult, PerImageResults
from singleshot.report.content import ReportContent
from singleshot.shapes import UInt8
from singleshot.types import Annotations, Detections, GroundTruth

RIGHT, WRONG, MISSED, FOUND, IGNORED = (40, 150, 255), (255, 80, 50), (255, 214, 0), (255, 255, 255), (150, 150, 150)
LONGEST_SIDE = 640
MAX_BYTES = 200_000

LEGEND = (
    '<p class="legend"><span><i class="key right"></i>right</span><span><i class="key wrong"></i>wrong</span>'
    '<span><i class="key dashed missed"></i>missed</span>'
    '<span><i class="key dashed found"></i>ground-truth box that was found</span>'
    '<span><i class="key dashed ignored"></i>ground-truth box that does not count</span></p>'
)


@dataclass(frozen=True, eq=False)
class Gallery:
    """Evaluated images, with all that is needed to show them; see `ReportContent`."""

    annotations: Annotations
    detections: Sequence[Detections]
    images: PerImageResults
    open_image: Callable[[Path], np.ndarray]

    def best_and_worst(self, count: int) -> tuple[list[int], list[int]]:
        """At most `count` images each: the best first, and of the others the worst first."""
        order = self.images.ordered()
        count = min(count, (len(order) + 1) // 2)
        return order[:count], order[::-1][: min(count, len(order) - count)]

    def figure(self, index: int) -> str:
        """One image with its marks and a line on how it went; an image that cannot be read says so."""
        result = self.images.results[index]
        name = self.annotations.files[index]
        try:
            image = self.open_image(self.annotations.path(index))
        except (SingleshotError, OSError) as error:
            return f'<figure><p class="quiet">{escape(str(error))}</p>{_caption(name, result)}</figure>'
        ground_truth, names = self.annotations.ground_truth(index), self.annotations.class_names
        drawn = _shrunk_and_marked(image, ground_truth, names, self.detections[index], result)
        return f"<figure>{_image(drawn, name)}{_caption(name, result)}</figure>"


def gallery_of(content: ReportContent) -> Gallery | None:
    """The evaluated images of a report; None where it lacks images, detections or their evaluation."""
    images = content.evaluation.per_image if content.evaluation is not None else None
    if images is None or content.annotations is None or content.detections is None:
        return None
    return Gallery(content.annotations, content.detections, images, content.open_image)


def shown_as_it_is(image: UInt8[np.ndarray, "H W 3"], caption: str) -> str:
    """A finished image as a figure."""
    canvas = Image.fromarray(image)
    canvas.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return f"<figure>{_image(np.asarray(image), caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def _image(image: UInt8[np.ndarray, "h w 3"], name: str) -> str:
    """The image inside the page."""
    source = f"data:image/jpeg;base64,{base64.b64encode(_jpeg(image)).decode()}"
    height, width = image.shape[:2]
    return f'<img src="{source}" width="{width}" height="{height}" alt="{escape(name)}">'


def _caption(name: str, result: ImageResult) -> str:
    """How it went, in words."""
    wanted = int((~result.ignored).sum())
    words = f"{len(result.true_positives)} of {wanted} found, {len(result.false_positives)} wrong"
    return f"<figcaption><b>{escape(name)}</b><br>{words}, F1 {100 * result.f1:.0f}%</figcaption>"


def _shrunk_and_marked(
    image: UInt8[np.ndarray, "H W 3"],
    ground_truth: GroundTruth,
    class_names: Sequence[str],
    detections: Detections,
    result: ImageResult,
) -> UInt8[np.ndarray, "h w 3"]:
    """Shrunk first, so that lines and letters stay sharp."""
    canvas = Image.fromarray(image)
    factor = min(1.0, LONGEST_SIDE / max(canvas.size))
    size = (max(1, round(canvas.width * factor)), max(1, round(canvas.height * factor)))
    scale = np.tile(np.array(size) / canvas.size, 2)
    marks = []
    for box, label, found, ignored in zip(
        ground_truth.boxes_xyxy, ground_truth.labels, result.matched, result.ignored, strict=True
    ):
        colour = IGNORED if ignored else FOUND if found else MISSED
        caption = class_names[label] if colour is MISSED else ""
        marks.append(Mark((box * scale).tolist(), colour, caption, dashed=True))
    for rows, colour in ((result.false_positives, WRONG), (result.true_positives, RIGHT)):
        for row in rows[::-1].tolist():
            caption = f"{detections.class_names[detections.labels[row]]} {100 * detections.scores[row]:.0f}%"
            marks.append(Mark((detections.boxes[row] * scale).tolist(), colour, caption))
    return draw_marks(np.asarray(canvas.resize(size, Image.Resampling.LANCZOS)), marks, zoom=1.4)


def _jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """The image's bytes; quality gives way where they would be many, so that the page stays small."""
    for quality in (88, 75, 60, 40, 20):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()
