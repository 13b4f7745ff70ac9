"""Where the parts of a YOLO set lie: class names, and the images of each split.

A set is a `data.yaml`; an `obj.data` or lists `train.txt`, `valid.txt` (darknet, CVAT's YOLO 1.1); or folders alone:
`images/` and `labels/`, with or without folders of splits in them; `train/images` and `train/labels`; or label files
beside their images, as labelImg leaves them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from singleshot.data.faults import Fault
from singleshot.data.image_names import LocatedImages, locate_images, remark_on_names
from singleshot.data.images import is_image
from singleshot.data.listing import folders_below
from singleshot.data.split_folders import child_folder, is_split_name, split_folders
from singleshot.data.yolo_label_files import LABEL_FOLDERS, LabelFiles, holds_labels, image_folder
from singleshot.data.yolo_yaml import read_yaml
from singleshot.errors import DataError
from singleshot.files import read_list

_YAML_KEYS = re.compile(rb"^['\"]?(train|val)['\"]?\s*:", re.MULTILINE)
_HEAD_BYTES = 2**16
CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt")
_FIFTYONE_LIST = "images.txt"
"""Names every image of a set of FiftyOne's, beside `obj.names`."""
_OBJ_DATA, _OBJ_FOLDER = "obj.data", re.compile(r"obj_(\w+)_data$", re.IGNORECASE)
_SAMPLED = 20
"""Images whose label files are looked at to recognise a folder."""


@dataclass(frozen=True)
class YoloSet:
    """A set whose parts were found.

    Attributes:
        root: folder that names of files are relative to.
        names: class names by number; empty: none are given.
        sources: the folders or lists of images of each split; "" where there are no splits.
        pose_numbers: how many numbers of key points follow each box.
        remarks: lines on what was guessed.
        label_folders: what the folders of labels may be called.
    """

    root: Path
    names: dict[int, str]
    sources: dict[str, tuple[Path, ...]]
    pose_numbers: int = 0
    remarks: tuple[str, ...] = ()
    label_folders: tuple[str, ...] = LABEL_FOLDERS


@dataclass(frozen=True)
class ListedImages:
    """The images of a split, relative to the set's root; faults of those that a list names and are missing."""

    files: list[str]
    faults: list[Fault]
    remarks: list[str]


def yolo_marker(path: Path) -> str | None:
    """What speaks for a YOLO set: a yaml, `obj.data`, or folders with label files; None where nothing does."""
    if path.is_file():
        return path.name if path.suffix.lower() in {".yaml", ".yml"} else None
    if (yaml := yaml_file(path)) is not None:
        return yaml.name
    if (path / _OBJ_DATA).is_file():
        return _OBJ_DATA
    if _is_fiftyone(path):
        return _FIFTYONE_LIST
    if (labels := child_folder(path, "labels")) is not None and child_folder(path, "images") is not None:
        kinds = {
            suffix: any(labels.glob(f"*{suffix}")) or any(labels.glob(f"*/*{suffix}"))
            for suffix in (".txt", ".xml", ".json")
        }
        return "images/ and labels/" if kinds[".txt"] or not (kinds[".xml"] or kinds[".json"]) else None
    for folders in _sources_of_folders(path).values():
        nested = folders[0] != path  # a folder that is only perhaps a set is not searched to its bottom
        images = _walk(folders[0], path) if nested else _images_in(folders[0], path)
        sample = list(islice(images, _SAMPLED))
        labels_of = LabelFiles(path)
        labels_of.look_up(sample)
        file = next((file for file in labels_of.of_image.values() if file and holds_labels(path / file)), None)
        if file is not None:
            return file
    return None


def yolo_set(path: Path) -> YoloSet:
    """Find the parts of a set.

    Raises:
        DataError: the yaml is not YOLO's; a split's folder or list does not exist; the class files differ.
    """
    file = yaml_file(path)
    if file is None:
        sources = _sources_of_lists(path) or _sources_of_folders(path)
        return YoloSet(path, _names_beside(path, sources), sources)
    content = read_yaml(file)
    names, remarks = content.names, content.remarks
    if not names:
        names = _names_beside(file.parent, content.sources)
    if not names and not content.class_count:
        raise DataError(f"{file}: expected `names`, a list of class names or numbers with names, or `nc`, their number")
    if not names:
        names = {number: f"class {number}" for number in range(content.class_count)}
        remarks = (*remarks, remark_on_numbers(len(names)))
    return YoloSet(file.parent, names, content.sources, content.pose_numbers, remarks, ("labels",))


def remark_on_numbers(count: int) -> str:
    """A line on classes that have numbers for names."""
    return f"the set names no classes: they are called class 0 to class {count - 1}"


def yaml_file(path: Path) -> Path | None:
    """The yaml of a set: the path itself, `data.yaml`, or the only yaml of the folder with the key train or val."""
    if path.is_file():
        return path
    files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    named = [file for file in files if file.stem == "data"]
    with_splits = [file for file in files if _YAML_KEYS.search(_head(file))]
    return (named or with_splits)[0] if named or len(with_splits) == 1 else None


def list_images(dataset: YoloSet, split: str) -> ListedImages:
    """The images of a split: those of a folder in alphabetical order, those of a list in its order."""
    images = ListedImages([], [], [])
    for source in dataset.sources[split]:
        if source.is_dir():
            images.files.extend(_walk(source, dataset.root))
            continue
        folders = [_relative(folder, dataset.root) for folder in (source.parent, source.parent.parent)]
        located = locate_images(read_list(source), dataset.root, ["" if name == "." else name for name in folders])
        located = _below(located, dataset.root)
        images.files.extend(located.files)
        images.faults.extend(located.faults)
        images.remarks.extend(filter(None, [remark_on_names(located)]))
    return images


def _below(located: LocatedImages, root: Path) -> LocatedImages:
    """The same with `../set/a.jpg` as `a.jpg`, where `set` is the root: a list may lie in it and be read from above."""

    def shortest(file: str) -> str:
        return _relative(root / file, root) if file.startswith("../") else file

    shortened = {name: shortest(file) for name, file in located.shortened.items()}
    faults = [replace(fault, file=shortest(fault.file)) for fault in located.faults]
    return LocatedImages([shortest(file) for file in located.files], faults, shortened)


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as content:
            return content.read(_HEAD_BYTES)
    except OSError:
        return b""


def _sources_of_folders(path: Path) -> dict[str, tuple[Path, ...]]:
    """The folders with images, by split; the set's own folder where none has a telling name."""
    images = image_folder(path)
    if images is not None:
        inside = [entry for entry in sorted(images.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
        if inside and next(_images_in(images, path), None) is None:
            return {entry.name: (entry,) for entry in inside}
        return {"": (images,)}
    splits = {name: image_folder(folder) or folder for name, folder in split_folders(path).items()}
    return {name: (folder,) for name, folder in splits.items()} or {"": (path,)}


def _sources_of_lists(path: Path) -> dict[str, tuple[Path, ...]]:
    """The lists of darknet and CVAT: `train.txt` and others of a split's name that begin with an image's name."""
    lists: dict[str, tuple[Path, ...]] = {
        file.stem: (file,)
        for file in sorted(path.glob("*.txt"))
        if is_split_name(file.stem) and _begins_with_image(file)
    }
    if not lists and _is_fiftyone(path):
        return {"": (path / _FIFTYONE_LIST,)}
    if lists or not (path / _OBJ_DATA).is_file():
        return lists
    folders = {match[1]: child for child in sorted(path.iterdir()) if (match := _OBJ_FOLDER.match(child.name))}
    return {name: (folder,) for name, folder in folders.items()}


def _is_fiftyone(path: Path) -> bool:
    return (path / "obj.names").is_file() and _begins_with_image(path / _FIFTYONE_LIST)


def _begins_with_image(file: Path) -> bool:
    """Whether the first line of a list names an image."""
    return is_image(_head(file).partition(b"\n")[0].strip().decode(errors="replace"))


def _names_beside(root: Path, sources: dict[str, tuple[Path, ...]]) -> dict[int, str]:
    """Class names of `classes.txt` and its like, in the root or beside labels or images; a name a line.

    Raises:
        DataError: two such files differ, and neither is the beginning of the other.
    """
    folders = [source if source.is_dir() else source.parent for source in chain.from_iterable(sources.values())]
    places = [root, root / "labels", *folders, *(folder.parent / "labels" for folder in folders)]
    files = dict.fromkeys(file for place in places for name in CLASS_FILES if (file := place / name).is_file())
    read = {file: _lines(file) for file in files}
    if not read:
        return {}
    longest = max(read, key=lambda file: len(read[file]))
    for file, names in read.items():
        if names != read[longest][: len(names)]:
            raise DataError(
                f"{longest} and {file} number the classes differently: keep the right one, or write data.yaml"
            )
    numbered = {number: name for number, name in enumerate(read[longest]) if name}
    if len(set(numbered.values())) != len(numbered):
        raise DataError(f"{longest}: two classes have the same name")
    return numbered


def _lines(file: Path) -> list[str]:
    """The lines of a file without the empty ones at its end; one in between counts, for it has a number."""
    lines = read_list(file, empty_too=True)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _walk(folder: Path, root: Path) -> Iterator[str]:
    """The images in a folder and below, relative to the root, in alphabetical order; hidden folders do not count."""
    for place in folders_below(folder):
        yield from _images_in(place, root)


def _images_in(folder: Path, root: Path) -> Iterator[str]:
    prefix = _relative(folder, root)
    for name in sorted(entry.name for entry in os.scandir(folder) if is_image(entry.name) and entry.is_file()):
        yield name if prefix == "." else f"{prefix}/{name}"


def _relative(path: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(path, root)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()
