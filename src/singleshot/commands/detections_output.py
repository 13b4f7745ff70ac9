"""Write detections while they are made: one JSON document, JSON Lines or CSV, by the name of the file.

Nothing of a video is kept in memory, so that it may take hours; the images of a JSON document are, until its end. A run
that Ctrl-C ends has valid files of what was done.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from singleshot.commands.growing_file import GrowingFile, json_line
from singleshot.types import Detections

LINES_SUFFIXES = (".jsonl", ".ndjson")
COLUMNS = ("file", "frame", "seconds", "label", "score", "left", "top", "right", "bottom")


class Output(Protocol):
    """A format of detections."""

    def image(self, entry: Mapping[str, Any]) -> None:
        """Add an image, an entry of `DetectedImage.to_dict`."""

    def begin_video(self, entry: Mapping[str, Any]) -> None:
        """Begin a video: its file, width, height and fps."""

    def frame(self, index: int, seconds: float, detections: Detections) -> None:
        """Add a frame of that video."""

    def end_video(self) -> None:
        """End that video."""

    def end(self) -> None:
        """Write what closes the file."""


class JsonDocument:
    """`{"model": ..., "images": [...], "videos": [...]}`; without videos there are no `videos`."""

    def __init__(self, file: GrowingFile, model: str) -> None:
        self._file = file
        self._model = model
        self._images: list[Mapping[str, Any]] = []
        self._videos = self._frames = 0

    def image(self, entry: Mapping[str, Any]) -> None:
        """Add an image; all come before the first video."""
        self._images.append(entry)

    def begin_video(self, entry: Mapping[str, Any]) -> None:
        """Begin a video."""
        self._file.write(self._head()[: -len("\n}")] + ',\n "videos": [\n' if not self._videos else ",\n")
        self._file.write(f"  {json_line(entry)[:-1]}, " + '"frames": [')
        self._videos, self._frames = self._videos + 1, 0

    def frame(self, index: int, seconds: float, detections: Detections) -> None:
        """Add a frame of that video."""
        entry = {"index": index, "seconds": round(seconds, 6), "detections": detections.to_dicts()}
        self._file.write(("," if self._frames else "") + "\n   " + json_line(entry))
        self._frames += 1

    def end_video(self) -> None:
        """End that video."""
        self._file.write("\n  ]}")

    def end(self) -> None:
        """Close the brackets that are open."""
        self._file.write("\n ]\n}\n" if self._videos else self._head() + "\n")

    def _head(self) -> str:
        return json.dumps({"model": self._model, "images": self._images}, indent=1, allow_nan=False)


class JsonLines:
    """A line for each image and each frame, with the name and the size of its file."""

    def __init__(self, file: GrowingFile) -> None:
        self._file = file
        self._video: Mapping[str, Any] = {}

    def image(self, entry: Mapping[str, Any]) -> None:
        """Add an image."""
        self._file.write(json_line(entry) + "\n")

    def begin_video(self, entry: Mapping[str, Any]) -> None:
        """Begin a video."""
        self._video = {key: entry[key] for key in ("file", "width", "height")}

    def frame(self, index: int, seconds: float, detections: Detections) -> None:
        """Add a frame of that video."""
        timed = {"index": index, "seconds": round(seconds, 6), "detections": detections.to_dicts()}
        self._file.write(json_line({**self._video, **timed}) + "\n")

    def end_video(self) -> None:
        """Nothing is open."""

    def end(self) -> None:
        """Nothing is open."""


class Csv:
    """A row for each detection, under the names of `COLUMNS`; `frame` and `seconds` of an image are empty."""

    def __init__(self, file: GrowingFile) -> None:
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(COLUMNS)
        self._video = ""

    def image(self, entry: Mapping[str, Any]) -> None:
        """Add the detections of an image."""
        self._write(entry["file"], "", "", entry["detections"])

    def begin_video(self, entry: Mapping[str, Any]) -> None:
        """Begin a video."""
        self._video = entry["file"]

    def frame(self, index: int, seconds: float, detections: Detections) -> None:
        """Add the detections of a frame of that video."""
        self._write(self._video, index, round(seconds, 6), detections.to_dicts())

    def end_video(self) -> None:
        """Nothing is open."""

    def end(self) -> None:
        """Nothing is open."""

    def _write(
        self, file: str, index: int | str, seconds: float | str, detections: Sequence[Mapping[str, Any]]
    ) -> None:
        self._rows.writerows((file, index, seconds, d["label"], d["score"], *d["box"]) for d in detections)


class DetectionsOutput:
    """The files that a run writes its detections to, none or several; a context manager and an `Output` of its own.

    Leaving the context without an error, or by Ctrl-C, finishes the files; other errors remove them.

    Args:
        model: name of the model.
        json: a JSON document, or JSON Lines where its name ends in .jsonl or .ndjson.
        csv: a CSV file.

    Raises:
        MachineError: no space left on the disk.
    """

    def __init__(self, model: str, *, json: Path | None, csv: Path | None) -> None:
        self._files: list[GrowingFile] = []
        self._outputs: list[Output] = []
        if json is not None:
            file = self._open(json)
            lines = json.suffix.lower() in LINES_SUFFIXES
            self._outputs.append(JsonLines(file) if lines else JsonDocument(file, model))
        if csv is not None:
            self._outputs.append(Csv(self._open(csv)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        whole = False
        try:
            if kind is None or issubclass(kind, KeyboardInterrupt):
                for output in self._outputs:
                    output.end()
                whole = True
        finally:
            for file in self._files:
                file.close(whole=whole)

    def image(self, entry: Mapping[str, Any]) -> None:
        """Add an image, an entry of `DetectedImage.to_dict`; all come before the first video."""
        for output in self._outputs:
            output.image(entry)

    def begin_video(self, entry: Mapping[str, Any]) -> None:
        """Begin a video: its file, width, height and fps."""
        for output in self._outputs:
            output.begin_video(entry)

    def frame(self, index: int, seconds: float, detections: Detections) -> None:
        """Add a frame of that video."""
        for output in self._outputs:
            output.frame(index, seconds, detections)

    def end_video(self) -> None:
        """End that video."""
        for output in self._outputs:
            output.end_video()

    def _open(self, place: Path) -> GrowingFile:
        file = GrowingFile(place)
        self._files.append(file)
        return file
