"""Write CVAT for images 1.1: `annotations.xml`, `images/`, and `labels.json`, the labels that a task has to have.

An image's `subset` is its split. CVAT knows neither difficult objects nor crowd regions.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers.text import as_text, write_text

IMAGES = "images"
ANNOTATIONS, LABELS = "annotations.xml", "labels.json"
SIDES = ("xtl", "ytl", "xbr", "ybr")


def adapt(data: LabelledSet) -> tuple[LabelledSet, list[str]]:
    """The set with each image in one split; a remark names the splits that share images with others."""
    splits: dict[str, tuple[int, ...]] = {}
    taken = set[int]()
    for name, indices in data.splits.items():
        if taken.isdisjoint(indices):
            splits[name] = indices
            taken.update(indices)
    dropped = [name for name in data.splits if name not in splits]
    remarks = [f"splits left out, for CVAT's share no images: {', '.join(dropped)}"] if dropped else []
    return replace(data, splits=splits), remarks


def write_cvat(data: LabelledSet, folder: Path) -> list[str]:
    """Write the XML of an adapted set, and its labels, into an empty folder; remarks count what CVAT cannot say."""
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for name in data.annotations.class_names:
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = name
        ET.SubElement(label, "attributes")
    subsets = {index: name for name, indices in data.splits.items() for index in indices}
    root.extend(_image(data, index, subsets.get(index)) for index in range(len(data)))
    ET.indent(root)
    write_text(
        folder / ANNOTATIONS, f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'
    )
    constructor = [{"name": name, "attributes": []} for name in data.annotations.class_names]
    write_text(folder / LABELS, f"{json.dumps(constructor, ensure_ascii=False)}\n")
    annotations = data.annotations
    counts = {"difficult objects": annotations.difficult & ~annotations.crowd, "crowd regions": annotations.crowd}
    return [
        f"{count} {what} are ordinary ones now: CVAT has no such mark"
        for what, of in counts.items()
        if (count := int(of.sum()))
    ]


def _image(data: LabelledSet, index: int, subset: str | None) -> ET.Element:
    width, height = data.annotations.sizes_wh[index].tolist()
    attributes = {"id": str(index), "name": data.places[index], "width": str(width), "height": str(height)}
    element = ET.Element("image", attributes if subset is None else {**attributes, "subset": subset})
    ground_truth = data.annotations.ground_truth(index)
    source = "manual" if data.predicted is None else "auto"
    for row, box in enumerate(ground_truth.boxes_xyxy):
        label = data.annotations.class_names[ground_truth.labels[row]]
        sides = {side: as_text(value) for side, value in zip(SIDES, box, strict=True)}
        ET.SubElement(element, "box", {"label": label, "source": source, "occluded": "0", **sides, "z_order": "0"})
    return element
