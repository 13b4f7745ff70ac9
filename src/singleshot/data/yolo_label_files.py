"""Find the label file of each image of a YOLO set.

`images/train/a.jpg` is labelled by `labels/train/a.txt`, by the last folder `images` (or darknet's `JPEGImages`, else
`image`, `img`) of its path; where that is not there, by `a.txt` beside the image. Where no folder is called `labels`,
it may be `annotations`, but not where a yaml says that the set is YOLO's own. A name in other letters (`Labels`,
`A.TXT`) counts where it is the only one.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from singleshot.data.images import is_image
from singleshot.data.split_folders import child_folder
from singleshot.data.yolo_lines import is_label_line

_HEAD_BYTES = 2**16
_IMAGES = (("images", "jpegimages"), ("image", "imgs", "img"))
"""Names of folders of images; those of the second kind count where none of the first is in a path."""
LABEL_FOLDERS = ("labels", "label", "annotations", "annotation")
"""Names of folders of label files, the likeliest first."""


def image_folder(root: Path) -> Path | None:
    """The folder of images in `root`, in any case of letters."""
    folders = (child_folder(root, name) for names in _IMAGES for name in names)
    return next((folder for folder in folders if folder is not None), None)


@dataclass
class LabelFiles:
    """The label files below the root of a set; each folder is listed once. All names are relative to the root.

    Attributes:
        root: folder of the set.
        of_image: the label file of each image that was looked up; None where it has none.
        other_letters: images whose label file is written in other letters.
        names: what the folder of labels may be called, the likeliest first.
        doubled: images with a label file in `labels/` and another beside them, which is not read.
    """

    root: Path
    of_image: dict[str, str | None] = field(default_factory=dict)
    other_letters: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    names: Sequence[str] = LABEL_FOLDERS
    _listed: dict[str, dict[str, str]] = field(default_factory=dict)
    _labels_names: dict[str, str] = field(default_factory=dict)

    def look_up(self, images: Sequence[str]) -> None:
        """Find the label files of these images."""
        for image in images:
            files = [
                file for place in self.places(image) if (file := self._listing(posixpath.dirname(place)).get(place))
            ]
            self.of_image[image] = files[0] if files else None
            if len(set(files)) > 1:
                self.doubled.append(image)
        missing = [image for image in images if self.of_image[image] is None]
        taken = set(self.of_image.values())
        for image in missing:
            file = next(filter(None, map(self._in_other_letters, self.places(image))), None)
            if file is not None and file not in taken:
                self.of_image[image] = file
                self.other_letters.append(image)
                taken.add(file)

    def places(self, image: str) -> list[str]:
        """Where the label file of an image may lie, the likeliest first."""
        folder, _, name = image.rpartition("/")
        text = posixpath.splitext(name)[0] + ".txt"
        beside = posixpath.join(folder, text)
        parts = folder.split("/")
        if (inside := self._in_labels(parts)) is not None:
            return [posixpath.join(*inside, text), beside]
        above = self._in_labels([*Path(os.path.abspath(self.root)).parts, *parts])  # noqa: PTH100 (no link is followed)
        mirrored = None if above is None else _relative(os.path.join(*above), self.root)  # noqa: PTH118
        return [beside] if mirrored is None else [beside, posixpath.join(mirrored, text)]

    def elsewhere(self, image: str) -> str | None:
        """The label file of an image in a folder of another name, which is not read."""
        other = LabelFiles(self.root, names=[name for name in LABEL_FOLDERS if name not in self.names])
        other.look_up([image])
        return other.of_image[image]

    def without_image(self, images: Sequence[str]) -> Iterator[str]:
        """Label files in the folders of these images' labels that label no image; other text files do not count."""
        folders: dict[str, set[str]] = {}
        for image in images:
            for place in self.places(image):
                folders.setdefault(posixpath.dirname(place), set()).add(posixpath.dirname(image))
        taken = set(self.of_image.values())
        for folder in sorted(folders):
            stems = {stem.lower() for source in folders[folder] for stem in self._image_stems(source)}
            for file in sorted(set(self._listing(folder).values()) - taken):
                stem = posixpath.splitext(posixpath.basename(file))[0]
                if stem.lower() not in stems and holds_labels(self.root / file):
                    yield file

    def _in_labels(self, parts: Sequence[str]) -> list[str] | None:
        """The folders with the last one of images replaced by that of labels; None where there is none."""
        for names in _IMAGES:
            for i in range(len(parts) - 1, -1, -1):
                if parts[i].lower() in names:
                    return [*parts[:i], self._labels_name(os.path.join("", *parts[:i])), *parts[i + 1 :]]  # noqa: PTH118
        return None

    def _labels_name(self, parent: str) -> str:
        """What the folder `labels` in this one is called: `Labels` or `annotations` where only that is there."""
        if parent not in self._labels_names:
            folders = (child_folder(self.root / parent, name) for name in self.names)
            self._labels_names[parent] = next((folder.name for folder in folders if folder is not None), "labels")
        return self._labels_names[parent]

    def _in_other_letters(self, place: str) -> str | None:
        candidates = self._folded(posixpath.dirname(place)).get(place.lower(), [])
        return candidates[0] if len(candidates) == 1 else None

    def _folded(self, folder: str) -> dict[str, list[str]]:
        files: dict[str, list[str]] = {}
        for file in self._listing(folder).values():
            files.setdefault(file.lower(), []).append(file)
        return files

    def _listing(self, folder: str) -> dict[str, str]:
        """The text files of a folder, by themselves."""
        if folder not in self._listed:
            try:
                names = [entry.name for entry in os.scandir(self.root / folder) if entry.name.lower().endswith(".txt")]
            except OSError:
                names = []
            files = [posixpath.join(folder, name) for name in names if not name.startswith(".")]
            self._listed[folder] = {file: file for file in files}
        return self._listed[folder]

    def _image_stems(self, folder: str) -> list[str]:
        try:
            return [
                posixpath.splitext(entry.name)[0] for entry in os.scandir(self.root / folder) if is_image(entry.name)
            ]
        except OSError:
            return []


def holds_labels(file: Path) -> bool:
    """Whether the first line of a file is a label of YOLO's."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            return is_label_line(lines.readline(_HEAD_BYTES))
    except OSError:
        return False


def _relative(folder: str, root: Path) -> str | None:
    try:
        return Path(os.path.relpath(folder, root)).as_posix()
    except ValueError:  # another drive
        return None
