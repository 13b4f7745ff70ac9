"""Write a VOC folder: `Annotations/ID.xml`, `JPEGImages/`, `ImageSets/Main/SPLIT.txt`. VOC knows no crowd regions."""

from __future__ import annotations

import posixpath
from pathlib import Path
from xml.etree import ElementTree as ET

from singleshot.data.voc_layout import ANNOTATIONS, IMAGES, LISTS
from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers.text import as_text, write_text

__all__ = ["IMAGES", "write_voc"]

SIDES = ("xmin", "ymin", "xmax", "ymax")


def write_voc(data: LabelledSet, folder: Path) -> list[str]:
    """Write the annotations and lists of a set into an empty folder; a remark counts what VOC cannot say."""
    for index, place in enumerate(data.places):
        text = ET.tostring(_annotation(data, index), encoding="unicode")
        write_text(folder / ANNOTATIONS / f"{_identity(place)}.xml", text + "\n")
    for name, indices in data.splits.items():
        lines = "".join(f"{_identity(data.places[index])}\n" for index in indices)
        write_text(folder / LISTS / f"{name}.txt", lines)
    crowd = int(data.annotations.crowd.sum())
    return [f"{crowd} crowd regions are marked difficult: VOC has no crowd"] if crowd else []


def _identity(place: str) -> str:
    return posixpath.splitext(place)[0]


def _annotation(data: LabelledSet, index: int) -> ET.Element:
    annotations, place = data.annotations, data.places[index]
    root = ET.Element("annotation")
    _add(root, "folder", posixpath.dirname(f"{IMAGES}/{place}"))
    _add(root, "filename", posixpath.basename(place))
    width, height = annotations.sizes_wh[index].tolist()
    size = ET.SubElement(root, "size")
    for name, value in (("width", width), ("height", height), ("depth", 3)):
        _add(size, name, str(value))
    _add(root, "segmented", "0")
    ground_truth = annotations.ground_truth(index)
    for row, box in enumerate(ground_truth.boxes_xyxy):
        item = ET.SubElement(root, "object")
        _add(item, "name", annotations.class_names[ground_truth.labels[row]])
        difficult = ground_truth.difficult[row] or ground_truth.crowd[row]
        for name, text in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", str(int(difficult)))):
            _add(item, name, text)
        sides = ET.SubElement(item, "bndbox")
        for name, value in zip(SIDES, box, strict=True):
            _add(sides, name, as_text(value))
    ET.indent(root)
    return root


def _add(parent: ET.Element, name: str, text: str) -> None:
    ET.SubElement(parent, name).text = text
