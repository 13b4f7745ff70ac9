"""Read COCO: `annotations/instances_SPLIT.json` beside folders of images, a json in each split's folder, or one json.

Boxes are stored as left, top, width, height. All categories are classes, in the order of their ids, also those without
objects in the split. A crowd region counts as difficult, as in Caffe's COCO lists.
"""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isnan, nan
from pathlib import Path
from typing import Any

from singleshot.data.builder import AnnotationBuilder, ReadResult
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
from singleshot.data.outlines import box_of_coco_outline
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import parse_json, read_regular

LIMIT_BYTES = 2**32  # COCO's own train2017 has half a gigabyte
LONGEST_OBJECT = 2**24
"""Bytes of one annotation; of the largest outline of COCO 2017 there are some ten thousand."""
MOST_LISTS = 50_000_000
"""Boxes and polygons of a file; COCO's train2017 has three million."""
MOST_AN_IMAGE = 5_000
"""Annotations an image, on average, of a file with more than a million."""
ROBOFLOW = "_annotations.coco.json"
CROWD = frozenset({"1", "1.0", "True", "true"})
"""Ways to write `iscrowd`; "0" as a text is none of them."""
NAMES = ("file_name", "filename", "coco_url")
"""Keys of an image's file: COCO's, that of some tools, and LVIS' (an address, which is never opened)."""
_NAN_AREA = re.compile(rb'("area"\s*:\s*)(?:NaN|-?Infinity)\b')


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
    content = _parse(file)
    categories = _read_categories(content.categories, file)
    _drop_grouping(categories, content, [other for other in files.values() if other != files[name]])
    locate = locate_images if path.is_dir() else locate_beside
    return _build(content, categories, _Place(root, file, name, locate))


@dataclass
class _Categories:
    """Class name of each category id, and the id that stands for each name; remarks on what was united or dropped."""

    names: dict[Any, str]
    ids: dict[str, int]
    items: list[Any]
    remarks: list[str]


class _CocoFile:
    """The three lists of a json. Annotations are packed into arrays as they are parsed: their objects are not kept."""

    def __init__(self) -> None:
        self.images: list[Any] = []
        self.categories: list[Any] = []
        self.image_keys: list[Any] = []
        self.category_keys: list[Any] = []
        self.names: list[Any] = []  # the annotation's own id
        self.boxes = array("d")  # left, top, width, height
        self.areas = array("d")
        self.crowd = array("b")
        self.difficult = array("b")  # a key that `ssd data convert` writes
        self.malformed: dict[int, str] = {}
        self.notes: Counter[str] = Counter()
        self.bad_items: list[Any] = []

    def each_object(self, item: dict[str, Any]) -> Any:
        """Take an annotation out of the json while it is parsed; outlines are nine tenths of a file."""
        if "image_id" not in item:
            return item
        row = len(self.names)
        self.names.append(item.get("id"))
        self.image_keys.append(_key(item["image_id"]))
        self.category_keys.append(_key(item.get("category_id")))
        if isinstance(item["image_id"], str):
            self.notes["texts"] += 1
        box, area = item.get("bbox"), item.get("area")
        if not box or box == [0, 0, 0, 0]:
            box = self._box_of_outline(row, item.get("segmentation"), box)
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            self.malformed.setdefault(row, f"bbox must be 4 numbers, got {str(box)[:60]}")
            box = [0.0, 0.0, 0.0, 0.0]
        self.boxes.extend(box)
        self.areas.append(area if area is not None and _is_number(area) else nan)
        crowd = item.get("iscrowd")
        self.crowd.append(crowd != 0 and str(crowd) in CROWD)
        self.difficult.append(item.get("difficult") == 1)
        return None

    def _box_of_outline(self, row: int, outline: Any, box: Any) -> Any:
        if not outline:
            return box
        try:
            left, top, right, bottom = box_of_coco_outline(outline)
        except ValueError as error:
            self.malformed[row] = f"it has no bbox, and {error}"
            return box
        self.notes["masks" if isinstance(outline, dict) else "outlines"] += 1
        return [left, top, right - left, bottom - top]


def _parse(file: Path) -> _CocoFile:
    """Parse a json; `"area": NaN`, as Python writes it, states no area.

    Raises:
        DataError: not a COCO instances file.
    """
    coco = _CocoFile()
    try:
        raw = read_regular(file, LIMIT_BYTES)
        _require_bounded(raw)
        if b"NaN" in raw or b"Infinity" in raw:
            raw, coco.notes["areas"] = _NAN_AREA.subn(rb"\1null", raw)
        content = parse_json(raw, each_object=coco.each_object)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {error}") from None
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        what_to_do = "if it is another tool's, export it as COCO, VOC or YOLO"
        raise DataError(f"{file}: expected COCO's lists {', '.join(keys)}; got {_keys(content)}; {what_to_do}")
    coco.images, coco.categories = content["images"], content["categories"]
    coco.bad_items = [item for item in content["annotations"] if item is not None]
    if len(coco.names) + len(coco.bad_items) != len(content["annotations"]):
        raise DataError(f"{file}: `image_id` is a key of annotations only, but stands elsewhere, too")
    return coco


def _require_bounded(raw: bytes) -> None:
    """Refuse, before it is parsed, a file that would take the machine's memory.

    Raises:
        ValueError: one object, all lists, or the objects of an image are too many; one line with the limit.
    """
    step = LONGEST_OBJECT // 2
    for begin in range(0, len(raw) - step, step):
        if raw.find(b"}", begin, begin + step) < 0:
            raise ValueError(f"an object around byte {begin:,} has more than {LONGEST_OBJECT // 2**20} MB")
    lists, objects, images = (raw.count(text) for text in (b"[", b'"image_id"', b'"file_name"'))
    if lists > MOST_LISTS:
        raise ValueError(f"at most {MOST_LISTS:,} boxes and polygons are read, got {lists:,}: split the file")
    if objects > 10**6 and objects > MOST_AN_IMAGE * images:
        raise ValueError(f"{objects:,} annotations of {images:,} images: more than {MOST_AN_IMAGE:,} an image")


def _keys(content: Any) -> str:
    return (
        f"the keys {', '.join(map(str, islice(content, 10)))}" if isinstance(content, dict) else type(content).__name__
    )


def _key(identity: Any) -> int | str | None:
    """An id as other tools mean it: `1`, `1.0` and `"1"` are the same; None where it is no id."""
    if type(identity) is int:
        return identity
    if isinstance(identity, float) and identity.is_integer():
        return int(identity)
    if isinstance(identity, str):
        whole = identity.isascii() and identity.isdigit() and len(identity) < 19 and str(int(identity)) == identity
        return int(identity) if whole else identity
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (float, int) and abs(value) < 1e300


def _read_categories(items: list[Any], file: Path) -> _Categories:
    """The categories in the order of their ids; several of one name become one class.

    Raises:
        DataError: an entry without id or name, or an id with two names.
    """
    names: dict[Any, str] = {}
    for item in items:
        key = _key(item.get("id")) if isinstance(item, dict) else None
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


def _drop_grouping(categories: _Categories, content: _CocoFile, others: list[Path]) -> None:
    """Drop the categories that only group others, as Roboflow's category 0: no file of the set has objects of them."""
    parents = {str(item.get("supercategory")) for item in categories.items}
    grouping = {
        _key(item["id"])
        for item in categories.items
        if item.get("supercategory") in (None, "", "none") and str(item["name"]) in parents
    }
    grouping -= set(content.category_keys)
    for file in others if grouping else ():
        grouping -= set(_parse(file).category_keys)
    for key in grouping:
        name = categories.names.pop(key)
        rest = [other for other, same in categories.names.items() if same == name]
        if rest:
            categories.ids[name] = rest[0]
        else:
            del categories.ids[name]
        categories.remarks = [text for text in categories.remarks if f"called {name!r}:" not in text or len(rest) > 1]
        categories.remarks.append(f"the category {name!r} only groups others and has no objects: it is no class")


@dataclass(frozen=True)
class _Place:
    """Where a json lies: the set's folder, the json, its split, and how images are found."""

    root: Path
    file: Path
    split: str
    locate: Callable[[Sequence[str], Path, Sequence[str]], LocatedImages]


def _build(content: _CocoFile, categories: _Categories, where: _Place) -> ReadResult:
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


def _remarks(content: _CocoFile, images: dict[Any, Any]) -> list[str]:
    """What was guessed or converted, and how often."""
    notes = content.notes
    remarks = []
    if notes["outlines"]:
        remarks.append(f"{notes['outlines']} outlines without a box: their upright boxes")
    if notes["masks"]:
        remarks.append(f"{notes['masks']} masks (RLE) without a box: their upright boxes")
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
        key = _key(item.get("id")) if isinstance(item, dict) else None
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


def _rows_by_image(content: _CocoFile, images: dict[Any, Any], place: str, faults: list[Fault]) -> dict[Any, list[int]]:
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
    builder: AnnotationBuilder, content: _CocoFile, rows: Sequence[int], categories: _Categories
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


def _fault(content: _CocoFile, row: int, file: str, number: int) -> Fault:
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
