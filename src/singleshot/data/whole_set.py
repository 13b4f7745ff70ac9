"""A whole labelled set, its splits included: what `ssd data convert`, `split`, `merge` and `crop` take and write."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from singleshot.data.classes import join
from singleshot.data.images import sizes_or_reasons
from singleshot.data.recognise import open_data, read_splits
from singleshot.data.turned_images import LabelsOn
from singleshot.errors import DataError
from singleshot.types import BOX_ARRAYS, Annotations

IMAGE_FOLDERS = ("jpegimages", "images")
"""Folders of the formats themselves, in any case of letters; they are no part of an image's place."""
ROLES = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class PredictedBoxes:
    """That the boxes of a set are a model's, for a person to correct.

    Attributes:
        model: what detected them.
        scores: (M,) of each box, in [0, 1].
        corrections: (N,) expected number of boxes to correct in each image.
    """

    model: str
    scores: np.ndarray
    corrections: np.ndarray


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Every image of a set once, and the images of each split.

    Attributes:
        annotations: the ground truth of all images.
        places: path of each image below the folder of images of a new set, sub-folders kept; no two have one stem.
        splits: name -> indices of its images, in its order; empty where the set has no splits. Images may be in
            several splits, and in none.
        remarks: what was guessed, converted or left out, one line each.
        predicted: set where the boxes are a model's; None: a person's.
    """

    annotations: Annotations
    places: tuple[str, ...]
    splits: Mapping[str, tuple[int, ...]]
    remarks: tuple[str, ...] = ()
    predicted: PredictedBoxes | None = None

    def __len__(self) -> int:
        return len(self.annotations)

    def parts(self, *, unlisted: str) -> dict[str, tuple[int, ...]]:
        """The splits, and the images of none under the name `unlisted`; all images there where there are no splits."""
        listed = {index for indices in self.splits.values() for index in indices}
        rest = tuple(index for index in range(len(self)) if index not in listed)
        return {
            **self.splits,
            **({unlisted: (*self.splits.get(unlisted, ()), *rest)} if rest or not self.splits else {}),
        }

    def only_boxes(self, keep: np.ndarray) -> LabelledSet:
        """The same images with only these boxes; `keep` is a mask of all boxes."""
        annotations = self.annotations
        starts = np.concatenate([[0], np.cumsum(keep)])[annotations.starts].astype(np.int64)
        arrays = {name: getattr(annotations, name)[keep] for name in BOX_ARRAYS}
        predicted = None if self.predicted is None else replace(self.predicted, scores=self.predicted.scores[keep])
        return replace(self, annotations=replace(annotations, starts=starts, **arrays), predicted=predicted)

    def with_sizes(self) -> LabelledSet:
        """The same with the sizes that the annotations do not state, from the images' headers."""
        annotations = self.annotations
        unknown = np.flatnonzero((annotations.sizes_wh == 0).any(axis=1)).tolist()
        if not unknown:
            return self
        sizes = annotations.sizes_wh.copy()
        for index, size in zip(unknown, sizes_or_reasons([annotations.path(i) for i in unknown]), strict=True):
            if not isinstance(size, str):
                sizes[index] = size
        return replace(self, annotations=replace(annotations, sizes_wh=sizes))


def read_whole_set(path: Path, *, images_needed: bool = True, labels_on: LabelsOn | None = None) -> LabelledSet:
    """Every split of a set, as `open_data` reads it.

    Args:
        path: the set.
        images_needed: False: images may be missing where the annotations state their sizes.
        labels_on: as `open_data`.

    Raises:
        RequestError, DataError: as `open_data`.
    """
    whole = open_data(path, images_needed=images_needed, labels_on=labels_on)
    first: dict[str, int] = {}
    for index, file in enumerate(whole.files):
        first.setdefault(file, index)
    annotations = whole if len(first) == len(whole) else whole.subset(list(first.values()))
    position = {file: index for index, file in enumerate(annotations.files)}
    splits = {
        name: tuple(position[file] for file in dict.fromkeys(result.annotations.files) if file in position)
        for name, result in read_splits(path).items()
        if name
    }
    places, remarks = image_places(annotations.files)
    return LabelledSet(annotations, places, splits, (*annotations.remarks, *remarks))


def image_places(files: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where images are to lie in a new set, and a remark on those that had to be renamed.

    Folders that are the format's own are left out, as are `..` and a drive: YOLO's `train/images/a.jpg` is
    `train/a.jpg`, for YOLO looks for labels where the last folder `images` is called `labels`. Formats that name an
    image by its stem cannot tell `a.jpg` from `a.png`: the second becomes `a-2.png`.

    >>> image_places(["images/cam1/a.jpg", "images/cam1/a.png", "train/images/b.jpg"])[0]
    ('cam1/a.jpg', 'cam1/a-2.png', 'train/b.jpg')
    """
    parts = [_place(file) for file in files]
    taken, renamed, places = set[str](), 0, list[str]()
    for part in parts:
        stem, suffix = posixpath.splitext("/".join(part))
        unique, number = stem, 1
        while unique.lower() in taken:
            number += 1
            unique = f"{stem}-{number}"
        renamed += number > 1
        taken.add(unique.lower())
        places.append(unique + suffix)
    remark = f"{renamed} images renamed: another has the same name but for its suffix or case"
    return tuple(places), (remark,) if renamed else ()


def _place(file: str) -> list[str]:
    *folders, name = PurePosixPath(file).parts
    return [
        *(
            part
            for part in folders
            if part not in {"..", "/"} and ":" not in part and part.lower() not in IMAGE_FOLDERS
        ),
        name,
    ]


def roles(splits: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The splits that stand for train, val and test: `train2017` for train, `trainval` where there is no other.

    >>> roles({"train2017": (0,), "val2017": (1,), "unlabeled": (2,)})
    {'train': (0,), 'val': (1,)}
    """
    chosen: dict[str, tuple[int, ...]] = {}
    for role in ROLES:
        like = [name for name in splits if name.lower().startswith(role) and "trainval" not in name.lower()]
        if role == "train" and not like:
            like = [name for name in splits if name.lower() == "trainval"]
        if like:
            chosen[role] = splits[min(like, key=lambda name: (len(name), name))]
    return chosen


def join_whole_sets(sets: Sequence[LabelledSet]) -> LabelledSet:
    """Several sets as one: their splits to train, validate and test on are united, whatever they are called.

    Names of images are kept where no two sets share one. Where two do, each set's images lie in a folder that is named
    after the set.

    Raises:
        DataError: no sets.
    """
    if not sets:
        raise DataError("no data set was given")
    annotations = join([data.annotations for data in sets])
    stems = [[posixpath.splitext(place)[0].lower() for place in data.places] for data in sets]
    names = [place for data in sets for place in data.places]
    remarks = [remark for data in sets for remark in data.remarks]
    if len({stem for of_set in stems for stem in of_set}) < len(names):
        folders = _folder_names([data.annotations.root for data in sets])
        names = [f"{folder}/{place}" for folder, data in zip(folders, sets, strict=True) for place in data.places]
        remarks.append(f"two sets share names of images: each lies in a folder of its own, {', '.join(folders)}")
    splits: dict[str, tuple[int, ...]] = {}
    start = 0
    for data in sets:
        united = roles(data.splits)
        others = {name: indices for name, indices in data.splits.items() if indices not in united.values()}
        for name, indices in {**united, **others}.items():
            splits[name] = (*splits.get(name, ()), *(start + index for index in indices))
        listed = {index for indices in data.splits.values() for index in indices}
        if any(other.splits for other in sets) and len(listed) < len(data):
            lost = len(data) - len(listed)
            remarks.append(f"{data.annotations.root}: {lost} images are in no split: `ssd data split` makes new ones")
        start += len(data)
    return LabelledSet(annotations, tuple(names), splits, tuple(dict.fromkeys(remarks)))


def _folder_names(roots: Sequence[Path]) -> list[str]:
    """The name of each set's folder, with a number where two share it."""
    names = [root.absolute().name or "set" for root in roots]
    return [name if Counter(names)[name] == 1 else f"{name}-{number}" for number, name in enumerate(names, 1)]
