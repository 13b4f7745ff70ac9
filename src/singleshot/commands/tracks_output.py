"""Write tracks while they are made: one JSON document or JSON Lines, CSV, and MOTChallenge's text.

Nothing is kept in memory, so that a video may take hours.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from singleshot.commands.detections_output import LINES_SUFFIXES
from singleshot.commands.growing_file import GrowingFile, json_line
from singleshot.tracking.tracks import Tracks
from singleshot.video.frames import Frame

COLUMNS = ("file", "frame", "seconds", "id", "label", "score", "left", "top", "right", "bottom")


class Output(Protocol):
    """A format of tracks."""

    def frame(self, frame: Frame, tracks: Tracks) -> None:
        """Add a frame."""

    def end(self, counts: Mapping[str, Any]) -> None:
        """Write what was counted, and close what is open."""


class JsonDocument:
    """`{"model", "file", "width", "height", "fps", "frames": [...], "counts", "lines", "zones"}`."""

    def __init__(self, file: GrowingFile, head: Mapping[str, Any]) -> None:
        self._file = file
        self._frames = 0
        file.write(json_line(head)[:-1] + ', "frames": [')

    def frame(self, frame: Frame, tracks: Tracks) -> None:
        """Add a frame."""
        self._file.write(("," if self._frames else "") + "\n  " + json_line(_entry(frame, tracks)))
        self._frames += 1

    def end(self, counts: Mapping[str, Any]) -> None:
        """Write what was counted."""
        self._file.write("\n ],\n " + json_line(counts)[1:] + "\n")


class JsonLines:
    """A line for each frame, and a last one with what was counted."""

    def __init__(self, file: GrowingFile, head: Mapping[str, Any]) -> None:
        self._file = file
        self._head = {key: head[key] for key in ("file", "width", "height")}

    def frame(self, frame: Frame, tracks: Tracks) -> None:
        """Add a frame."""
        self._file.write(json_line({**self._head, **_entry(frame, tracks)}) + "\n")

    def end(self, counts: Mapping[str, Any]) -> None:
        """Write what was counted."""
        self._file.write(json_line({**self._head, **counts}) + "\n")


class Csv:
    """A row for each track in each frame, under the names of `COLUMNS`; the first frame is 0."""

    def __init__(self, file: GrowingFile, name: str) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(COLUMNS)
        self._name = name

    def frame(self, frame: Frame, tracks: Tracks) -> None:
        """Add a frame."""
        where = (self._name, frame.index, round(frame.seconds, 6))
        self._rows.writerows((*where, t["id"], t["label"], t["score"], *t["box"]) for t in tracks.to_dicts())

    def end(self, counts: Mapping[str, Any]) -> None:
        """Nothing is open; counts have no place in a table."""


class Mot:
    """`frame,id,left,top,width,height,score,-1,-1,-1` a line, as MOTChallenge has it; the first frame is 1."""

    def __init__(self, file: GrowingFile) -> None:
        self._file = file

    def frame(self, frame: Frame, tracks: Tracks) -> None:
        """Add a frame."""
        for track in tracks.to_dicts():
            left, top, right, bottom = track["box"]
            size = f"{right - left:.2f},{bottom - top:.2f}"
            line = f"{frame.index + 1},{track['id']},{left:.2f},{top:.2f},{size},{track['score']:.6g},-1,-1,-1\n"
            self._file.write(line)

    def end(self, counts: Mapping[str, Any]) -> None:
        """Nothing is open; counts have no place in this format."""


class TracksOutput:
    """The files that tracks are written to, none or several; a context manager.

    Leaving the context without an error, or by Ctrl-C, puts the files in their places; other errors remove them.

    Args:
        head: model, file, width, height and fps.
        json: a JSON document, or JSON Lines where its name ends in .jsonl or .ndjson.
        csv: a CSV file.
        mot: a text file.

    Raises:
        MachineError: no space left on the disk.
    """

    def __init__(self, head: Mapping[str, Any], *, json: Path | None, csv: Path | None, mot: Path | None) -> None:
        self._files: list[GrowingFile] = []
        self._outputs: list[Output] = []
        if json is not None:
            kind = JsonLines if json.suffix.lower() in LINES_SUFFIXES else JsonDocument
            self._outputs.append(kind(self._open(json), head))
        if csv is not None:
            self._outputs.append(Csv(self._open(csv), head["file"]))
        if mot is not None:
            self._outputs.append(Mot(self._open(mot)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        for file in self._files:
            file.close(whole=kind is None)

    def frame(self, frame: Frame, tracks: Tracks) -> None:
        """Add a frame."""
        for output in self._outputs:
            output.frame(frame, tracks)

    def end(self, counts: Mapping[str, Any]) -> None:
        """Write what was counted: counts, lines and zones."""
        for output in self._outputs:
            output.end(counts)

    def _open(self, place: Path) -> GrowingFile:
        file = GrowingFile(place)
        self._files.append(file)
        return file


def _entry(frame: Frame, tracks: Tracks) -> dict[str, Any]:
    return {"index": frame.index, "seconds": round(frame.seconds, 6), "tracks": tracks.to_dicts()}
