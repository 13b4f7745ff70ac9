"""Tiles of a large image: overlapping rectangles that cover it, for `ssd data crop` and `ssd detect --tile`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from singleshot.errors import RequestError

Tile = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""
SMALLEST = 32
OVERLAP = 0.2
MOST_OVERLAP = 0.9


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    Attributes:
        size: side of a tile in pixels; a side of the image that is shorter is not cut.
        overlap: share of a tile's side that its neighbour has, too, at least; an object that is no larger than this
            part lies whole in one of the two.

    Raises:
        RequestError: tiles below 32 pixels, or an overlap outside [0, 0.9].
    """

    size: int = 640
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        if self.size < SMALLEST:
            raise RequestError(f"--tile is a side in pixels, at least {SMALLEST}, got {self.size}")
        if not 0 <= self.overlap <= MOST_OVERLAP:
            raise RequestError(f"--overlap is a share of the tile, 0 to {MOST_OVERLAP}, got {self.overlap}")

    def tiles(self, width: int, height: int) -> list[Tile]:
        """The tiles of an image, row by row; the first begins at its left top, the last ends at its right bottom.

        >>> Tiling(100, 0.2).tiles(250, 90)
        [(0, 0, 100, 90), (75, 0, 175, 90), (150, 0, 250, 90)]
        """
        right, bottom = min(self.size, width), min(self.size, height)
        return [(x, y, x + right, y + bottom) for y in self._starts(height) for x in self._starts(width)]

    def _starts(self, side: int) -> list[int]:
        """Evenly spaced, so that neighbours overlap by `overlap` or more."""
        if side <= self.size:
            return [0]
        last = side - self.size
        steps = math.ceil(last / max(1, math.floor(self.size * (1 - self.overlap))))
        return [round(number * last / steps) for number in range(steps + 1)]


def tiling_of(tile: int | None, overlap: float) -> Tiling | None:
    """The tiling that a user's two flags ask for; None without `--tile`. Raises as `Tiling`."""
    return None if tile is None else Tiling(tile, overlap)
