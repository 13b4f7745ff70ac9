"""Errors to look at: cut out of their images, with what is labelled there."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.draw import Mark, draw_marks
from singleshot.errors import SingleshotError
from singleshot.evaluate.diagnosis.diagnosis import Diagnosis
from singleshot.report.gallery import FOUND, RIGHT, WRONG, shown_as_it_is
from singleshot.shapes import UInt8

EXAMPLES = 6
CONTEXT = 0.6
"""Shown around an error, in sides of its box."""
LEAST_SHOWN = 96
"""Pixels of an image that an example shows at least."""


def examples(diagnosis: Diagnosis, kind: int, open_image: Callable[[Path], np.ndarray]) -> str:
    """The surest errors of a type, one an image, cut out of their images; empty text where there are none.

    Args:
        diagnosis: of the set.
        kind: its number in `KINDS`.
        open_image: path to RGB array.
    """
    matched = diagnosis.matched
    rows = np.flatnonzero(diagnosis.error_types.kinds == kind)
    rows = rows[np.argsort(-matched.detections.scores[rows], kind="stable")]
    _, first = np.unique(matched.detections.images[rows], return_index=True)
    figures = []
    for row in rows[np.sort(first)][:EXAMPLES]:
        index = int(matched.detections.images[row])
        name = matched.annotations.files[index]
        try:
            image = open_image(matched.annotations.path(index))
        except (SingleshotError, OSError) as error:
            figures.append(f'<figure><p class="quiet">{escape(str(error))}</p></figure>')
            continue
        label = matched.class_names[matched.detections.labels[row]]
        caption = f"{label} {100 * matched.detections.scores[row]:.0f}%, {name}"
        figures.append(shown_as_it_is(_cut_out(diagnosis, image, int(row)), caption))
    legend = (
        '<p class="legend"><span><i class="key wrong"></i>the error</span><span><i class="key dashed found"></i>'
        'labelled objects</span><span><i class="key right"></i>right detections above the score of best F1</span></p>'
    )
    return f'{legend}<div class="gallery">{"".join(figures)}</div>' if figures else ""


def _cut_out(diagnosis: Diagnosis, image: UInt8[np.ndarray, "H W 3"], row: int) -> UInt8[np.ndarray, "h w 3"]:
    matched = diagnosis.matched
    index = matched.detections.images[row]
    box = matched.detections.boxes_xyxy[row].astype(np.float64)
    height, width = image.shape[:2]
    centre = (box[:2] + box[2:]) / 2
    half = np.maximum((box[2:] - box[:2]) * (0.5 + CONTEXT), LEAST_SHOWN / 2)
    half = np.maximum(half, 0.7 * half.max())
    low = np.clip(np.floor(centre - half), 0, [max(0, width - 1), max(0, height - 1)]).astype(int)
    high = np.maximum(low + 1, np.clip(np.ceil(centre + half), 0, [width, height]).astype(int))
    cut = image[low[1] : high[1], low[0] : high[0]]
    zoom = max(1.0, 300 / max(cut.shape[:2]))
    size = (max(1, round(cut.shape[1] * zoom)), max(1, round(cut.shape[0] * zoom)))
    offset = np.tile(low, 2)
    ground_truth = matched.annotations.ground_truth(int(index))
    frame = np.concatenate([low, high])

    def shown(boxes: np.ndarray) -> np.ndarray:
        return np.flatnonzero((boxes[:, :2] < frame[2:]).all(axis=1) & (boxes[:, 2:] > frame[:2]).all(axis=1))

    marks = [
        Mark(
            ((ground_truth.boxes_xyxy[at] - offset) * zoom).tolist(),
            FOUND,
            matched.class_names[ground_truth.labels[at]],
            dashed=True,
        )
        for at in shown(ground_truth.boxes_xyxy)
    ]
    right = (matched.detections.images == index) & (diagnosis.error_types.kinds == 0)
    right &= matched.detections.scores >= diagnosis.per_image.score_threshold
    rights = matched.detections.boxes_xyxy[right]
    marks += [Mark(((rights[at] - offset) * zoom).tolist(), RIGHT) for at in shown(rights)]
    label = matched.class_names[matched.detections.labels[row]]
    marks.append(Mark(((box - offset) * zoom).tolist(), WRONG, f"{label} {100 * matched.detections.scores[row]:.0f}%"))
    return draw_marks(_enlarged(cut, size), marks, zoom=1.0)


def _enlarged(image: UInt8[np.ndarray, "h w 3"], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "y x 3"]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size_wh, Image.Resampling.BICUBIC))
