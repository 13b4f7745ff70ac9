"""Damaged annotation files of every tool: a reader answers with faults or one of our errors, never with a traceback."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from data_fixtures import coco_content, image
from singleshot.data.check import check
from singleshot.data.recognise import open_data
from singleshot.errors import SingleshotError

if TYPE_CHECKING:
    from pathlib import Path

REGION = {"x": 1, "y": 2, "width": 9, "height": 9, "rotation": 5, "rectanglelabels": ["cat"]}
RESULT = {"id": "r", "original_width": 40, "original_height": 30, "value": REGION}
POLYGON = {"label": "cat", "points": [[1, 2], [5, 2], [5, 9]], "shape_type": "polygon", "group_id": 1}
COCO = {
    **coco_content(),
    "categories": [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 3, "name": "dog", "supercategory": "animals"},
    ],
}
COCO["annotations"][1] = {
    "id": 1, "image_id": 11, "category_id": 3, "segmentation": {"size": [30, 40], "counts": [32, 20, 1148]}
}  # fmt: skip
FILES: dict[str, Any] = {
    "x.json": COCO,
    "labelme/p0.json": {"version": "5", "flags": {}, "shapes": [POLYGON, POLYGON], "imagePath": "p0.png"},
    "createml.json": [
        {"image": "p0.png", "annotations": [{"label": "cat", "coordinates": {"x": 9, "y": 9, "width": 5, "height": 5}}]}
    ],
    "tasks.json": [{"id": 1, "data": {"image": "p0.png"}, "annotations": [{"id": 1, "result": [RESULT, RESULT]}]}],
    "metadata.jsonl": {"file_name": "p0.png", "objects": {"bbox": [[1, 2, 9, 9]], "categories": ["cat"]}},
}
TEXTS = {
    "annotations.xml": '<annotations><image name="p0.png" width="40" height="30"><box label="cat" xtl="1" ytl="2" '
    'xbr="9" ybr="9" rotation="5"/><polygon label="cat" points="1,2;3,4;5,1"/></image></annotations>',
    "boxes.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\np0.png,40,30,cat,1,2,9,9\n",
}
WRONG: list[Any] = [
    None, True, -1, 1.5, 1e308, 10**30, "", "x", "\0", "../../x", "/dev/zero", "http://x/y", [], {}, [[]], [1],
    {"a": 1},    "9" * 400, float("inf"), float("nan"), [None] * 4, [0, 0, 0, 0], "\ud800", ["a", "b", "c", "d"],
    {"size": [1, 1], "counts": "~"}, {"size": [30, 40], "counts": [1, 10**20]},
]  # fmt: skip
BYTES = [b"NaN", b"\0", b"\xff\xfe", b"1e999", b",,", b'"', b"&#0;", b"<!--", b"\xf0\x9f", b"[", b"}", b";", b"\n"]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with one of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *places(value[key])]]


def damaged(content: bytes, *, structured: bool, draw: random.Random) -> bytes:
    """The content with a few values replaced or dropped, or with a few bytes changed."""
    if structured and draw.random() < 0.7:
        document = json.loads(content)
        for _ in range(draw.randint(1, 2)):
            container, key = draw.choice(places(document) or [([0], 0)])
            with suppress(IndexError, KeyError):
                if draw.random() < 0.8:
                    container[key] = draw.choice(WRONG)
                else:
                    del container[key]
        return json.dumps(document).encode()
    changed = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(changed))
        changed[place : place + draw.choice([0, 0, 1, 9])] = draw.choice(BYTES)
    return bytes(changed)


@pytest.mark.parametrize("name", [*FILES, *TEXTS])
def test_damage_is_never_a_traceback(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    for picture in ("p0.png", "p1.png"):
        image(file.parent / picture)
    whole = (json.dumps(FILES[name]) if name in FILES else TEXTS[name]).encode()
    file.write_bytes(whole)
    assert check(file).faults == ()
    draw = random.Random(name)
    for _ in range(60):
        file.write_bytes(damaged(whole, structured=name in FILES, draw=draw))
        for use in (open_data, check):
            with suppress(SingleshotError):
                use(file)
