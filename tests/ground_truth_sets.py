"""Small sets of ground-truth boxes made for tests of coverage."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from singleshot.types import Annotations


def ground_truth_set(
    boxes_xyxy: list | np.ndarray,
    labels: list | np.ndarray,
    class_names: tuple[str, ...] = ("dot", "plate"),
    *,
    size_wh: tuple[int, int] = (320, 320),
    crowd: list | None = None,
) -> Annotations:
    """Ground-truth boxes in pixels, all in one image of this size."""
    boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
    count = len(boxes)
    return Annotations(
        format="voc",
        root=Path(),
        files=("a.jpg",),
        ids=("a",),
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        sizes_wh=np.array([size_wh], np.int32),
        starts=np.array([0, count]),
        boxes_xyxy=boxes,
        labels=np.asarray(labels, np.int64).reshape(count),
        difficult=np.zeros(count, bool),
        crowd=np.zeros(count, bool) if crowd is None else np.array(crowd),
        areas=np.zeros(count, np.float32),
    )


def voc_set(root: Path, split: str) -> Annotations:
    """The ground-truth boxes of a VOC folder's split, read in the plainest way."""
    ids = (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
    trees = [ET.parse(root / "Annotations" / f"{name}.xml").getroot() for name in ids]  # noqa: S314 (our own data)
    found = [[(o.findtext("name"), o.find("bndbox")) for o in tree.findall("object")] for tree in trees]
    names = sorted({name for objects in found for name, _ in objects})
    rows = [
        ([float(box.findtext(side)) for side in ("xmin", "ymin", "xmax", "ymax")], names.index(name))
        for objects in found
        for name, box in objects
    ]
    whole = ground_truth_set([box for box, _ in rows], [label for _, label in rows], tuple(names))
    sizes = [[int(tree.findtext(f"size/{side}")) for side in ("width", "height")] for tree in trees]
    return Annotations(
        **{
            **vars(whole),
            "files": tuple(f"{name}.jpg" for name in ids),
            "ids": tuple(ids),
            "sizes_wh": np.array(sizes, np.int32),
            "starts": np.concatenate([[0], np.cumsum([len(objects) for objects in found])]),
        }
    )


def squares(count: int, side: float, *, seed: int, size: int = 320) -> np.ndarray:
    """Squares of about this side, anywhere in an image of this size."""
    random = np.random.default_rng(seed)
    sides = side * random.uniform(0.85, 1.15, (count, 1))
    corners = random.uniform(0, size - sides, (count, 2))
    return np.concatenate([corners, corners + sides], axis=1)
