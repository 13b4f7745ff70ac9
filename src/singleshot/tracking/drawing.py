"""Draw tracks on a frame: boxes with numbers, the way that each came, lines and zones with their counts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from singleshot.draw import BORDER, Colour, Mark, class_colour, draw_marks
from singleshot.shapes import UInt8
from singleshot.tracking.counting import LineCounter, Point, ZoneCounter, standing_point
from singleshot.tracking.tracks import Tracks

TRAIL_SECONDS = 2.0
COUNTER: Colour = (255, 255, 255)
"""Of lines and zones."""
SMALLEST_STEP = 2.0
"""Pixels between two points of a trail."""


class TrackPainter:
    """Draws one video's tracks, each in a colour of its own.

    Args:
        lines: with their counts.
        zones: with their counts.
    """

    def __init__(self, lines: Sequence[LineCounter] = (), zones: Sequence[ZoneCounter] = ()) -> None:
        self._lines = lines
        self._zones = zones
        self._trails: dict[int, deque[tuple[float, Point]]] = {}

    def follow(self, tracks: Tracks, alive: AbstractSet[int], seconds: float) -> None:
        """Lengthen the trails; called for each frame, drawn or not. `alive` are the tracks that may come again."""
        self._trails = {number: trail for number, trail in self._trails.items() if number in alive}
        for track in tracks:
            trail = self._trails.setdefault(track.id, deque())
            point = standing_point(track)
            if not trail or math.dist(trail[-1][1], point) >= SMALLEST_STEP:
                trail.append((seconds, point))
        for trail in self._trails.values():
            while trail and trail[0][0] < seconds - TRAIL_SECONDS:
                trail.popleft()

    def draw(self, pixels: UInt8[np.ndarray, "H W 3"], tracks: Tracks) -> UInt8[np.ndarray, "H W 3"]:
        """A copy of the frame with the tracks that are seen in it."""
        canvas = pixels.copy()
        for line in self._lines:
            _draw_path(canvas, (line.start, line.end), COUNTER)
        for zone in self._zones:
            _draw_path(canvas, [*zone.corners, zone.corners[0]], COUNTER)
        for track in tracks:
            _draw_path(canvas, [point for _, point in self._trails.get(track.id, ())], class_colour(track.id))
        marks = [Mark(track.box, class_colour(track.id), f"{track.name} {track.id}") for track in tracks]
        return draw_marks(canvas, [*self._captions(), *marks])

    def _captions(self) -> Iterable[Mark]:
        """The counts of each line, at its start, and of each zone, at its first corner."""
        for line in self._lines:
            text = f"right {line.right.total()}, left {line.left.total()}"
            yield Mark([*line.start, *line.start], COUNTER, text, outlined=False)
        for zone in self._zones:
            text = f"now {zone.now.total()}, entered {zone.entered.total()}"
            yield Mark([*zone.corners[0], *zone.corners[0]], COUNTER, text, outlined=False)


def _draw_path(canvas: UInt8[np.ndarray, "H W 3"], points: Sequence[Point], colour: Colour) -> None:
    """A line through the points with a dark border, on the canvas itself."""
    import cv2  # late: 0.1 s

    thickness = max(1, round(math.sqrt(canvas.shape[0] * canvas.shape[1]) / 300))
    path = np.round(np.array(points)).astype(np.int32).reshape(-1, 1, 2)
    for width, ink in ((3 * thickness, BORDER), (thickness, colour)):
        cv2.polylines(canvas, [path], isClosed=False, color=ink, thickness=width, lineType=cv2.LINE_AA)
