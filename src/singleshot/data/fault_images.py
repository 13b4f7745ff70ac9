"""Which images of a set a fault is about: it names the image, or the image's file of annotations."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Sequence


class FaultImages:
    """Finds images by the file that a fault names; all paths are relative to the set's root."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._by_file = {file: index for index, file in enumerate(files)}
        self._by_stem: dict[str, list[int]] = defaultdict(list)
        for index, file in enumerate(files):
            self._by_stem[_stem(file)].append(index)

    def named(self, file: str) -> int | None:
        """The index of the image that is this file."""
        return self._by_file.get(file)

    def labelled_by(self, file: str) -> list[int]:
        """The indices of the images that a file of annotations may be about.

        They have its name but for the suffix. Of several those count that share the most folders with it:
        `labels/cam1/a.txt` is of `images/cam1/a.jpg`, not of `images/cam2/a.jpg`.
        """
        indices = self._by_stem.get(_stem(file), [])
        shared = [len(_folders(file) & _folders(self._files[index])) for index in indices]
        return [index for index, count in zip(indices, shared, strict=True) if count == max(shared)]


def _stem(file: str) -> str:
    return posixpath.splitext(posixpath.basename(file))[0]


def _folders(file: str) -> set[str]:
    return set(posixpath.dirname(file).split("/"))
