"""Read a VOC set: an XML file an image, and lists of the images of each split (`voc_layout` says where they lie).

Coordinates stay as the file states them, as floats: VOC counts pixels from 1, and Caffe divides them by the size with
no -1. All annotations are read whatever the split is, so that every split has the same class names.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.classes import class_order
from singleshot.data.faults import MISSING, Fault
from singleshot.data.images import IMAGE_SUFFIXES
from singleshot.data.split_folders import split_of
from singleshot.data.voc_layout import ANNOTATIONS, IMAGES, LISTS, ImageFinder, VocLayout, voc_layout, voc_lists
from singleshot.data.voc_xml import LIMIT_BYTES, VocImage, read_voc_xml
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import read_list, read_regular


def voc_splits(root: Path) -> dict[str, int]:
    """Split -> number of images, of the lists in `ImageSets/Main`, else of the folders that are splits."""
    if lists := voc_lists(root):
        return {name: len(read_list(path)) for name, path in lists.items()}
    layout = voc_layout(root)
    if layout.lists:
        return {name: len(read_list(path)) for name, path in layout.lists.items()}
    return {name: len(ids) for name, ids in _folder_splits(layout).items()}


def read_voc(root: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a VOC set, or of one of its splits, and the faults of its files.

    Classes are those of all annotations of the set, in VOC's order where all are VOC's, else the alphabet's.

    Raises:
        DataError: no annotations.
        UnknownNameError: no such split.
    """
    layout = voc_layout(root)
    known = layout.lists or _folder_splits(layout)
    if split is not None and split not in known:
        if known:
            raise UnknownNameError("split", split, list(known))
        raise DataError(f"no split {split!r}: {root / LISTS} has no lists; without a split all images are used")
    whole = _read_all(layout)
    return whole if split is None else _select(whole, layout, split)


def read_voc_splits(root: Path) -> dict[str, ReadResult]:
    """Every split; the annotations that are in none are under the name ""."""
    layout = voc_layout(root)
    whole = _read_all(layout)
    splits = {name: _select(whole, layout, name) for name in layout.lists or _folder_splits(layout)}
    listed = {identity for result in splits.values() for identity in result.annotations.ids}
    unlisted = [row for row, identity in enumerate(whole.annotations.ids) if identity not in listed]
    if unlisted:
        splits[""] = _rows(whole, layout, unlisted, [])
    return splits


def _folder_splits(layout: VocLayout) -> dict[str, list[str]]:
    """The ids of each split by the folder of the XML, else of the image."""
    splits: dict[str, list[str]] = {}
    images = ImageFinder(layout)
    for identity, xml in layout.annotations.items():
        if name := split_of(xml) or split_of(images.of(xml) or ""):
            splits.setdefault(name, []).append(identity)
    return splits


def _read_all(layout: VocLayout) -> ReadResult:
    if not layout.annotations:
        raise DataError(f"{layout.root / ANNOTATIONS} holds no .xml file")
    images = ImageFinder(layout)
    builder, faults, notes = AnnotationBuilder(), list[Fault](), Counter[str]()
    used: dict[str, str] = {}
    for identity, xml in layout.annotations.items():
        try:
            annotation = read_voc_xml(read_regular(layout.root / xml, LIMIT_BYTES), xml)
        except (ValueError, OSError) as error:
            faults.append(Fault("malformed", xml, str(error)))
            annotation = VocImage("", 0, 0, (), ())
        image = images.of(xml, annotation.filename)
        if image is None:
            image = f"{IMAGES}/{identity}.jpg"
            faults.append(Fault(MISSING, xml, f"no image {posixpath.basename(identity)}.* of a known kind"))
        elif used.setdefault(image, xml) != xml:
            faults.append(Fault("duplicate id", xml, f"{used[image]} is of the same image, {image}"))
        builder.add_image(image, identity, width=annotation.width, height=annotation.height)
        for number, box, class_name, difficult in annotation.objects:
            builder.add_box(box, class_name, number=number, difficult=difficult)
        faults += annotation.faults
        notes += annotation.notes
    remarks = [f"{count} {text}" for text, count in notes.items()]
    remarks += _add_background(builder, layout, images, used)
    return builder.finish(
        faults, format_name="voc", root=layout.root, class_names=class_order(builder.class_numbers), remarks=remarks
    )


def _add_background(
    builder: AnnotationBuilder, layout: VocLayout, images: ImageFinder, used: dict[str, str]
) -> list[str]:
    """Add the images that a list names and that have no XML; remarks on them, and on the images that no list names."""
    position, background = _Positions(builder.ids, builder.files), dict[str, None]()
    for line in (line for path in layout.lists.values() for line in read_list(path)):
        if position.of(line) is None:
            image = next(filter(None, map(images.named, (line, line.split()[0], unquote(line)))), None)
            if image is not None and image not in used:
                background[image] = None
    for image in background:
        builder.add_image(image, posixpath.splitext(posixpath.basename(image))[0], width=0, height=0)
    left = [image for image in layout.images if image not in used and image not in background]
    remarks = []
    if background:
        example = next(iter(background))
        remarks.append(f"{len(background)} images are listed and have no .xml: background, such as {example}")
    if left:
        remarks.append(f"{len(left)} images have no .xml and are left out, such as {left[0]}")
    return remarks


class _Positions:
    """Rows of the images by the names that a list may give them."""

    def __init__(self, ids: Sequence[str], files: Sequence[str]) -> None:
        self._by_id = {identity: row for row, identity in enumerate(ids)}
        self._by_end: dict[str, list[int]] = {}
        for row, (identity, file) in enumerate(zip(ids, files, strict=True)):
            for name in {posixpath.basename(identity), posixpath.splitext(posixpath.basename(file))[0]}:
                self._by_end.setdefault(name, []).append(row)

    def of(self, line: str) -> int | None:
        """The row of the image that a line names: an id, a path, with or without suffix; None where there is none."""
        for name in dict.fromkeys((line, line.split(maxsplit=1)[0], unquote(line))):
            place = name.replace("\\", "/")
            stem, suffix = posixpath.splitext(place)
            for whole in (place, stem) if suffix.lower() in {*IMAGE_SUFFIXES, ".xml"} else (place,):
                parts = whole.split("/")
                for begin in range(len(parts)):
                    if (row := self._by_id.get("/".join(parts[begin:]))) is not None:
                        return row
                rows = self._by_end.get(parts[-1], [])
                if len(rows) == 1:
                    return rows[0]
        return None


def _select(whole: ReadResult, layout: VocLayout, split: str) -> ReadResult:
    """The images of a split, in the order of its list, each once."""
    positions = _Positions(whole.annotations.ids, whole.annotations.files)
    if split not in layout.lists:
        ids = _folder_splits(layout)[split]
        return _rows(whole, layout, [row for name in ids if (row := positions.of(name)) is not None], [])
    rows, faults = dict[int, None](), list[Fault]()
    list_name = layout.lists[split].relative_to(layout.root).as_posix()
    for line in read_list(layout.lists[split]):
        row = positions.of(line)
        if row is None:
            faults.append(Fault("missing annotation", list_name, f"{line!r} has no .xml and no image"))
        elif row in rows:
            faults.append(Fault("duplicate id", list_name, f"{line!r} is listed twice"))
        else:
            rows[row] = None
    return _rows(whole, layout, list(rows), faults)


def _rows(whole: ReadResult, layout: VocLayout, rows: list[int], faults: list[Fault]) -> ReadResult:
    """These images, with their own faults besides these."""
    chosen = {layout.annotations.get(whole.annotations.ids[row]) for row in rows}
    return whole.select(rows, [*faults, *(fault for fault in whole.faults if fault.file in chosen)])
