"""Write COCO: `annotations/instances_SPLIT.json` and `images/`. Crowd regions and areas are kept.

COCO has no mark for difficult objects; they carry a key `difficult`, which our reader takes and others pass over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers.text import as_number, write_text

IMAGES = "images"


def write_coco(data: LabelledSet, folder: Path) -> list[str]:
    """Write a json for each split into an empty folder, `instances_all.json` where there are none."""
    numbers = _image_numbers(data.annotations.ids)
    unlisted = "unlisted" if data.splits else "all"
    for name, indices in data.parts(unlisted=unlisted).items():
        text = json.dumps(_content(data, indices, numbers), ensure_ascii=False, allow_nan=False)
        write_text(folder / "annotations" / f"instances_{name}.json", f"{text}\n")
    difficult = int((data.annotations.difficult & ~data.annotations.crowd).sum())
    return [f"{difficult} difficult objects have the key `difficult`, which COCO's own tools pass over"] * bool(
        difficult
    )


def _image_numbers(ids: Sequence[str]) -> list[int]:
    """The ids where all are whole numbers that differ, else 1, 2 ... ."""
    whole = all(identity.isascii() and identity.isdigit() and len(identity) < 16 for identity in ids)
    numbers = [int(identity) for identity in ids] if whole else []
    return numbers if whole and len(set(numbers)) == len(ids) else list(range(1, len(ids) + 1))


def _content(data: LabelledSet, indices: Sequence[int], numbers: Sequence[int]) -> dict[str, Any]:
    annotations = data.annotations
    rows: list[dict[str, Any]] = []
    for index in indices:
        ground_truth = annotations.ground_truth(index)
        for row, box in enumerate(ground_truth.boxes_xyxy):
            crowd = bool(ground_truth.crowd[row])
            item = {
                "id": len(rows) + 1,
                "image_id": numbers[index],
                "category_id": annotations.category_ids[ground_truth.labels[row]],
                "bbox": _left_top_width_height([as_number(value) for value in box]),
                "area": as_number(ground_truth.areas[row]),
                "iscrowd": int(crowd),
            }
            rows.append(item | ({"difficult": 1} if ground_truth.difficult[row] and not crowd else {}))
    sizes = annotations.sizes_wh.tolist()
    return {
        "images": [
            {"id": numbers[index], "file_name": data.places[index], "width": sizes[index][0], "height": sizes[index][1]}
            for index in indices
        ],
        "annotations": rows,
        "categories": [
            {"id": number, "name": name}
            for number, name in zip(annotations.category_ids, annotations.class_names, strict=True)
        ],
    }


def _left_top_width_height(box: Sequence[float]) -> list[float]:
    """COCO's box; the sides are rounded to 9 decimals, which drops what binary fractions add (0.1 + 0.2)."""
    return [box[0], box[1], round(box[2] - box[0], 9), round(box[3] - box[1], 9)]
