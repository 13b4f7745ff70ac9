"""What the readers of labelling tools' files have in common: from labelled images to annotations.

Each reader turns a file into `LabelFile`s; this module finds the images, numbers the classes and counts what was
converted or left out.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.classes import class_order
from singleshot.data.faults import Fault
from singleshot.data.image_names import ANNOTATION_FOLDERS, locate_images, remark_on_names, set_folder
from singleshot.data.images import sizes_or_reasons
from singleshot.data.listing import folders_in
from singleshot.data.outlines import Box
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import parse_json, read_regular

LIMIT_BYTES = 2**29  # of one file
MOST_PARTS = 10_000_000
"""Lists and objects of one json: more would take some gigabytes of memory."""


@dataclass(frozen=True)
class LabelledObject:
    """One object: its class and box in pixels; or, in place of the box, what is wrong with it."""

    label: str
    box: Box | None
    fault: str = ""
    difficult: bool = False


@dataclass(frozen=True)
class LabelledImage:
    """An image as a tool's file names it; its size (0: not stated), its objects, and its split where the file says."""

    name: str
    width: int
    height: int
    objects: Sequence[LabelledObject]
    split: str = ""


@dataclass
class LabelFile:
    """The content of one file.

    Attributes:
        images: in the order of the file.
        notes: how often something was converted or left out, by a text that follows the number.
        faults: of parts that are no image.
        class_names: in the order that the tool gives them; empty where it gives none.
    """

    images: list[LabelledImage] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    class_names: tuple[str, ...] = ()


def read_label_json(file: Path) -> Any:
    """The content of a json of a tool.

    Raises:
        OSError: it cannot be read.
        ValueError: no ordinary file, no JSON, or too large; one line.
    """
    raw = read_regular(file, LIMIT_BYTES)
    parts = raw.count(b"[") + raw.count(b"{")
    if parts > MOST_PARTS:
        raise ValueError(f"at most {MOST_PARTS:,} lists and objects are read, got {parts:,}: split the file")
    return parse_json(raw)


def read_label_list(file: Path, expected: str) -> list[Any]:
    """The list that a tool's json is; `expected` says in a message what it should have been.

    Raises:
        DataError: it cannot be read, or is no list.
    """
    try:
        content = read_label_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {error}") from None
    if not isinstance(content, list):
        raise DataError(f"{file}: expected {expected}, got {type(content).__name__}")
    return content


def files_by_split(path: Path, files_of: Callable[[Path], list[Path]]) -> dict[str, Path]:
    """Split -> file: a file itself has the split "", and so has the only one of a folder.

    Args:
        path: a file or a folder.
        files_of: the files of a folder that are of the format.
    """
    if path.is_file():
        return {"": path}
    if files := files_of(path):
        return {"": files[0]} if len(files) == 1 else {file.stem: file for file in files}
    alone = {place.name: files[0] for place in folders_in(path) if len(files := files_of(place)) == 1}
    return {"" if name.lower() in ANNOTATION_FOLDERS else name: file for name, file in alone.items()}


def read_label_files(
    path: Path,
    files: Mapping[str, Path],
    parse: Callable[[Path], LabelFile],
    *,
    split: str | None,
    format_name: str,
) -> ReadResult:
    """The ground truth of a split, or of all files; classes are those of all files.

    Raises:
        DataError: a file is not of the format.
        UnknownNameError: no such split.
    """
    parsed = {name: parse(file) for name, file in files.items()}
    root = set_folder(path)
    return read_parsed(parsed, root, files, split=split, format_name=format_name)


def read_parsed(
    parsed: Mapping[str, LabelFile], root: Path, files: Mapping[str, Path], *, split: str | None, format_name: str
) -> ReadResult:
    """The ground truth of parsed files, or of one split of them.

    Args:
        parsed: content by split.
        root: the folder that the images' files are relative to.
        files: where each lay.
        split: None: all.
        format_name: of the annotations.

    Raises:
        UnknownNameError: no such split.
    """
    known = {image.split or name for name, content in parsed.items() for image in content.images} | set(parsed)
    if split is not None and split not in known:
        raise UnknownNameError("split", split, sorted(known - {""}))
    builder, notes, remarks, faults = AnnotationBuilder(), Counter[str](), list[str](), list[Fault]()
    for name, content in parsed.items():
        chosen = [image for image in content.images if split in {None, image.split or name}]
        if chosen or split in {None, name}:
            notes += content.notes
            faults += content.faults
        for part in dict.fromkeys(image.split or name for image in chosen):
            of_part = [image for image in chosen if (image.split or name) == part]
            remarks += add_images(builder, of_part, root, _folders(root, files[name], part), faults)
    counted = [f"{count} {text}" for text, count in notes.items() if count]
    names = _class_names(parsed.values())
    return builder.finish(faults, format_name=format_name, root=root, class_names=names, remarks=[*counted, *remarks])


def _class_names(contents: Iterable[LabelFile]) -> tuple[str, ...]:
    """The tool's own order, then what else occurs; VOC's or the alphabet's where the tool gives none."""
    contents = list(contents)
    stated = list(dict.fromkeys(name for content in contents for name in content.class_names))
    used = {item.label for content in contents for image in content.images for item in image.objects if item.box}
    return (*stated, *class_order(used - set(stated)))


def _folders(root: Path, file: Path, split: str) -> list[str]:
    """Where the images may lie, relative to the root."""
    beside = file.parent.relative_to(root).as_posix() if file.parent.is_relative_to(root) else ""
    near = [
        f"{beside}/images/{split}",
        f"{beside}/{split}",
        f"images/{split}",
        split,
        f"{beside}/images",
        beside,
        "images",
        "",
    ]
    return [posixpath.normpath(name.lstrip("/")) if name else "" for name in near]


def add_images(
    builder: AnnotationBuilder, images: Sequence[LabelledImage], root: Path, folders: Sequence[str], faults: list[Fault]
) -> list[str]:
    """Add images and their objects; sizes that the file does not state are the images' own. Returns remarks."""
    located = locate_images([image.name for image in images], root, folders)
    faults += located.faults
    missing = {fault.file for fault in located.faults}
    unsized = [
        file
        for file, image in zip(located.files, images, strict=True)
        if not (image.width and image.height) and file not in missing
    ]
    sizes = dict(zip(unsized, sizes_or_reasons([root / file for file in unsized]), strict=True))
    for file, image in zip(located.files, images, strict=True):
        size = sizes.get(file, (image.width, image.height))
        if isinstance(size, str):
            faults.append(Fault("unreadable image", file, size.removeprefix(f"{root / file}: ")))
            size = (0, 0)
        builder.add_image(file, Path(file).stem, width=size[0], height=size[1])
        for number, item in enumerate(image.objects, 1):
            if item.box is None:
                faults.append(Fault("malformed", file, item.fault, number))
            else:
                builder.add_box(item.box, item.label, number=number, difficult=item.difficult)
    text = remark_on_names(located)
    return [text] if text else []


def whole_side(value: object) -> int:
    """A width or height in pixels; 0 where it is none."""
    return int(value) if isinstance(value, (int, float)) and 0 < value < 2**31 else 0
