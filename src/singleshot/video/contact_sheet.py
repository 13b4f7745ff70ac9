"""Frames of a video, evenly spread, on one page, for people who would rather look than read."""

from __future__ import annotations

import math

import cv2
import numpy as np

from singleshot.shapes import UInt8

FRAMES = 12
COLUMNS = 3
CELL_WIDTH = 400
GAP = 8
BACKGROUND = 24


class ContactSheet:
    """Collects frames while a video of unknown length is read; holds at most twice as many as it shows.

    Every `step`-th frame is kept; when there are too many, every second of them is dropped and the step doubles.
    """

    def __init__(self) -> None:
        self._step = 1
        self._kept: list[UInt8[np.ndarray, "H W 3"]] = []

    def wants(self, index: int) -> bool:
        """Whether the frame of this index belongs on the sheet, as far as is known."""
        return index % self._step == 0

    def add(self, seconds: float, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
        """Add a frame that is wanted: its time in the video and its RGB pixels, boxes drawn."""
        height, width = pixels.shape[:2]
        size = (CELL_WIDTH, max(1, round(CELL_WIDTH * height / width)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        self._kept.append(_with_time(small, seconds))
        if len(self._kept) > 2 * FRAMES:
            self._kept = self._kept[::2]
            self._step *= 2

    def image(self) -> UInt8[np.ndarray, "H W 3"]:
        """The sheet, RGB, row by row in the order of time. At least one frame must have been added."""
        count = min(FRAMES, len(self._kept))
        places = np.linspace(0, len(self._kept) - 1, count).round().astype(int)
        cells = [self._kept[place] for place in places]
        height, width = cells[0].shape[:2]
        columns = min(COLUMNS, count)
        rows = math.ceil(count / columns)
        sheet = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), BACKGROUND, np.uint8)
        for place, cell in enumerate(cells):
            top, left = (GAP + (place // columns) * (height + GAP), GAP + (place % columns) * (width + GAP))
            sheet[top : top + height, left : left + width] = cell
        return sheet


def _with_time(image: UInt8[np.ndarray, "H W 3"], seconds: float) -> UInt8[np.ndarray, "H W 3"]:
    """The image with the time, such as 0:07.2, in its lower left corner."""
    minutes, rest = divmod(round(seconds, 1), 60)
    text, place = f"{minutes:.0f}:{rest:04.1f}", (6, image.shape[0] - 8)
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness, cv2.LINE_AA)
    return image
