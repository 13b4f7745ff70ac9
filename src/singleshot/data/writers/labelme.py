"""Write labelme: a json beside each image, a rectangle an object. Splits are the folders `train`, `val` and `test`."""

from __future__ import annotations

import json
import posixpath
from dataclasses import replace
from pathlib import Path
from typing import Any

from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers.text import as_number, write_text

IMAGES = ""
SPLITS = ("train", "val", "valid", "test")


def write_labelme(data: LabelledSet, folder: Path) -> list[str]:
    """Write the jsons into an empty folder; remarks count what labelme cannot say."""
    for index, place in enumerate(data.places):
        text = json.dumps(_content(data, index), ensure_ascii=False, allow_nan=False, indent=1)
        write_text(folder / f"{posixpath.splitext(place)[0]}.json", f"{text}\n")
    crowd = int(data.annotations.crowd.sum())
    return [f"{crowd} crowd regions are marked difficult: labelme has no crowd"] if crowd else []


def adapt(data: LabelledSet) -> tuple[LabelledSet, list[str]]:
    """The set with each image in the folder of its split; a remark names the splits that cannot be folders."""
    splits: dict[str, tuple[int, ...]] = {}
    places = list(data.places)
    taken = set[int]()
    for name, indices in data.splits.items():
        if name.lower().startswith(SPLITS) and "trainval" not in name.lower() and taken.isdisjoint(indices):
            splits[name] = indices
            taken.update(indices)
            for index in indices:
                if not places[index].startswith(f"{name}/"):
                    places[index] = f"{name}/{places[index]}"
    dropped = [name for name in data.splits if name not in splits]
    remarks = [f"splits left out, for labelme's are folders: {', '.join(dropped)}"] if dropped else []
    return replace(data, places=tuple(places), splits=splits), remarks


def _content(data: LabelledSet, index: int) -> dict[str, Any]:
    ground_truth = data.annotations.ground_truth(index)
    width, height = data.annotations.sizes_wh[index].tolist()
    shapes = []
    for row, box in enumerate(ground_truth.boxes_xyxy):
        left, top, right, bottom = (as_number(value) for value in box)
        shapes.append(
            {
                "label": data.annotations.class_names[ground_truth.labels[row]],
                "points": [[left, top], [right, bottom]],
                "group_id": None,
                "difficult": bool(ground_truth.difficult[row] or ground_truth.crowd[row]),
                "shape_type": "rectangle",
                "flags": {},
            }
        )
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": posixpath.basename(data.places[index]),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
