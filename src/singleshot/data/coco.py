"""Read COCO: `annotations/instances_SPLIT.json` beside folders of images, a json in each split's folder, or one json.

Boxes are stored as left, top, width, height. All categories are classes, in the order of their ids, also those without
objects in the split. A crowd region counts as difficult, as in Caffe's COCO lists.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.coco_json import NAMES, CocoJson, id_of, read_coco_json
from singleshot.data.faults import Fault
from singleshot.data.image_names import (
    ANNOTATION_FOLDERS,
    LocatedImages,
    locate_beside,
    locate_images,
    remark_on_names,
    set_folder,
)
from singleshot.data.json_kinds import jsons_of_kind
from singleshot.data.listing import folders_in
from singleshot.errors import DataError, UnknownNameError

ROBOFLOW = "_annotations.coco.json"


def coco_files(path: Path) -> dict[str, Path]:
    """Split -> its json; `annotations/instances_train2017.json` is the split train2017."""
    if path.is_file():
        return {_split_name(path): path}
    if not path.is_dir():
        return {}
    children = folders_in(path)
    for folder in (child for child in children if _is_annotation_folder(child)):
        if files := sorted(folder.glob("instances_*.json")) or jsons_of_kind(folder, "coco"):
            return {_split_name(file): file for file in files}
    in_split = {child.name: child / ROBOFLOW for child in children if (child / ROBOFLOW).is_file()}
    if in_split:
        return in_split
    if files := jsons_of_kind(path, "coco"):
        return {_split_name(file): file for file in files}
    return {child.name: files[0] for child in children if len(files := jsons_of_kind(child, "coco")) == 1}


def _split_name(file: Path) -> str:
    return file.stem.removeprefix("instances_")


def _is_annotation_folder(folder: Path) -> bool:
    return folder.name.lower() in ANNOTATION_FOLDERS


def read_coco(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of one COCO json: that of the split, or the only one.

    Raises:
        DataError: not a COCO instances file.
        UnknownNameError: no such split.
    """
    files = coco_files(path)
    if split is not None and split not in files:
        raise UnknownNameError("split", split, files)
    if split is None and len(files) != 1:
        raise DataError(f"{path} has {len(files)} COCO files; expected one")
    name = next(iter(files)) if split is None else split
    file = files[name]
    if file.parent.name in {"", ".."}:  # named from inside its own folder
        file = Path(os.path.abspath(file))  # noqa: PTH100  (resolve would follow links)
    root = set_folder(path if path.is_dir() else file)
    content = read_coco_json(file)
    categories = _read_categories(content.categories, file)
    _drop_grouping(categories, content, [other for other in files.values() if other != files[name]])
    locate = locate_images if path.is_dir() else locate_beside
    return _build(content, categories, _Place(root, file, name, locate))


_BACKGROUND = ("background", "_background_", "__background__", "__ignore__")
"""Categories that converters of labelme's files and of masks list besides the classes."""


@dataclass
class _Categories:
    """Class name of each category id, and the id that stands for each name; remarks on what was united or dropped."""

    names: dict[Any, str]
    ids: dict[str, int]
    items: list[Any]
    remarks: list[str]


def _read_categories(items: list[Any], file: Path) -> _Categories:
    """The categories in the order of their ids; several of one name become one class.

    Raises:
        DataError: an entry without id or name, or an id with two names.
    """
    names: dict[Any, str] = {}
    for item in items:
        key = id_of(item.get("id")) if isinstance(item, dict) else None
        if key is None or not isinstance(item.get("name"), (str, int)):
            raise DataError(f"{file}: a category must have a whole number `id` and a `name`, got {str(item)[:80]}")
        if names.setdefault(key, str(item["name"])) != str(item["name"]):
            raise DataError(f"{file}: the category id {item['id']} occurs twice, with two names")
    whole = all(isinstance(key, int) for key in names)
    names = dict(sorted(names.items())) if whole else names
    remarks = [] if whole else ["the ids of the categories are texts: they count as 1, 2 ... in the file's order"]
    ids: dict[str, int] = {}
    for number, (key, name) in enumerate(names.items(), 1):
        ids.setdefault(name, key if whole else number)
    twice = sorted({name for name, count in Counter(names.values()).items() if count > 1})
    return _Categories(
        names, ids, items, remarks + [f"several categories are called {name!r}: one class" for name in twice]
    )


def _drop_grouping(categories: _Categories, content: CocoJson, others: list[Path]) -> None:
    """Drop the categories that only group others, as Roboflow's category 0, and those that stand for the background.

    No file of the set has objects of them.
    """
    parents = {str(item.get("supercategory")) for item in categories.items}
    grouping = {
        id_of(item["id"])
        for item in categories.items
        if str(item["name"]).lower() in _BACKGROUND
        or (item.get("supercategory") in (None, "", "none") and str(item["name"]) in parents)
    }
    grouping -= set(content.category_keys)
    for file in others if grouping else ():
        grouping -= set(read_coco_json(file).category_keys)
    for key in grouping:
        name = categories.names.pop(key)
        rest = [other for other, same in categories.names.items() if same == name]
        if rest:
            categories.ids[name] = rest[0]
        else:
            del categories.ids[name]
        categories.remarks = [text for text in categories.remarks if f"called {name!r}:" not in text or len(rest) > 1]
        role = "stands for the background" if name.lower() in _BACKGROUND else "only groups others"
        categories.remarks.append(f"the category {name!r} {role} and has no objects: it is no class")


@dataclass(frozen=True)
class _Place:
    """Where a json lies: the set's folder, the json, its split, and how images are found."""

    root: Path
    file: Path
    split: str
    locate: Callable[[Sequence[str], Path, Sequence[str]], LocatedImages]


def _build(content: CocoJson, categories: _Categories, where: _Place) -> ReadResult:
    root, file = where.root, where.file
    place = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
    faults: list[Fault] = []
    remarks = list(categories.remarks)
    images = _sound_images(content.images, place, faults, remarks)
    names = [_file_name(image) for image in images.values()]
    located = where.locate(names, root, list(_folders(root, file, where.split)))
    rows = _rows_by_image(content, images, place, faults)
    builder = AnnotationBuilder()
    for index, (key, image) in enumerate(images.items()):
        builder.add_image(located.files[index], str(key), width=_side(image, "width"), height=_side(image, "height"))
        faults += _add_objects(builder, content, rows.get(key, ()), categories)
    remarks += _remarks(content, images)
    if text := remark_on_names(located):
        remarks.append(text)
    return builder.finish(
        [*faults, *located.faults],
        format_name="coco",
        root=root,
        class_names=tuple(categories.ids),
        category_ids=tuple(categories.ids.values()),
        remarks=remarks,
    )


def _remarks(content: CocoJson, images: dict[Any, Any]) -> list[str]:
    """What was guessed or converted, and how often."""
    notes = content.notes
    remarks = []
    if notes["outlines"]:
        remarks.append(f"{notes['outlines']} outlines without a box: their upright boxes")
    if notes["masks"]:
        remarks.append(f"{notes['masks']} masks (RLE) without a box: their upright boxes")
    if notes["boxes of texts"]:
        remarks.append(f"the numbers of {notes['boxes of texts']} boxes are texts: read as numbers")
    if notes["areas"]:
        remarks.append(f"{notes['areas']} areas are NaN or infinite: the area of the box counts")
    if notes["texts"] and any(isinstance(image["id"], (int, float)) for image in images.values()):
        remarks.append(f'image_id is a text in {notes["texts"]} annotations, the images\' ids are numbers: "1" is 1')
    names = [identity for identity in content.names if isinstance(identity, (int, str))]
    if repeated := len(names) - len(set(names)):
        remarks.append(f"{repeated} annotations repeat an id of another: nothing depends on it")
    return remarks


def _side(image: dict[str, Any], side: str) -> int:
    value = image.get(side)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    return int(value) if isinstance(value, (int, float)) and 0 < value < 2**31 else 0


def _file_name(image: dict[str, Any]) -> str:
    """The image's name; "" where it has none."""
    names = (image.get(key) for key in NAMES)
    return next((name for name in names if isinstance(name, str) and name and "\0" not in name), "")


def _sound_images(items: list[Any], place: str, faults: list[Fault], remarks: list[str]) -> dict[Any, dict[str, Any]]:
    """Images by id; malformed entries, and an id of two files, become faults."""
    images: dict[Any, dict[str, Any]] = {}
    repeated = 0
    for item in items:
        key = id_of(item.get("id")) if isinstance(item, dict) else None
        if key is None:
            faults.append(Fault("malformed", place, f"an image must have an `id`, got {str(item)[:80]}"))
        elif not _file_name(item):
            faults.append(Fault("malformed", place, f"image {item['id']!r} has no `file_name`"))
        elif key not in images:
            images[key] = item
        elif _file_name(images[key]) == _file_name(item):
            repeated += 1
        else:
            faults.append(Fault("duplicate id", place, f"image id {item['id']!r} occurs twice"))
    if repeated:
        remarks.append(f"{repeated} images are listed again with the same id and file: once is enough")
    return images


def _rows_by_image(content: CocoJson, images: dict[Any, Any], place: str, faults: list[Fault]) -> dict[Any, list[int]]:
    """Annotations of each image, in the order of the file; one whose image does not exist becomes a fault."""
    faults += [
        Fault("malformed", place, f"an annotation must have an `image_id`, got {str(item)[:80]}")
        for item in content.bad_items
    ]
    by_number = _by_number(images)
    rows: dict[Any, list[int]] = {}
    for row, key in enumerate(content.image_keys):
        known = key if key in images else by_number.get(key)
        if known is None:
            detail = f"annotation {content.names[row]!r} is of no image: image_id {str(key)[:40]!r}"
            faults.append(Fault("malformed", place, detail))
        else:
            rows.setdefault(known, []).append(row)
    return rows


def _by_number(images: dict[Any, Any]) -> dict[int, Any]:
    """Number -> id of the images whose ids are texts such as "000139", where no two are the same number."""
    texts = [key for key in images if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 19]
    counts = Counter(map(int, texts))
    return {int(text): text for text in texts if counts[int(text)] == 1}


def _add_objects(
    builder: AnnotationBuilder, content: CocoJson, rows: Sequence[int], categories: _Categories
) -> Iterator[Fault]:
    """Add the annotations of the image that was added last; one that cannot be used becomes a fault."""
    for number, row in enumerate(rows, 1):
        name = categories.names.get(content.category_keys[row])
        if row in content.malformed or name is None:
            yield _fault(content, row, builder.files[-1], number)
            continue
        left, top, width, height = content.boxes[4 * row : 4 * row + 4]
        crowd, area = bool(content.crowd[row]), content.areas[row]
        builder.add_box(
            (left, top, left + width, top + height),
            name,
            number=number,
            difficult=crowd or bool(content.difficult[row]),
            crowd=crowd,
            area=None if isnan(area) else area,
        )


def _fault(content: CocoJson, row: int, file: str, number: int) -> Fault:
    """What is wrong with an annotation: its box, else its category."""
    which = f"annotation {content.names[row]!r}"
    if row in content.malformed:
        return Fault("malformed", file, f"{which}: {content.malformed[row]}", number)
    category = str(content.category_keys[row])[:40]
    return Fault("unknown class", file, f"{which}: category_id {category} is not among the categories", number)


def _folders(root: Path, file: Path, split: str) -> Iterator[str]:
    """Where the images may lie, relative to the root: a folder named after the split, `images`, the json's folder."""
    short = split.rstrip("0123456789")
    beside = file.parent.relative_to(root).as_posix() if file.parent.is_relative_to(root) else ""
    if file.name == ROBOFLOW:
        yield beside
    names = [split, f"images/{split}", short, f"images/{short}"]
    yield from names if "" not in {split, short} else ()
    yield from ("images", "", beside, "data", "JPEGImages")
