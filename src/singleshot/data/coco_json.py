"""The three lists of a COCO json, packed while it is parsed, and what is refused before.

What other tools write differently is understood here: ids as texts or floats, `"area": NaN`, outlines without a box.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from itertools import islice
from math import nan
from pathlib import Path
from typing import Any

from singleshot.data.outlines import box_of_coco_outline
from singleshot.errors import DataError
from singleshot.files import parse_json, read_regular

LIMIT_BYTES = 2**32  # COCO's own train2017 has half a gigabyte
LONGEST_OBJECT = 2**23
"""Bytes in which the end of an object has to come."""
MOST_LISTS = 50_000_000
"""Boxes and polygons of a file."""
MOST_AN_IMAGE = 5_000
"""Annotations an image, on average, of a file with more than a million."""
CROWD = frozenset({"1", "1.0", "True", "true"})
"""Ways to write `iscrowd`; "0" as a text is none of them."""
NAMES = ("file_name", "filename", "coco_url")
"""Keys of an image's file: COCO's, that of some tools, and LVIS' (an address, which is never opened)."""
_NAN_AREA = re.compile(rb'("area"\s*:\s*)(?:NaN|-?Infinity)\b')


class CocoJson:
    """The three lists of a json. Annotations are packed into arrays as they are parsed: their objects are not kept.

    Attributes:
        images: as they stand.
        categories: as they stand.
        image_keys: of each annotation, by `id_of`.
        category_keys: likewise.
        names: each annotation's own id.
        boxes: left, top, width, height of each.
        areas: nan where none is stated.
        crowd: 1 for a crowd region.
        difficult: 1 where the key says so, which `ssd data convert` writes.
        malformed: annotation -> what is wrong with its box.
        notes: how often something was converted.
        bad_items: what stands in the list of annotations and is none.
    """

    def __init__(self) -> None:
        self.images: list[Any] = []
        self.categories: list[Any] = []
        self.image_keys: list[Any] = []
        self.category_keys: list[Any] = []
        self.names: list[Any] = []
        self.boxes = array("d")
        self.areas = array("d")
        self.crowd = array("b")
        self.difficult = array("b")
        self.malformed: dict[int, str] = {}
        self.notes: Counter[str] = Counter()
        self.bad_items: list[Any] = []

    def each_object(self, item: dict[str, Any]) -> Any:
        """Take an annotation out of the json while it is parsed; outlines are nine tenths of a file."""
        if "image_id" not in item:
            return item
        row = len(self.names)
        self.names.append(item.get("id"))
        self.image_keys.append(id_of(item["image_id"]))
        self.category_keys.append(id_of(item.get("category_id")))
        if isinstance(item["image_id"], str):
            self.notes["texts"] += 1
        box, area = item.get("bbox"), item.get("area")
        if not box or box == [0, 0, 0, 0]:
            box = self._box_of_outline(row, item.get("segmentation"), box)
        if isinstance(box, list) and all(isinstance(value, str) for value in box):
            box = self._numbers_of_texts(box)
        if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
            self.malformed.setdefault(row, f"bbox must be 4 numbers, got {str(box)[:60]}")
            box = [0.0, 0.0, 0.0, 0.0]
        self.boxes.extend(box)
        self.areas.append(area if area is not None and is_number(area) else nan)
        crowd = item.get("iscrowd")
        self.crowd.append(crowd != 0 and str(crowd) in CROWD)
        self.difficult.append(item.get("difficult") == 1)
        return None

    def _numbers_of_texts(self, box: list[Any]) -> list[Any]:
        """A box whose numbers are texts, `"12.5"`, as some tools write them; as it is where one is none."""
        try:
            numbers = [float(value) for value in box]
        except ValueError:
            return box
        self.notes["boxes of texts"] += 1
        return numbers

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


def read_coco_json(file: Path) -> CocoJson:
    """Parse a json; `"area": NaN`, as Python writes it, states no area.

    Raises:
        DataError: not a COCO instances file.
    """
    coco = CocoJson()
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
    for begin in range(0, len(raw) - LONGEST_OBJECT, LONGEST_OBJECT):
        if raw.find(b"}", begin, begin + LONGEST_OBJECT) < 0:
            raise ValueError(f"an object around byte {begin:,} has more than {LONGEST_OBJECT // 2**20} MB")
    lists, objects = raw.count(b"["), raw.count(b'"image_id"')
    images = max(raw.count(f'"{name}"'.encode()) for name in NAMES)
    if lists > MOST_LISTS:
        raise ValueError(f"at most {MOST_LISTS:,} boxes and polygons are read, got {lists:,}: split the file")
    if objects > 10**6 and objects > MOST_AN_IMAGE * images:
        raise ValueError(f"{objects:,} annotations of {images:,} images: more than {MOST_AN_IMAGE:,} an image")


def _keys(content: Any) -> str:
    return (
        f"the keys {', '.join(map(str, islice(content, 10)))}" if isinstance(content, dict) else type(content).__name__
    )


def id_of(identity: Any) -> int | str | None:
    """An id as other tools mean it: `1`, `1.0` and `"1"` are the same; None where it is no id."""
    if type(identity) is int:
        return identity
    if isinstance(identity, float) and identity.is_integer():
        return int(identity)
    if isinstance(identity, str):
        whole = identity.isascii() and identity.isdigit() and len(identity) < 19 and str(int(identity)) == identity
        return int(identity) if whole else identity
    return None


def is_number(value: Any) -> bool:
    """Whether a value is a number that float64 holds; neither a text nor true or false."""
    return type(value) in (float, int) and abs(value) < 1e300
