"""The tracks that are seen in a frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from singleshot.shapes import Int64
from singleshot.types import Detections


class Track(NamedTuple):
    """A track in one frame.

    Attributes:
        id: its number, from 1, which no other track has.
        box: left, top, right, bottom in pixels of the frame: the detection's.
        score: of the detection, in [0, 1].
        label: 0..L-1; a track keeps it.
        name: the label's class name.
    """

    id: int
    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks that are seen in one frame, in the order of their ids; iteration gives each `Track`.

    Attributes:
        ids: (n,) from 1, each once.
        detections: the detection of each track in this frame.
    """

    ids: Int64[np.ndarray, " n"]
    detections: Detections

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Track]:
        return (Track(int(number), *detection) for number, detection in zip(self.ids, self.detections, strict=True))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain values, as `ssd track --json` writes them: id, box, label, score."""
        values = zip(self.ids.tolist(), self.detections.to_dicts(), strict=True)
        return [{"id": number, **detection} for number, detection in values]
