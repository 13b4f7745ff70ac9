"""Count tracks: how many there were of each class, how many crossed a line, how many are in a zone.

A track stands where the middle of its box's lower edge is. Memory holds the tracks that have not ended; counts stay.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from singleshot.errors import RequestError
from singleshot.tracking.tracks import Track, Tracks

Point = tuple[float, float]

MARGIN = 0.05
"""Of a box's height: a track that is nearer to a line is on neither side, so that a trembling box does not cross it."""


def standing_point(track: Track) -> Point:
    """The middle of the lower edge of the box: where the object stands."""
    left, _, right, bottom = track.box
    return (left + right) / 2, bottom


def _side(point: Point, start: Point, end: Point) -> float:
    """Twice the area of the triangle; above 0 where the point is to the right of the line from start to end.

    In an image, whose y grows downwards.
    """
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def _cross(first: tuple[Point, Point], second: tuple[Point, Point]) -> bool:
    """Whether two line segments have a point in common."""
    near = all(
        max(min(a[axis] for a in first), min(b[axis] for b in second))
        <= min(max(a[axis] for a in first), max(b[axis] for b in second))
        for axis in (0, 1)
    )
    return (
        near
        and _side(first[0], *second) * _side(first[1], *second) <= 0
        and _side(second[0], *first) * _side(second[1], *first) <= 0
    )


def points_of(text: str, flag: str, *, least: int) -> tuple[Point, ...]:
    """The points that `x1,y1,x2,y2,...` names, in pixels.

    Raises:
        RequestError: no such numbers, or fewer points than `least`.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) % 2 or len(numbers) < 2 * least or not all(abs(number) < 1e6 for number in numbers):
        expected = ",".join(f"x{i},y{i}" for i in range(1, least + 1)) + (",..." if least > 2 else "")
        raise RequestError(f"{flag} is {expected} in pixels, got {text!r}")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


@dataclass
class ClassCounter:
    """How many tracks there were of each class. A track counts when it has an id, which is once."""

    counts: Counter[str] = field(default_factory=Counter)
    _last_id: int = 0

    def add(self, tracks: Tracks) -> None:
        """Count the tracks of a frame that are new: ids only grow."""
        for track in tracks:
            if track.id > self._last_id:
                self.counts[track.name] += 1
        self._last_id = max(self._last_id, *tracks.ids.tolist(), 0)


@dataclass
class LineCounter:
    """How many tracks crossed a line, in each direction.

    Attributes:
        start: of the line, in pixels.
        end: of the line; `right` counts those that go to its right side, seen from start to end.
        right: crossings to the right, of each class.
        left: crossings to the left.

    Raises:
        RequestError: the line has no length.
    """

    start: Point
    end: Point
    right: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    _last: dict[int, Point] = field(default_factory=dict)  # where each track stood last, clearly on one side

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise RequestError(f"--line has no length: it begins and ends at {self.start[0]:g},{self.start[1]:g}")

    def add(self, tracks: Tracks, alive: AbstractSet[int]) -> None:
        """Count the crossings since the frame before; `alive` are the tracks that may come again."""
        length = math.dist(self.start, self.end)
        for track in tracks:
            point = standing_point(track)
            side = _side(point, self.start, self.end)
            if abs(side) / length <= MARGIN * (track.box[3] - track.box[1]):
                continue
            before = self._last.get(track.id)
            self._last[track.id] = point
            if before is None or side * _side(before, self.start, self.end) > 0:
                continue
            if _cross((before, point), (self.start, self.end)):
                (self.right if side > 0 else self.left)[track.name] += 1
        self._last = {number: point for number, point in self._last.items() if number in alive}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in JSON."""
        line = [*self.start, *self.end]
        return {"line": line, "right": dict(sorted(self.right.items())), "left": dict(sorted(self.left.items()))}


@dataclass
class ZoneCounter:
    """How many tracks are in a zone, how many were, and for how long.

    Attributes:
        corners: of a polygon whose edges do not cross, in pixels.
        now: tracks inside in the last frame, of each class.
        entered: tracks that were inside, each once, of each class.
        seconds: how long they were inside, added up, of each class; a gap counts where a track was inside before and
            after it.

    Raises:
        RequestError: fewer than three corners, no area, or edges that cross.
    """

    corners: Sequence[Point]
    now: Counter[str] = field(default_factory=Counter)
    entered: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    _known: dict[int, float | None] = field(default_factory=dict)  # tracks that were inside -> last seen there, or None

    def __post_init__(self) -> None:
        edges = self._edges()
        shown = ",".join(f"{value:g}" for corner in self.corners for value in corner)
        if len(set(self.corners)) < max(3, len(self.corners)):
            raise RequestError(f"--zone has three corners or more, none of them twice: {shown}")
        if abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in edges)) < 1:
            raise RequestError(f"--zone has no area: {shown}")
        for first, second in combinations(edges, 2):
            if not set(first) & set(second) and _cross(first, second):
                raise RequestError(f"--zone has edges that cross: {shown}; give the corners in their order around it")

    def _edges(self) -> list[tuple[Point, Point]]:
        return list(zip(self.corners, [*self.corners[1:], *self.corners[:1]], strict=True))

    def contains(self, point: Point) -> bool:
        """Whether a point lies inside: a ray to the right crosses an odd number of edges."""
        x, y = point
        inside = False
        for (x1, y1), (x2, y2) in self._edges():
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                inside = not inside
        return inside

    def add(self, tracks: Tracks, alive: AbstractSet[int], seconds: float) -> None:
        """Count those inside in a frame; `alive` are the tracks that may come again."""
        self.now = Counter()
        for track in tracks:
            if not self.contains(standing_point(track)):
                if track.id in self._known:
                    self._known[track.id] = None
                continue
            self.now[track.name] += 1
            if track.id not in self._known:
                self.entered[track.name] += 1
            since = self._known.get(track.id)
            if since is not None:
                self.seconds[track.name] = self.seconds.get(track.name, 0.0) + seconds - since
            self._known[track.id] = seconds
        self._known = {number: since for number, since in self._known.items() if number in alive}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in JSON."""
        return {
            "zone": [value for corner in self.corners for value in corner],
            "now": dict(sorted(self.now.items())),
            "entered": dict(sorted(self.entered.items())),
            "seconds": {name: round(value, 3) for name, value in sorted(self.seconds.items())},
        }
