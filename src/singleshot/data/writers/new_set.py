"""Write a labelled set in a format of one's choice: labels, lists of splits, and the images themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from singleshot.boxes import area
from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers import coco, csv_table, cvat, label_studio, labelme, voc, yolo
from singleshot.errors import DataError, ImageError, RequestError
from singleshot.types import Annotations

FormatName = Literal["voc", "coco", "yolo", "csv", "labelme", "cvat", "label-studio"]
PlaceImage = Callable[[int, Path], None]
"""Puts image number i of the set at a path."""


def _as_it_is(data: LabelledSet) -> tuple[LabelledSet, list[str]]:
    return data, []


class Writer(NamedTuple):
    """How a format is written.

    Attributes:
        write: writes labels and lists into an empty folder, and returns remarks.
        images: the folder of its images.
        adapt: the set as the format can hold it, and remarks on what it cannot.
    """

    write: Callable[[LabelledSet, Path], list[str]]
    images: str
    adapt: Callable[[LabelledSet], tuple[LabelledSet, list[str]]] = _as_it_is


WRITERS: dict[FormatName, Writer] = {
    "voc": Writer(voc.write_voc, voc.IMAGES),
    "coco": Writer(coco.write_coco, coco.IMAGES),
    "yolo": Writer(yolo.write_yolo, yolo.IMAGES, yolo.adapt),
    "csv": Writer(csv_table.write_csv, csv_table.IMAGES),
    "labelme": Writer(labelme.write_labelme, labelme.IMAGES, labelme.adapt),
    "cvat": Writer(cvat.write_cvat, cvat.IMAGES, cvat.adapt),
    "label-studio": Writer(label_studio.write_label_studio, label_studio.IMAGES),
}


def write_set(
    data: LabelledSet,
    folder: Path,
    *,
    to: FormatName,
    place_image: PlaceImage | None,
    on_image: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[LabelledSet, list[str]]:
    """Write a set into an empty folder.

    Args:
        data: the set.
        folder: where; it exists and is empty.
        to: the format.
        place_image: puts an image of the set at its new path; None: labels alone are written.
        on_image: called with the number of images placed, and of all.

    Returns:
        The set as it was written; remarks on what the format cannot say, and what was left out, with counts.

    Raises:
        DataError: a class name or a number that the format cannot hold; an image's size is needed and not known.
    """
    data, remarks = _finite(data.with_sizes())
    _require_writable_names(data)
    data, more = WRITERS[to].adapt(data)
    remarks += [*more, *WRITERS[to].write(data, folder), *_lost_areas(data, to)]
    if place_image is not None:
        for index, place in enumerate(data.places):
            target = folder / WRITERS[to].images / place
            target.parent.mkdir(parents=True, exist_ok=True)
            place_image(index, target)
            on_image(index + 1, len(data))
    return data, remarks


def _finite(data: LabelledSet) -> tuple[LabelledSet, list[str]]:
    """Without boxes whose coordinates are not finite numbers, and a remark that counts them."""
    keep = np.isfinite(data.annotations.boxes_xyxy).all(axis=1)
    lost = int((~keep).sum())
    return (data.only_boxes(keep), [f"{lost} boxes left out: a coordinate is no finite number"]) if lost else (data, [])


def _lost_areas(data: LabelledSet, to: FormatName) -> list[str]:
    """A remark that counts the areas that are not those of the boxes: COCO's, of outlines."""
    annotations = data.annotations
    lost = 0 if to == "coco" else int((~np.isclose(annotations.areas, area(annotations.boxes_xyxy), rtol=1e-4)).sum())
    return [f"{lost} areas of outlines left out: only COCO has them"] if lost else []


def _require_writable_names(data: LabelledSet) -> None:
    for name in (*data.annotations.class_names, *data.places, *data.splits):
        if not name.isprintable() or not name.strip():
            raise DataError(f"the name {name!r} of a class, file or split holds what not every format can: rename it")
    for name in data.splits:  # lists and folders are called so
        if not set(name).isdisjoint('/\\:*?"<>|') or name in {".", ".."}:
            raise DataError(f"the name {name!r} of a split cannot be that of a file: rename it")


def image_bytes(source: Path) -> bytes:
    """The content of an image that is to be copied.

    Raises:
        ImageError: it cannot be read; without this the message would be of the new set, which is written meanwhile.
    """
    try:
        return source.read_bytes()
    except OSError as error:
        raise ImageError(f"{source}: cannot be read: {error.strerror or error}") from error


def placing(annotations: Annotations, how: Literal["copy", "link", "none"]) -> PlaceImage | None:
    """How the images of a set get into a new one: copied, hard-linked (no space is taken), or not at all."""

    def copy(index: int, target: Path) -> None:
        target.write_bytes(image_bytes(annotations.path(index)))

    def link(index: int, target: Path) -> None:
        source = annotations.path(index).resolve()
        try:
            os.link(source, target)
        except OSError as error:
            raise RequestError(
                f"{source} cannot be linked into the new set ({error.strerror}): --images copy"
            ) from None

    return {"copy": copy, "link": link, "none": None}[how]
