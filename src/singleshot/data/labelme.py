"""Read labelme: a json an image, with `shapes` in pixels and `imagePath`.

Rectangles are boxes; polygons, circles, masks and turned boxes become their upright boxes; lines and points have no
extent and are left out. Polygons and masks of one label and `group_id` are one object, as in labelme's own converters.
An image without a json was not labelled and is left out.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from singleshot.data.builder import ReadResult
from singleshot.data.faults import Fault
from singleshot.data.images import IMAGE_SUFFIXES, images_by_stem
from singleshot.data.json_kinds import json_kind
from singleshot.data.listing import files_in, folders_below, folders_in
from singleshot.data.outlines import CIRCLES, MASKS, POLYGONS, TURNED, Box, box_of_points
from singleshot.data.split_folders import is_split_name, split_folders
from singleshot.data.tool_labels import (
    LabelFile,
    LabelledImage,
    LabelledObject,
    read_label_json,
    read_parsed,
    whole_side,
)

DEEPEST = 12  # folders below the set's
MOST_FOLDERS = 20  # of a folder, where a set is recognised
NO_BOX = "lines and points have no box: left out"
GROUPED = "shapes are parts of one object (group_id)"
NOT_LABELLED = "images have no json: not labelled, left out"
_AREAS = {"rectangle": "", "polygon": POLYGONS, "circle": CIRCLES, "mask": MASKS, "rotation": TURNED}


def is_labelme(folder: Path) -> bool:
    """Whether the first json of a folder, or of one of the first folders in it and below, is labelme's."""
    level = [folder]
    for _ in range(DEEPEST + 1):
        if any(json_kind(file) == "labelme" for place in level for file in files_in(place, ".json")[:1]):
            return True
        level = [child for place in level for child in folders_in(place)[:MOST_FOLDERS]][: MOST_FOLDERS**2]
    return False


def labelme_splits(path: Path) -> list[str]:
    """The folders `train`, `val`, `valid`, `test` and the like that hold jsons."""
    if path.is_file():
        return []
    return [name for name, place in split_folders(path).items() if any(_jsons(place))]


def read_labelme(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a folder of jsons, of one of its splits, or of one json.

    Raises:
        DataError: a json is not labelme's.
        UnknownNameError: no such split.
    """
    root = path if path.is_dir() else path.parent
    content, labelled = LabelFile(), set[str]()
    for file in [path] if path.is_file() else _jsons(path):
        if path.is_file() or json_kind(file) == "labelme":
            _add(content, file, root, labelled)
    if path.is_dir():
        content.notes[NOT_LABELLED] += _count_unlabelled(root, labelled)
    return read_parsed({"": content}, root, {"": path}, split=split, format_name="labelme")


def _count_unlabelled(root: Path, labelled: set[str]) -> int:
    """Images without a json in the folders of those that have one."""
    folders = {os.path.dirname(name) for name in labelled}  # noqa: PTH120  (a hundred thousand names)
    there = {
        posixpath.join(folder, name)
        for folder in folders
        for names in images_by_stem(root / folder).values()
        for name in names
    }
    return len(there - labelled)


def _jsons(folder: Path) -> Iterator[Path]:
    """The jsons of a folder and of those in it, in alphabetical order; hidden ones do not count."""
    for place in folders_below(folder, deepest=DEEPEST):
        yield from files_in(place, ".json")


def _add(content: LabelFile, file: Path, root: Path, labelled: set[str]) -> None:
    """Add the image of one json; a json that cannot be read becomes a fault."""
    place = file.relative_to(root).as_posix()
    try:
        item = read_label_json(file)
    except (OSError, ValueError) as error:
        content.faults.append(Fault("malformed", place, str(error)))
        return
    shapes = item.get("shapes") if isinstance(item, dict) else None
    if not isinstance(shapes, list):
        content.faults.append(Fault("malformed", place, f"expected labelme's list `shapes`, got {str(shapes)[:40]}"))
        return
    name = _image_name(item, file, root)
    labelled.add(name)
    objects = _objects(shapes, content.notes)
    top = place.partition("/")[0]
    split = top if top != place and is_split_name(top) else ""
    size = whole_side(item.get("imageWidth")), whole_side(item.get("imageHeight"))
    content.images.append(LabelledImage(name, *size, objects, split))


def _image_name(item: dict[str, Any], file: Path, root: Path) -> str:
    """The image beside the json that `imagePath` names, or that has the json's stem; else `imagePath` itself."""
    stated = item.get("imagePath")
    stated = stated.replace("\\", "/") if isinstance(stated, str) and "\0" not in stated else ""
    beside = (
        [stated, stated.rpartition("/")[2]] if stated and not stated.startswith("/") else [stated.rpartition("/")[2]]
    )
    beside += [file.stem + suffix for suffix in sorted(IMAGE_SUFFIXES)]
    for name in beside:
        if name and (file.parent / name).is_file():
            return Path(os.path.relpath(file.parent / name, root)).as_posix()
    return stated or f"{file.stem}.jpg"


def _objects(shapes: list[Any], notes: Counter[str]) -> list[LabelledObject]:
    """The objects of an image; parts of one group are united."""
    objects: list[LabelledObject] = []
    groups: dict[tuple[str, str], int] = {}
    for shape in shapes:
        kind = str(shape.get("shape_type") or "polygon") if isinstance(shape, dict) else "object"
        if kind not in _AREAS and kind in {"line", "linestrip", "point", "points"}:
            notes[NO_BOX] += 1
            continue
        item = _object(shape, kind, notes)
        group = shape.get("group_id") if kind in {"polygon", "mask"} else None
        key = (item.label, str(group))
        if group is None or item.box is None or key not in groups:
            groups.setdefault(key, len(objects)) if group is not None and item.box is not None else None
            objects.append(item)
        else:
            notes[GROUPED] += 1
            objects[groups[key]] = _united(objects[groups[key]], item.box)
    return objects


def _united(item: LabelledObject, box: Box) -> LabelledObject:
    assert item.box is not None
    left, top, right, bottom = box_of_points([item.box[:2], item.box[2:], box[:2], box[2:]])
    return LabelledObject(item.label, (left, top, right, bottom), difficult=item.difficult)


def _object(shape: Any, kind: str, notes: Counter[str]) -> LabelledObject:
    label = shape.get("label") if isinstance(shape, dict) else None
    label = str(label).strip() if isinstance(label, (str, int)) else ""
    try:
        if not label:
            raise ValueError(f"the shape has no label, got {str(shape)[:60]}")
        if kind not in _AREAS:
            raise ValueError(f"unknown shape_type {str(kind)[:40]!r}")
        box = _box(shape.get("points"), kind)
    except ValueError as error:
        return LabelledObject(label, None, str(error))
    notes[_AREAS[kind]] += bool(_AREAS[kind])
    return LabelledObject(label, box, difficult=shape.get("difficult") is True)


def _box(points: Any, kind: str) -> Box:
    """A circle is its centre and a point on it; all else is what its points enclose."""
    points = points if isinstance(points, list) else []
    box = box_of_points(points)
    if kind == "rectangle" and len(points) not in {2, 4}:
        raise ValueError(f"a rectangle must have two corners, got {len(points)}")
    if kind != "circle":
        return box
    if len(points) != 2:
        raise ValueError(f"a circle must have two points, got {len(points)}")
    (x, y), radius = points[0], math.dist(points[0], points[1])
    return x - radius, y - radius, x + radius, y + radius
