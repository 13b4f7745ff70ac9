"""Read VGG Image Annotator (VIA 2 and 1): a json of images with regions, a project, or a CSV with a region a row.

Rectangles are boxes; polygons, circles and ellipses become their upright boxes; points and polylines have no extent and
are left out. A region's attributes have names of the user's own: the class is the one that is called so, else the first
that every region fills. An image without regions is background.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from singleshot.data.builder import ReadResult
from singleshot.data.csv_columns import LABEL
from singleshot.data.faults import Fault
from singleshot.data.json_kinds import HEAD_BYTES, json_kind, jsons_of_kind
from singleshot.data.listing import files_in
from singleshot.data.outlines import CIRCLES, ELLIPSES, POLYGONS, Box, box_of_ellipse, box_of_points
from singleshot.data.tool_labels import (
    LIMIT_BYTES,
    LabelFile,
    LabelledImage,
    LabelledObject,
    files_by_split,
    read_label_files,
    read_label_json,
)
from singleshot.errors import DataError
from singleshot.files import parse_json, read_regular

NO_BOX = "points and polylines have no box: left out"
ONLY_CLASS = "object"
_CSV_COLUMNS = (b"region_shape_attributes", b"region_attributes")
_PREFERRED = (*LABEL, "type", "object", "species")

Region = tuple[Any, Any]
"""The shape attributes and the region attributes."""


def via_files(path: Path) -> dict[str, Path]:
    """Split -> json or CSV of VIA; "" for the only one."""
    return files_by_split(path, _via_in)


def is_via(file: Path) -> bool:
    """Whether a file is one of VIA's, by its first bytes."""
    if file.suffix.lower() != ".csv":
        return json_kind(file) == "via"
    try:
        with file.open("rb") as content:
            header = content.readline(HEAD_BYTES)
    except OSError:
        return False
    return all(name in header for name in _CSV_COLUMNS)


def _via_in(folder: Path) -> list[Path]:
    """The files of a folder: a project or json, else CSVs, for an export is often there in both."""
    return jsons_of_kind(folder, "via") or [file for file in files_in(folder, ".csv") if is_via(file)]


def read_via(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a file of VIA, or of a folder with one, or of a folder with one in each split's folder.

    Raises:
        DataError: not of this form.
        UnknownNameError: no such split.
    """
    return read_label_files(path, via_files(path), _parse, split=split, format_name="via")


def _parse(file: Path) -> LabelFile:
    content = LabelFile()
    regions: dict[str, list[Region]] = {}
    rows = _rows_of_csv(file, content) if file.suffix.lower() == ".csv" else _rows_of_json(file, content)
    for name, of_image in rows:
        regions.setdefault(name, []).extend(of_image)
    key = _class_attribute([attributes for of_image in regions.values() for _, attributes in of_image])
    if key is None:
        content.notes[f"regions have no attribute that could be a class: all are {ONLY_CLASS!r}"] += sum(
            map(len, regions.values())
        )
    elif len({name for of_image in regions.values() for _, given in of_image for name in given}) > 1:
        content.notes[f"regions have several attributes: {key!r} is the class"] += sum(map(len, regions.values()))
    for name, of_image in regions.items():
        objects = [item for region in of_image if (item := _object(region, key, content.notes)) is not None]
        content.images.append(LabelledImage(name, 0, 0, objects))
    return content


def _rows_of_json(file: Path, content: LabelFile) -> Iterator[tuple[str, list[Region]]]:
    """Name and regions of each image. Raises DataError where it is no json of VIA's."""
    try:
        parsed = read_label_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {error}") from None
    images = parsed.get("_via_img_metadata", parsed) if isinstance(parsed, dict) else None
    if not isinstance(images, dict):
        raise DataError(f"{file}: expected VIA's object of images, got {type(images).__name__}")
    for key, item in images.items():
        name, regions = (item.get("filename"), item.get("regions")) if isinstance(item, dict) else (None, None)
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(name, str) or not name or not isinstance(regions, list):
            detail = f"image {key[:60]!r} must have a `filename` and `regions`, got {str(item)[:80]}"
            content.faults.append(Fault("malformed", file.name, detail))
        else:
            yield name, [_region(region) for region in regions]


def _region(region: Any) -> Region:
    if not isinstance(region, dict):
        return region, {}
    attributes = region.get("region_attributes")
    return region.get("shape_attributes"), attributes if isinstance(attributes, dict) else {}


def _rows_of_csv(file: Path, content: LabelFile) -> Iterator[tuple[str, list[Region]]]:
    """Name and region of each row. Raises DataError where it is no CSV of VIA's."""
    line = 0
    try:
        text = read_regular(file, LIMIT_BYTES).decode("utf-8-sig")
        for line, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
            name = (row.get("filename") or row.get("#filename") or "").strip()
            shape, attributes = (row.get(column.decode()) or "{}" for column in _CSV_COLUMNS)
            if not name:
                content.faults.append(Fault("malformed", file.name, f"line {line}: the row names no image"))
                continue
            region = _region(
                {"shape_attributes": parse_json(shape.encode()), "region_attributes": parse_json(attributes.encode())}
            )
            yield name, [region] if region[0] else []
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file}, line {line}: {error}") from None


def _class_attribute(regions: Sequence[Mapping[str, Any]]) -> str | None:
    """The name of the attribute that holds the class; None where the regions have no attributes that are filled."""
    filled = Counter(key for region in regions for key, value in region.items() if _text(value))
    named = sorted(
        (_PREFERRED.index(plain), key) for key in filled if (plain := key.lower().replace("_", "")) in _PREFERRED
    )
    if named:
        return named[0][1]
    return max(filled, key=lambda key: filled[key], default=None)


def _text(value: Any) -> str:
    """An attribute's value; of a list of boxes that were ticked, the first."""
    if isinstance(value, dict):
        value = next((name for name, ticked in value.items() if ticked is True), "")
    return str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""


def _object(region: Region, key: str | None, notes: Counter[str]) -> LabelledObject | None:
    """The object of a region; None for one without extent."""
    shape, attributes = region
    kind = shape.get("name") if isinstance(shape, dict) else None
    if kind in ("point", "polyline"):  # a tuple, as a stranger's value may not be hashable
        notes[NO_BOX] += 1
        return None
    label = ONLY_CLASS if key is None else _text(attributes.get(key))
    try:
        if not label:
            raise ValueError(f"the region has no {key!r}, which is the class")
        return LabelledObject(label, _box(shape, kind, notes))
    except ValueError as error:
        return LabelledObject(label, None, str(error))


def _box(shape: Any, kind: Any, notes: Counter[str]) -> Box:
    if kind == "rect":
        left, top, width, height = _numbers(shape, "x", "y", "width", "height")
        return left, top, left + width, top + height
    if kind == "polygon":
        notes[POLYGONS] += 1
        x, y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise ValueError("a polygon must have as many `all_points_x` as `all_points_y`")
        return box_of_points(list(zip(x, y, strict=True)))
    if kind == "circle":
        notes[CIRCLES] += 1
        x, y, radius = _numbers(shape, "cx", "cy", "r")
        return x - radius, y - radius, x + radius, y + radius
    if kind == "ellipse":
        notes[ELLIPSES] += 1
        x, y, rx, ry = _numbers(shape, "cx", "cy", "rx", "ry")
        theta = _numbers(shape, "theta")[0] if "theta" in shape else 0.0
        return box_of_ellipse((x, y), (rx, ry), math.degrees(theta))
    raise ValueError(f"unknown shape {str(kind)[:40]!r}")


def _numbers(shape: Mapping[str, Any], *names: str) -> list[float]:
    values = [shape.get(name) for name in names]
    numbers = [
        float(value)
        for value in values
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
    ]
    if len(numbers) != len(names):
        raise ValueError(f"{', '.join(names)} must be numbers, got {str(values)[:60]}")
    return numbers
