"""Read tracks in MOTChallenge's text format: `frame,id,left,top,width,height,confidence,...` a line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot.errors import DataError
from singleshot.files import finite_number, read_list
from singleshot.shapes import Float64, Int64

COLUMNS = "frame,id,left,top,width,height,confidence"
LARGEST_NUMBER = 1e9
"""Frames, ids and coordinates up to here."""
_BETWEEN = r"(?:\s*,\s*|\s+)"  # matches in one way only: tables have runs of spaces
_LINE = re.compile(rf"\s*\d+(\.0*)?{_BETWEEN}-?\d+(\.0*)?({_BETWEEN}[-+.\deE]+){{4,}}\s*,?\s*")


@dataclass(frozen=True, eq=False)
class TrackBoxes:
    """The boxes of all tracks of a video; one row a box, in the order of the file.

    Attributes:
        frames: the frame of each, from 1 (or 0, in both files).
        ids: the track of each.
        boxes_xyxy: left, top, right, bottom in pixels.
        ignored: how many rows of the file were left out, since their confidence is 0.
    """

    frames: Int64[np.ndarray, " n"]
    ids: Int64[np.ndarray, " n"]
    boxes_xyxy: Float64[np.ndarray, "n 4"]
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.frames)


def mot_file(data: str | Path) -> Path | None:
    """The file of tracks that a path names: itself, or `gt/gt.txt` of a sequence's folder; None for other data."""
    path = Path(data)
    if path.is_dir():
        path = path / "gt" / "gt.txt"
    if path.suffix.lower() != ".txt" or not path.is_file():
        return None
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        first = next((line for line in iter(lambda: lines.readline(1000), "") if line.strip()), "")
    return path if _LINE.fullmatch(first) else None


def read_track_boxes(path: Path, *, ground_truth: bool = False) -> TrackBoxes:
    """The boxes of a MOTChallenge file.

    Args:
        path: the file; columns after the sixth may be missing.
        ground_truth: leave out rows whose confidence is 0, which MOTChallenge does not evaluate.

    Raises:
        DataError: it cannot be read, a line is no such row, an id is negative, or a track is twice in a frame.
    """
    rows: list[list[float]] = []
    seen: set[tuple[float, float]] = set()
    ignored = 0
    for number, line in enumerate(read_list(path, empty_too=True), 1):
        if not line:
            continue
        row = _row(line, f"{path}, line {number}")
        if ground_truth and row[6] == 0:
            ignored += 1
            continue
        if (row[0], row[1]) in seen:
            raise DataError(f"{path}, line {number}: frame {row[0]:.0f} has track {row[1]:.0f} twice")
        seen.add((row[0], row[1]))
        rows.append(row)
    table = np.array(rows, np.float64).reshape(-1, 7)
    boxes = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1)
    return TrackBoxes(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), boxes, ignored)


def _row(line: str, where: str) -> list[float]:
    """The first seven numbers of a line; confidence is 1 where there is none."""
    words = line.replace(",", " ").split()
    if len(words) < 6:
        raise DataError(f"{where}: expected {COLUMNS}, got {len(words)} numbers")
    row = [finite_number(word, where, largest=LARGEST_NUMBER) for word in words[:7]] + [1.0] * (len(words) == 6)
    for name, value in zip(("frame", "id"), row, strict=False):
        if not value.is_integer():
            raise DataError(f"{where}: {name} is a whole number, got {value:g}")
        if value < 0:
            advice = ": detections without tracks have the id -1; ssd track VIDEO --mot FILE writes tracks"
            raise DataError(f"{where}: {name} is 0 or more, got {value:.0f}{advice if name == 'id' else ''}")
    return row
