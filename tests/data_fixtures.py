"""Small data sets, drawn and written for one test."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

Object = tuple[str, tuple[object, object, object, object]]


def image(path: Path, *, width: int = 40, height: int = 30, seed: int | None = None) -> Path:
    """An image of noise, of its name or the seed: no two images, and no two parts of one, are the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(zlib.crc32(path.name.encode()) if seed is None else seed)
    pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def xml(objects: list[Object], *, size: tuple[int, int] | None = (40, 30), difficult: tuple[int, ...] = ()) -> str:
    parts = ["<annotation>"]
    if size is not None:
        parts.append(f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for number, (name, box) in enumerate(objects, 1):
        sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        flag = int(number in difficult)
        parts.append(f"<object><name>{name}</name><difficult>{flag}</difficult><bndbox>{sides}</bndbox></object>")
    return "\n".join([*parts, "</annotation>"])


def voc(root: Path, images: dict[str, str | list[Object]], splits: dict[str, list[str]] | None = None) -> Path:
    """A VOC folder; a value is the xml itself or its objects."""
    (root / "Annotations").mkdir(parents=True)
    for seed, (name, content) in enumerate(images.items()):
        image(root / "JPEGImages" / f"{name}.png", seed=seed)
        text = content if isinstance(content, str) else xml(content)
        (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
    for split, names in (splits or {}).items():
        (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return root


def coco_content(count: int = 2) -> dict[str, list[dict[str, object]]]:
    """`count` images 40x30 with one object each, categories 3 dog and 1 cat (in this order in the file)."""
    return {
        "images": [{"id": 10 + i, "file_name": f"p{i}.png", "width": 40, "height": 30} for i in range(count)],
        "annotations": [
            {"id": 100 + i, "image_id": 10 + i, "category_id": 3, "bbox": [1, 2, 10, 20], "area": 150, "iscrowd": 0}
            for i in range(count)
        ],
        "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}],
    }


def coco(root: Path, content: dict[str, list[dict[str, object]]], split: str = "train2017") -> Path:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for row in content["images"]:
        image(root / split / str(row["file_name"]), seed=len(split) * 100 + int(str(row["id"])))
    (root / f"annotations/instances_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def yolo(root: Path, labels: dict[str, str | None], *, yaml: str | None = None) -> Path:
    """`labels`: "train/a" -> the lines of its text file, None for no text file."""
    for seed, (name, text) in enumerate(labels.items()):
        image(root / "images" / f"{name}.png", seed=seed)
        (root / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (root / "labels" / f"{name}.txt").write_text(text, encoding="utf-8")
    if yaml is not None:
        (root / "data.yaml").write_text(yaml, encoding="utf-8")
    return root
