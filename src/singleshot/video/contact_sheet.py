"""Frames of a video on one page, the best of each twelfth of it, for people who would rather look than read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from singleshot.shapes import UInt8
from singleshot.video.frames import Frame

FRAMES = 12
COLUMNS = 3
CELL_WIDTH = 400
GAP = 8
BACKGROUND = 24


@dataclass(frozen=True, eq=False)
class _Cell:
    interest: float
    pixels: UInt8[np.ndarray, "H W 3"]


class ContactSheet:
    """Collects frames while a video of unknown length is read; holds at most twice as many as it shows.

    Of every `step` frames the most interesting is kept, the first of equals. When there are too many, the better of
    each two neighbours is kept, and the step doubles.
    """

    def __init__(self) -> None:
        self._step = 1
        self._kept: list[_Cell] = []

    def wants(self, index: int, interest: float) -> bool:
        """Whether the frame of this index belongs on the sheet, as far as is known.

        Args:
            index: of the frame; frames come in order.
            interest: any measure of how much is to be seen, such as the sum of its scores.
        """
        part = index // self._step
        return part >= len(self._kept) or interest > self._kept[part].interest

    def add(self, frame: Frame, interest: float, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
        """Add a frame that is wanted.

        Args:
            frame: the frame.
            interest: as for `wants`.
            pixels: of the frame, boxes drawn.
        """
        height, width = pixels.shape[:2]
        size = (CELL_WIDTH, max(1, round(CELL_WIDTH * height / width)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        self._kept[frame.index // self._step :] = [_Cell(interest, _with_time(small, frame.seconds))]
        if len(self._kept) > 2 * FRAMES:
            self._kept = [_best(self._kept[place : place + 2]) for place in range(0, len(self._kept), 2)]
            self._step *= 2

    def image(self) -> UInt8[np.ndarray, "H W 3"]:
        """The sheet, RGB, row by row in the order of time. At least one frame must have been added."""
        count = min(FRAMES, len(self._kept))
        bounds = np.linspace(0, len(self._kept), count + 1).round().astype(int)
        cells = [_best(self._kept[start:end]).pixels for start, end in pairwise(bounds)]
        height, width = cells[0].shape[:2]
        columns = min(COLUMNS, count)
        rows = math.ceil(count / columns)
        sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), BACKGROUND, np.uint8)
        for place, cell in enumerate(cells):
            top, left = (GAP + (place // columns) * (height + GAP), GAP + (place % columns) * (width + GAP))
            sheet[top : top + height, left : left + width] = cell
        return sheet


def _best(cells: Sequence[_Cell]) -> _Cell:
    return max(cells, key=lambda cell: cell.interest)  # the first of equals


def _with_time(image: UInt8[np.ndarray, "H W 3"], seconds: float) -> UInt8[np.ndarray, "H W 3"]:
    """The image with the time, such as 0:07.2, in its lower left corner."""
    minutes, rest = divmod(round(seconds, 1), 60)
    text, place = f"{minutes:.0f}:{rest:04.1f}", (6, image.shape[0] - 8)
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness, cv2.LINE_AA)
    return image
