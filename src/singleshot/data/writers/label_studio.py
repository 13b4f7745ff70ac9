"""Write Label Studio: `tasks.json` (one in a folder for each split), `images/`, and `label-config.xml`.

What people labelled is an annotation of its task. A model's boxes are its `predictions`, which Label Studio shows as a
draft and does not count as labels until a person submits them. Images are named as local files below the folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import numpy as np

from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers.text import write_text
from singleshot.errors import DataError

IMAGES = "images"
TASKS, CONFIG = "tasks.json", "label-config.xml"
LOCAL_FILE = "/data/local-files/?d="
"""How Label Studio names a file below its LOCAL_FILES_DOCUMENT_ROOT."""


def write_label_studio(data: LabelledSet, folder: Path) -> list[str]:
    """Write tasks and the labelling interface into an empty folder; remarks count what Label Studio cannot say.

    Raises:
        DataError: the size of an image with objects is not known.
    """
    for name, indices in data.parts(unlisted="unlisted" if data.splits else "").items():
        text = json.dumps([_task(data, index) for index in indices], ensure_ascii=False, allow_nan=False, indent=1)
        write_text(folder / name / TASKS, f"{text}\n")
    write_text(folder / CONFIG, _interface(data.annotations.class_names))
    annotations = data.annotations
    counts = {"difficult objects": annotations.difficult & ~annotations.crowd, "crowd regions": annotations.crowd}
    return [
        f"{count} {what} are ordinary ones now: Label Studio has no such mark"
        for what, rows in counts.items()
        if (count := int(rows.sum()))
    ]


def _task(data: LabelledSet, index: int) -> dict[str, Any]:
    results = _results(data, index)
    task: dict[str, Any] = {"data": {"image": f"{LOCAL_FILE}{quote(f'{IMAGES}/{data.places[index]}')}"}}
    if data.predicted is None:
        return {**task, "annotations": [{"result": results}]}
    start = data.annotations.starts[index]
    scores = data.predicted.scores[start : start + len(results)].tolist()
    scored = [{**result, "score": round(score, 6)} for result, score in zip(results, scores, strict=True)]
    certainty = round(1 / (1 + float(data.predicted.corrections[index])), 6)
    return {**task, "predictions": [{"model_version": data.predicted.model, "score": certainty, "result": scored}]}


def _results(data: LabelledSet, index: int) -> list[dict[str, Any]]:
    """The boxes of an image, in percent of its size."""
    ground_truth = data.annotations.ground_truth(index)
    width, height = data.annotations.sizes_wh[index].tolist()
    if len(ground_truth) and not (width and height):
        raise DataError(f"{data.annotations.path(index)}: Label Studio needs the size of the image, which is not known")
    left, top, right, bottom = ground_truth.boxes_xyxy.astype(np.float64).T * 100
    columns = (left / (width or 1), top / (height or 1), (right - left) / (width or 1), (bottom - top) / (height or 1))
    return [
        {
            "id": f"box{number}",
            "from_name": "label",
            "to_name": "image",
            "type": "rectanglelabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                **dict(zip(("x", "y", "width", "height"), sides, strict=True)),
                "rotation": 0,
                "rectanglelabels": [data.annotations.class_names[label]],
            },
        }
        for number, (label, sides) in enumerate(
            zip(ground_truth.labels.tolist(), np.stack(columns, axis=1).tolist(), strict=True), 1
        )
    ]


def _interface(class_names: Sequence[str]) -> str:
    """The labelling interface: a project's settings take it under Labeling Interface, Code."""
    view = ET.Element("View")
    ET.SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
    labels = ET.SubElement(view, "RectangleLabels", {"name": "label", "toName": "image"})
    for name in class_names:
        ET.SubElement(labels, "Label", {"value": name})
    ET.indent(view)
    return f"{ET.tostring(view, encoding='unicode')}\n"
