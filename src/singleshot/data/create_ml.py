"""Read Create ML: a json with a list of images; objects have the centre, width and height of a box in pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from singleshot.data.builder import ReadResult
from singleshot.data.faults import Fault
from singleshot.data.json_kinds import jsons_of_kind
from singleshot.data.tool_labels import (
    LabelFile,
    LabelledImage,
    LabelledObject,
    files_by_split,
    read_label_files,
    read_label_list,
)


def create_ml_files(path: Path) -> dict[str, Path]:
    """Split -> json of Create ML; "" for the only one."""
    return files_by_split(path, lambda folder: jsons_of_kind(folder, "create_ml"))


def read_create_ml(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a json, or of a folder with one, or of a folder with one in each split's folder.

    Raises:
        DataError: not JSON, or not Create ML's.
        UnknownNameError: no such split.
    """
    return read_label_files(path, create_ml_files(path), _parse, split=split, format_name="create_ml")


def _parse(file: Path) -> LabelFile:
    content = LabelFile()
    for number, item in enumerate(read_label_list(file, "Create ML's list of images"), 1):
        name = (item.get("image") or item.get("imagefilename")) if isinstance(item, dict) else None
        objects = item.get("annotations", item.get("annotation", [])) if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(objects, list):
            detail = f"image {number} must have an `image` and `annotations`, got {str(item)[:80]}"
            content.faults.append(Fault("malformed", file.name, detail))
        else:
            content.images.append(LabelledImage(name, 0, 0, [_object(entry) for entry in objects]))
    return content


def _object(item: Any) -> LabelledObject:
    label = item.get("label") if isinstance(item, dict) else None
    label = str(label).strip() if isinstance(label, (str, int)) else ""
    place = item.get("coordinates") if isinstance(item, dict) else None
    numbers: list[Any] = [place.get(key) for key in ("x", "y", "width", "height")] if isinstance(place, dict) else []
    if not label or len(numbers) != 4 or not all(_is_number(number) for number in numbers):
        return LabelledObject(label, None, f"expected a label and x, y, width, height, got {str(item)[:60]}")
    x, y, width, height = map(float, numbers)
    return LabelledObject(label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
