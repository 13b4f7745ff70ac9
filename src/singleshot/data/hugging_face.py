"""Read Hugging Face's image folders: `metadata.jsonl` or `metadata.csv` beside the images, a row an image.

A row has `file_name` and `objects`: lists `bbox` (left, top, width, height in pixels) and `categories` or `category`,
names or numbers; or a list of objects with a `bbox` and a `category` each.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from singleshot.data.builder import ReadResult
from singleshot.data.faults import Fault
from singleshot.data.tool_labels import (
    LIMIT_BYTES,
    LabelFile,
    LabelledImage,
    LabelledObject,
    files_by_split,
    read_label_files,
    whole_side,
)
from singleshot.errors import DataError
from singleshot.files import parse_json, read_regular

HEAD_BYTES = 2**16
NAMES = ("metadata.jsonl", "metadata.csv")
NUMBERED = "categories are numbers: named `class 0`, `class 1` ..."
_CATEGORIES = ("categories", "category", "labels", "label", "names", "name")


def hugging_face_files(path: Path) -> dict[str, Path]:
    """Split -> metadata; "" for that of the folder itself. The splits' folders may lie in `data/`."""
    files = files_by_split(path, _metadata)
    return files or (files_by_split(path / "data", _metadata) if (path / "data").is_dir() else {})


def read_hugging_face(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a metadata file, or of a folder with one, or of a folder with one in each split's folder.

    Raises:
        DataError: not of this form.
        UnknownNameError: no such split.
    """
    return read_label_files(path, hugging_face_files(path), _parse, split=split, format_name="hugging_face")


def is_hugging_face(file: Path) -> bool:
    """Whether a file is metadata whose first rows have `objects`."""
    try:
        if not file.is_file() or not (file.suffix.lower() == ".jsonl" or file.name in NAMES):
            return False
        with file.open("rb") as content:
            return b"objects" in content.read(HEAD_BYTES)
    except OSError:
        return False


def _metadata(folder: Path) -> list[Path]:
    return [folder / name for name in NAMES if is_hugging_face(folder / name)][:1]


def _parse(file: Path) -> LabelFile:
    content = LabelFile()
    for line, row in _rows(file):
        name, objects = (row.get("file_name"), row.get("objects")) if isinstance(row, dict) else (None, None)
        try:
            if not isinstance(name, str) or not name:
                raise ValueError("a row must have a `file_name`")
            labels, boxes = _columns(objects)
        except ValueError as error:
            content.faults.append(Fault("malformed", file.name, f"line {line}: {error}, got {str(row)[:80]}"))
            continue
        if any(isinstance(label, int) for label in labels):
            content.notes[NUMBERED] += sum(isinstance(label, int) for label in labels)
        items = [_object(label, box) for label, box in zip(labels, boxes, strict=True)]
        content.images.append(LabelledImage(name, whole_side(row.get("width")), whole_side(row.get("height")), items))
    return content


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Line and content of each row. Raises DataError where the file or a line cannot be parsed."""
    line = 0
    try:
        text = read_regular(file, LIMIT_BYTES).decode("utf-8-sig")
        if file.suffix.lower() == ".csv":
            for line, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
                objects = row.get("objects")
                yield line, {**row, "objects": parse_json(objects.encode()) if objects else None}
            return
        for line, written in enumerate(text.split("\n"), 1):  # splitlines would part a text at U+2028
            if written.strip():
                yield line, parse_json(written.encode())
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file}, line {line}: {error}") from None


def _columns(objects: Any) -> tuple[list[Any], list[Any]]:
    """The labels and the boxes of a row; a row without objects is a background image."""
    if not objects:
        return [], []
    if isinstance(objects, list) and all(isinstance(item, dict) for item in objects):
        return [_first(item, _CATEGORIES) for item in objects], [item.get("bbox") for item in objects]
    labels, boxes = (_first(objects, _CATEGORIES), objects.get("bbox")) if isinstance(objects, dict) else (None, None)
    if not isinstance(labels, list) or not isinstance(boxes, list) or len(labels) != len(boxes):
        raise ValueError("`objects` must have as many `categories` as boxes in `bbox`")
    return labels, boxes


def _first(item: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((item[key] for key in keys if key in item), None)


def _object(label: Any, box: Any) -> LabelledObject:
    name = f"class {label}" if isinstance(label, int) else label.strip() if isinstance(label, str) else ""
    if not name or not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        return LabelledObject(name, None, f"expected a category and 4 numbers, got {str((label, box))[:60]}")
    left, top, width, height = map(float, box)
    return LabelledObject(name, (left, top, left + width, top + height))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
