"""Read Label Studio's JSON, the full export and JSON-MIN: a list of tasks, coordinates in percent of the original size.

Rectangles may be turned clockwise about their left top corner. Polygons, ellipses and brush masks become their upright
boxes. A task that nobody has labelled is left out; one that was labelled with nothing is a background image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from singleshot.data.brush_masks import box_of_brush
from singleshot.data.builder import ReadResult
from singleshot.data.faults import Fault
from singleshot.data.images import is_image
from singleshot.data.json_kinds import jsons_of_kind
from singleshot.data.outlines import (
    ELLIPSES,
    MASKS,
    POLYGONS,
    TURNED,
    Box,
    box_of_ellipse,
    box_of_points,
    box_of_rotated,
)
from singleshot.data.tool_labels import (
    LabelFile,
    LabelledImage,
    LabelledObject,
    files_by_split,
    read_label_files,
    read_label_list,
    whole_side,
)

UNLABELLED = "tasks without a finished annotation: left out"
SEVERAL = "tasks have several annotations: that marked as ground truth, else the first, counts"
NO_LABEL = "regions without a label: left out"
LABELS = "regions have several labels: the first counts"
NO_BOX = "key points and other results have no box: left out"


def label_studio_files(path: Path) -> dict[str, Path]:
    """Split -> json of Label Studio; "" for the only one."""
    return files_by_split(path, lambda folder: jsons_of_kind(folder, "label_studio"))


def read_label_studio(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of an export, or of a folder with one.

    Raises:
        DataError: not JSON, or not Label Studio's.
        UnknownNameError: no such split.
    """
    return read_label_files(path, label_studio_files(path), _parse, split=split, format_name="label_studio")


def _parse(file: Path) -> LabelFile:
    content = LabelFile()
    for number, task in enumerate(read_label_list(file, "Label Studio's list of tasks"), 1):
        name = _image_name(task) if isinstance(task, dict) else None
        if name is None:
            content.faults.append(Fault("malformed", file.name, f"task {number} names no image: {str(task)[:80]}"))
            continue
        regions = _regions(task, content.notes)
        if regions is None:
            content.notes[UNLABELLED] += 1
        else:
            content.images.append(_image(name, regions, content.notes))
    return content


def _image_name(task: dict[str, Any]) -> str | None:
    """The task's image: `data.image`, else the first value that names a file of an image or of local storage."""
    data = task["data"] if isinstance(task.get("data"), dict) else task
    if isinstance(data.get("image"), str) and data["image"]:
        return str(data["image"])
    texts = [value for value in data.values() if isinstance(value, str) and len(value) < 4000]
    return next((text for text in texts if "local-files/" in text or _names_image(text)), None)


def _names_image(text: str) -> bool:
    try:
        return is_image(urlsplit(text.replace("\\", "/")).path.rpartition("/")[2])
    except ValueError:
        return False


def _regions(task: dict[str, Any], notes: Counter[str]) -> list[dict[str, Any]] | None:
    """The regions of a task, each a value with the original size; None where nobody has finished the task."""
    finished = task.get("annotations", task.get("completions"))
    if not isinstance(finished, list):  # JSON-MIN: each kind of region is a list under the name of its control
        regions = [
            item
            for value in task.values()
            if isinstance(value, list)
            for item in value
            if isinstance(item, dict) and "original_width" in item
        ]
        return regions if regions or "annotation_id" in task else None
    finished = [item for item in finished if isinstance(item, dict) and not item.get("was_cancelled")]
    if not finished:
        return None
    notes[SEVERAL] += len(finished) > 1
    chosen = next((item for item in finished if item.get("ground_truth")), finished[0])
    results = chosen.get("result")
    results = [item for item in results if isinstance(item, dict)] if isinstance(results, list) else []
    labelled = {str(item.get("id")) for item in results if _labels(_value(item))}
    return [
        {**_value(item), **{key: item.get(key) for key in ("original_width", "original_height", "image_rotation")}}
        for item in results
        if _labels(_value(item)) or str(item.get("id")) not in labelled  # a rectangle and its label may be two results
    ]


def _value(item: dict[str, Any]) -> dict[str, Any]:
    value = item.get("value")
    return value if isinstance(value, dict) else {}


def _labels(value: dict[str, Any]) -> list[str]:
    """`rectanglelabels`, `polygonlabels` ... or `labels`."""
    lists = (items for key, items in value.items() if key.endswith("labels") and isinstance(items, list))
    return [str(item) for items in lists for item in items]


def _image(name: str, regions: Iterable[dict[str, Any]], notes: Counter[str]) -> LabelledImage:
    objects, size = [], (0, 0)
    for region in regions:
        size = size if all(size) else _size(region)
        shape = next((shape for shape in ("rle", "points", "radiusX", "width") if shape in region), None)
        labels = _labels(region)
        if shape is None or (shape == "width" and "keypointlabels" in region):
            notes[NO_BOX] += 1
        elif not labels:
            notes[NO_LABEL] += 1
        else:
            notes[LABELS] += len(labels) > 1
            objects.append(_object(region, shape, labels[0], notes))
    return LabelledImage(name, *size, objects)


def _size(region: dict[str, Any]) -> tuple[int, int]:
    return whole_side(region.get("original_width")), whole_side(region.get("original_height"))


def _object(region: dict[str, Any], shape: str, label: str, notes: Counter[str]) -> LabelledObject:
    width, height = _size(region)
    try:
        if not width or not height:
            raise ValueError("the region has no original_width and original_height, of which it is a percentage")
        if region.get("image_rotation"):
            raise ValueError(
                f"the image was turned by {region['image_rotation']} in Label Studio: turn the file itself"
            )
        return LabelledObject(label, _box(region, shape, width, height, notes))
    except ValueError as error:
        return LabelledObject(label, None, str(error))


def _box(region: dict[str, Any], shape: str, width: int, height: int, notes: Counter[str]) -> Box:
    if shape == "rle":
        notes[MASKS] += 1
        return box_of_brush(region["rle"], height=height, width=width)
    if shape == "points":
        notes[POLYGONS] += 1
        left, top, right, bottom = box_of_points(region["points"])
        return left * width / 100, top * height / 100, right * width / 100, bottom * height / 100
    x, y = _number(region, "x") * width / 100, _number(region, "y") * height / 100
    degrees = _number(region, "rotation") if region.get("rotation") else 0.0
    if shape == "radiusX":
        notes[ELLIPSES] += 1
        radii = _number(region, "radiusX") * width / 100, _number(region, "radiusY") * height / 100
        return box_of_ellipse((x, y), radii, degrees)
    notes[TURNED] += bool(degrees % 360)
    right, bottom = x + _number(region, "width") * width / 100, y + _number(region, "height") * height / 100
    return box_of_rotated((x, y, right, bottom), degrees, about=(x, y))


def _number(region: dict[str, Any], name: str) -> float:
    value = region.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e15:
        raise ValueError(f"{name} must be a number, got {str(value)[:40]}")
    return float(value)
