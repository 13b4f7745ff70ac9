"""Where the parts of a VOC set lie: the XML files, their images, and the splits.

VOC's own folders are `Annotations/`, `JPEGImages/` and `ImageSets/Main/`. Other tools write `annotations/` and
`images/`, `labels/` and `data/`, folders inside these, or an XML file beside each image, in one folder or one a split.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

from singleshot.data.cvat import is_cvat
from singleshot.data.images import is_image
from singleshot.data.listing import files_in, folders_below
from singleshot.data.split_folders import child_folder, is_split_name, split_folders, split_of
from singleshot.files import read_list

ANNOTATIONS, IMAGES, LISTS = "Annotations", "JPEGImages", "ImageSets/Main"
_ANNOTATIONS = ("annotations", "annotation", "annots", "labels", "xmls", "xml")
_IMAGES = ("jpegimages", "images", "image", "imgs", "img", "data")
_CLASS_LINE = re.compile(r"^\S+\s+(-1|0|1)$")  # car_train.txt: an id and whether the class is in it
_ROOT_TAG = re.compile(rb"<annotation[\s>/]")
_HEAD_BYTES = 2**16
_SAMPLED = 5
"""XML files that are looked into where no folder is called annotations."""


@dataclass(frozen=True)
class VocLayout:
    """The parts of a set; all names are relative to the root.

    Attributes:
        root: folder of the set.
        annotations: the XML file of each id, in alphabetical order.
        images: all images of the folders where images lie, in alphabetical order.
        lists: the file of each split; empty: the splits are those of the folders, if any.
    """

    root: Path
    annotations: dict[str, str]
    images: list[str]
    lists: dict[str, Path]


def voc_marker(path: Path) -> str | None:
    """What speaks for VOC: XML files in a folder that is called so, or beside images; None where nothing does."""
    if not path.is_dir() or (path / "Annotations/DET").is_dir():  # ILSVRC
        return None
    for folder in _annotation_folders(path):
        sample = [file for file, _ in zip(_walk(folder, ".xml"), range(_SAMPLED), strict=False)]
        sample = [file for file in sample if not is_cvat(folder / file)]
        if sample and (folder.name.lower() in _ANNOTATIONS[:2] or any(_is_voc(folder / file) for file in sample)):
            return f"{_name(folder, path)}*.xml".removeprefix("./")
    classic = all((path / name).is_dir() for name in (ANNOTATIONS, IMAGES))
    return "Annotations/ and JPEGImages/" if classic and next(_walk(path / ANNOTATIONS, ".txt"), None) is None else None


def voc_layout(root: Path) -> VocLayout:
    """Find the parts of a set, by names alone."""
    annotations = {}
    folders = _annotation_folders(root)
    for folder in folders:
        prefix = _name(folder, root) if len(folders) > 1 else ""
        for file in _walk(folder, ".xml"):
            annotations[prefix + posixpath.splitext(file)[0]] = _name(folder, root) + file
    below = (_name(folder, root) + file for folder in _image_folders(root, folders) for file in _walk(folder))
    images = list(dict.fromkeys(below))
    lists = voc_lists(root)
    if not lists and not split_folders(root):
        stems = {posixpath.basename(posixpath.splitext(file)[0]) for file in chain(annotations.values(), images)}
        lists = _lists_in_root(root, stems)
    return VocLayout(root, annotations, images, lists)


def voc_lists(root: Path) -> dict[str, Path]:
    """Split -> its list in `ImageSets/Main`, else in `ImageSets`; the devkit's lists of single classes are none."""
    lists = {}
    for path in sorted((root / LISTS).glob("*.txt")):
        lines = read_list(path) if "_" in path.stem else []
        if not (lines and all(_CLASS_LINE.match(line) for line in lines)):
            lists[path.stem] = path
    return lists or {file.stem: file for file in _named_lists((root / LISTS).parent)}


def _named_lists(folder: Path) -> list[Path]:
    """The lists in a folder that are called as a split, `train.txt`."""
    return [file for file in files_in(folder, ".txt") if is_split_name(file.stem)]


def _lists_in_root(root: Path, names: set[str]) -> dict[str, Path]:
    """Split -> its list in the root, where the first line is of an image or an annotation: one of these stems."""
    lists = {}
    for file in _named_lists(root):
        words = next(iter(read_list(file)), "").replace("\\", "/").split()
        if any(
            posixpath.basename(word) in names or posixpath.splitext(posixpath.basename(word))[0] in names
            for word in words
        ):
            lists[file.stem] = file
    return lists


class ImageFinder:
    """Finds the image of an XML file among the images of a set."""

    def __init__(self, layout: VocLayout) -> None:
        self._by_place: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
        for image in layout.images:
            place = posixpath.splitext(image)[0]
            self._by_place.setdefault(place, []).append(image)
            self._by_stem.setdefault(posixpath.basename(place), []).append(image)
            self._by_name.setdefault(posixpath.basename(image), []).append(image)

    def of(self, xml: str, filename: str = "") -> str | None:
        """The image of the same name beside the XML file, else in the folder that mirrors its own, else the only one.

        Args:
            xml: the XML file, relative to the root. Its name may be URL-encoded.
            filename: as the XML states it; decides between images that differ in their suffix, and names the image
                where none is called as the XML file.
        """
        place = posixpath.splitext(xml)[0]
        last = re.split(r"[/\\]", filename)[-1]
        for stem in dict.fromkeys((posixpath.basename(place), unquote(posixpath.basename(place)))):
            beside = self._by_place.get(posixpath.join(posixpath.dirname(place), stem), [])
            candidates = beside or _mirrored(self._by_stem.get(stem, []), xml)
            if candidates:
                return next((image for image in candidates if posixpath.basename(image) == last), candidates[0])
        for name in dict.fromkeys((last, unquote(last))):
            candidates = self._by_name.get(name) or self._by_stem.get(name, [])
            if len(candidates) == 1:
                return candidates[0]
        return None

    def named(self, line: str) -> str | None:
        """The image that a line of a list names by its name or path, with or without suffix."""
        name = line.replace("\\", "/")
        last = posixpath.basename(name)
        candidates = self._by_name.get(last) or self._by_stem.get(last, [])
        fitting = [image for image in candidates if f"/{image}".endswith(f"/{name}")] or candidates
        return fitting[0] if len(fitting) == 1 else None


def _mirrored(candidates: list[str], xml: str) -> list[str]:
    """Of images of one stem those that share the most last folders with the XML; none where several folders do."""
    if not candidates:
        return []
    shared = {image: _shared_folders(image, xml) for image in candidates}
    best = [image for image in candidates if shared[image] == max(shared.values())]
    return best if len({posixpath.dirname(image) for image in best}) == 1 else []


def _shared_folders(first: str, second: str) -> int:
    """How many last folders two paths have in common, and their split, which counts most."""
    folders = [posixpath.dirname(path).split("/")[::-1] for path in (first, second)]
    count = 0
    for one, other in zip(*folders, strict=False):
        if one != other:
            break
        count += 1
    return count + 100 * (split_of(first) == split_of(second) != "")


def _annotation_folders(root: Path) -> list[Path]:
    """The folders with XML files: the one that is called so, those of the splits, `images/`, or the set's own."""
    named = _first_with_xml([child_folder(root, name) for name in _ANNOTATIONS])
    if named is not None:
        return [named]
    of_splits = [
        _first_with_xml([*(child_folder(folder, name) for name in _ANNOTATIONS), folder])
        for folder in split_folders(root).values()
    ]
    if any(of_splits):
        return [folder for folder in of_splits if folder is not None]
    images = _first_with_xml([child_folder(root, name) for name in _IMAGES])
    return [images] if images is not None else [root] if files_in(root, ".xml") else []


def _first_with_xml(folders: list[Path | None]) -> Path | None:
    return next((folder for folder in folders if folder is not None and next(_walk(folder, ".xml"), None)), None)


def _image_folders(root: Path, annotation_folders: list[Path]) -> list[Path]:
    """The folders where images lie: those that are called so, in the set and beside its annotations, and these."""
    parents = dict.fromkeys([root, *(folder.parent for folder in annotation_folders if folder != root)])
    named = [child for parent in parents for name in _IMAGES if (child := child_folder(parent, name)) is not None]
    if classic := [folder for folder in named if folder.name.lower() == _IMAGES[0]]:
        return classic
    beside = [folder for folder in annotation_folders if folder.name.lower() not in _ANNOTATIONS or not named]
    splits = list(split_folders(root).values())
    return (
        [*named, *beside, *splits]
        if named or beside != annotation_folders or root in beside
        else [*beside, *splits, root]
    )


def _is_voc(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return _ROOT_TAG.search(content.read(_HEAD_BYTES).replace(b"\0", b"")) is not None
    except OSError:
        return False


def _walk(folder: Path, suffix: str = "") -> Iterator[str]:
    """Images, or the files of a suffix, in a folder and below, relative to it and sorted; hidden ones do not count."""
    for place in folders_below(folder):
        try:
            names = sorted(entry.name for entry in os.scandir(place) if not entry.name.startswith("."))
        except OSError:
            continue
        prefix = _name(place, folder)
        for name in names:
            if name.lower().endswith(suffix) if suffix else is_image(name):
                yield prefix + name


def _name(folder: Path, root: Path) -> str:
    """The folder relative to the root, with a slash behind it; empty for the root."""
    relative = folder.relative_to(root).as_posix()
    return "" if relative == "." else f"{relative}/"
