"""Splits of the own-data suite in which images that belong together never part, kept as lists of names.

Images belong together where their names say so (photographs of one shoot), where they lie beside each other in a
sequence and look alike (frames of one clip), and where they are nearly the same image, by a correlation of their
thumbnails as by `ssd data check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.data.near_duplicates import looks_of, near_duplicate_groups
from singleshot.data.recognise import open_data
from singleshot.data.stratified import stratified

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
THUMBNAIL = 16
"""Pixels of a thumbnail's side: what is smaller than a sixteenth of the image hardly counts when two are compared."""


@dataclass(frozen=True)
class Together:
    """When two images of a set belong together.

    Attributes:
        alike: correlation of the thumbnails from which two images are nearly the same, wherever they lie in the set.
        key: of a name: images whose keys are equal belong together; None: every image has a key of its own.
        number: of a name, in sets whose images are numbered as they were taken.
        reach: images whose numbers are at most so far apart are neighbours.
        neighbours_alike: correlation from which neighbours belong together; -1: always.
    """

    alike: float = 0.9
    key: Callable[[str, tuple[int, int]], str | None] = lambda _name, _size_wh: None
    number: Callable[[str], int] | None = None
    reach: int = 0
    neighbours_alike: float = -1.0


def thumbnail(path: Path, *, cut_below: int = 0) -> np.ndarray:
    """(256,) grey values of an image at 16 x 16, with mean 0 and norm 1: products of two are correlations."""
    with Image.open(path) as opened:
        image = opened.convert("L")
    image = image.crop((0, 0, image.width, image.height - cut_below))
    values = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS), np.float32).ravel()
    values -= values.mean()
    values /= max(float(np.linalg.norm(values)), 1e-6)
    return values


def grouped(
    names: Sequence[str],
    sizes_wh: Sequence[tuple[int, int]],
    thumbnails: np.ndarray,
    together: Together,
    *,
    duplicates: Sequence[int] = (),
) -> list[int]:
    """The group of each image: the first of all images that it is linked to, directly or through others.

    `duplicates` are groups of near-duplicates to begin with: of each image, the first of its group.
    """
    group = list(duplicates) or list(range(len(names)))

    def first(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    def link(a: int, b: int) -> None:
        low, high = sorted((first(a), first(b)))
        group[high] = low

    seen: dict[str, int] = {}
    for index, (name, size_wh) in enumerate(zip(names, sizes_wh, strict=True)):
        key = together.key(name, size_wh)
        if key is not None:
            link(seen.setdefault(key, index), index)
    correlations = thumbnails @ thumbnails.T
    linked = correlations >= together.alike
    if together.number is not None:
        numbers = np.array([together.number(name) for name in names])
        near = np.abs(numbers[:, None] - numbers) <= together.reach
        linked |= near & (correlations >= together.neighbours_alike)
    for a, b in np.argwhere(np.triu(linked, 1)).tolist():
        link(a, b)
    return [first(index) for index in range(len(names))]


def split_of_folder(folder: Path, together: Together, *, cut_below: int = 0) -> dict[str, list[str]]:
    """Split the images of a VOC folder, each class and each group shared out by `stratified`."""
    annotations = open_data(folder)
    names = list(annotations.ids)
    sizes = [(int(width), int(height)) for width, height in annotations.sizes_wh]
    thumbnails = np.stack(
        [thumbnail(annotations.path(index), cut_below=cut_below) for index in range(len(annotations))]
    )
    duplicates = near_duplicate_groups(looks_of([annotations.path(index) for index in range(len(annotations))]))
    groups = grouped(names, sizes, thumbnails, together, duplicates=duplicates.tolist())
    print(f"{folder.name}: {len(names)} images in {len(set(groups))} groups")
    parts = stratified(annotations, SHARES, groups=[names[group] for group in groups])
    return {part: [names[index] for index in indices] for part, indices in parts.items()}


def write_list(path: Path, split: Mapping[str, Iterable[str]]) -> None:
    """Keep a split as a text file: a line an image, the part and the name."""
    path.write_text("".join(f"{part} {name}\n" for part, names in split.items() for name in names), encoding="utf-8")


def read_list(path: Path) -> dict[str, list[str]]:
    """Read such a file.

    Raises:
        ValueError: an image stands in two parts, or a part has another name.
    """
    split: dict[str, list[str]] = {part: [] for part in SHARES}
    seen: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        part, _, name = line.partition(" ")
        if part not in split or not name or name in seen:
            raise ValueError(f"{path}, line {number}: expected train, val or test and a name of its own, got {line!r}")
        seen.add(name)
        split[part].append(name)
    return split


def write_image_sets(folder: Path, split: Mapping[str, Sequence[str]]) -> None:
    """Write `ImageSets/Main/PART.txt` of a VOC folder."""
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    for part, names in split.items():
        (lists / f"{part}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
