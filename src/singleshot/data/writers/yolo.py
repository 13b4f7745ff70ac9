"""Write YOLO: `images/`, `labels/`, `data.yaml` and a list of images for each of train, val and test.

YOLO knows neither difficult objects nor crowd regions. A crowd region would be learnt as one object: it is left out.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from singleshot.data.whole_set import LabelledSet, roles
from singleshot.data.writers.text import write_text
from singleshot.errors import DataError

IMAGES = "images"


def adapt(data: LabelledSet) -> tuple[LabelledSet, list[str]]:
    """The set without crowd regions, its splits as YOLO's three; remarks count what is lost."""
    lists = roles(data.splits)
    remarks = []
    if dropped := [name for name, indices in data.splits.items() if indices not in lists.values()]:
        remarks.append(f"splits left out, for YOLO has train, val and test: {', '.join(dropped)}")
    if crowd := int(data.annotations.crowd.sum()):
        remarks.append(f"{crowd} crowd regions left out: YOLO would learn each as one object")
    return replace(data.only_boxes(~data.annotations.crowd), splits=lists), remarks


def write_yolo(data: LabelledSet, folder: Path) -> list[str]:
    """Write labels, lists and yaml of an adapted set into an empty folder; remarks count what YOLO cannot say.

    Raises:
        DataError: the size of an image with objects is not known.
    """
    annotations = data.annotations
    for index, place in enumerate(data.places):
        write_text(folder / "labels" / f"{posixpath.splitext(place)[0]}.txt", "".join(_lines(data, index)))
    for name, indices in data.splits.items():
        write_text(folder / f"{name}.txt", "".join(f"./{IMAGES}/{data.places[index]}\n" for index in indices))
    sources = {name: f"{name}.txt" for name in data.splits} or {"train": IMAGES}
    names = dict(enumerate(annotations.class_names))
    write_text(folder / "data.yaml", yaml.safe_dump({**sources, "names": names}, sort_keys=False, allow_unicode=True))
    remarks = []
    if not data.splits:
        remarks.append("the set has no splits: data.yaml names all images for train (`ssd data split` makes some)")
    if difficult := int(annotations.difficult.sum()):
        remarks.append(f"{difficult} difficult objects are ordinary ones now: YOLO has no such mark")
    return remarks


def _lines(data: LabelledSet, index: int) -> list[str]:
    """`class cx cy width height` as fractions, exact enough to give the same float32 pixels again."""
    ground_truth = data.annotations.ground_truth(index)
    boxes = ground_truth.boxes_xyxy.astype(np.float64)
    width, height = data.annotations.sizes_wh[index].tolist()
    if len(boxes) and not (width and height):
        raise DataError(f"{data.annotations.path(index)}: YOLO needs the size of the image, which is not known")
    left, top, right, bottom = boxes.T
    centres = (left + right) / 2 / (width or 1), (top + bottom) / 2 / (height or 1)
    sides = (right - left) / (width or 1), (bottom - top) / (height or 1)
    table = np.stack([*centres, *sides], axis=1)
    return [
        f"{label} {' '.join(np.format_float_positional(value, precision=12, trim='-') for value in row)}\n"
        for label, row in zip(ground_truth.labels.tolist(), table, strict=True)
    ]
