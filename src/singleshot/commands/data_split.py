"""`ssd data split`: train, val and test, each with its share of every class, groups of images never parted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from singleshot.commands.new_set import Images, NewSet, OnImage, require_new_folder, write_new_set
from singleshot.data.near_duplicates import joined, looks_of, members, near_duplicate_groups
from singleshot.data.stratified import group_names, stratified
from singleshot.data.turned_images import LabelsOn
from singleshot.data.whole_set import LabelledSet, read_whole_set
from singleshot.data.writers.new_set import FormatName
from singleshot.errors import RequestError

KeepTogether: TypeAlias = Literal["near-duplicates"]


@dataclass(frozen=True)
class SplitOptions:
    """How to split.

    Attributes:
        out: a new folder.
        val: share of the images to validate on, 0 to 1.
        test: share of the images to test on, 0 to 1.
        seed: another seed gives other splits.
        group: a regular expression: images whose paths match it alike stay together.
        keep_together: `near-duplicates`: images that look nearly the same stay together, such as frames of a clip.
        to: the format to write; None: the set's own.
        images: `copy`, `link` or `none`.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; None: as `open_data`.

    Raises:
        RequestError: shares that leave nothing to train on, or nothing else.
    """

    out: Path
    val: float = 0.2
    test: float = 0.0
    seed: int = 0
    group: str | None = None
    keep_together: KeepTogether | None = None
    to: FormatName | None = None
    images: Images = "copy"
    labels_on: LabelsOn | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.val < 1 and 0 <= self.test < 1 and 0 < self.val + self.test < 1):
            raise RequestError(
                f"--val and --test are shares, in sum more than 0 and less than 1, got {self.val} and {self.test}"
            )


def split(data: Path, options: SplitOptions, *, on_image: OnImage = lambda _done, _total: None) -> NewSet:
    """Write the set with new splits; those that it has are replaced.

    Raises:
        RequestError: no such set, a folder that is not empty, a pattern that matches nothing.
        DataError: the set has faults that forbid training, or fewer groups than splits.
    """
    require_new_folder(options.out)
    labelled = read_whole_set(data, images_needed=options.images != "none", labels_on=options.labels_on)
    remarks = list(labelled.remarks)
    groups, remarks_on_groups = _groups(labelled, options, on_image)
    remarks += remarks_on_groups
    if labelled.splits:
        remarks.append(f"the splits that the set had are replaced: {', '.join(labelled.splits)}")
    shares = {"train": 1 - options.val - options.test, "val": options.val, "test": options.test}
    parts = stratified(labelled.annotations, shares, groups=groups, seed=options.seed)
    labelled = replace(labelled, splits=parts, remarks=tuple(remarks))
    compared = 0 if options.keep_together is None else len(labelled)

    def on_written(done: int, total: int) -> None:
        on_image(compared + done, compared + total)

    return write_new_set(labelled, options.out, to=options.to, images=options.images, on_image=on_written)


def _groups(labelled: LabelledSet, options: SplitOptions, on_image: OnImage) -> tuple[list[str] | None, list[str]]:
    """The name of each image's group, None where each is for itself; and remarks."""
    names: list[str] | None = None
    remarks = []
    if options.group is not None:
        names, alone = group_names(labelled.places, options.group)
        remarks.append(f"{len(set(names))} groups of {len(names)} images are never parted")
        remarks += [f"{alone} images do not match --group: each is a group of its own"] if alone else []
    if options.keep_together is None:
        return names, remarks
    total = 2 * len(labelled)
    paths = [labelled.annotations.path(index) for index in range(len(labelled))]
    looks = looks_of(paths, on_image=lambda done: on_image(done, total))
    near = near_duplicate_groups(looks)
    counts = [len(rows) for rows in members(near)]
    remarks.append(
        f"{sum(counts)} of {len(near)} images look nearly the same as another: {len(counts)} groups of up to "
        f"{max(counts, default=0)} are never parted"
    )
    if names is not None:
        first = {name: index for index, name in reversed(list(enumerate(names)))}
        near = joined(near, np.arange(len(near)), np.array([first[name] for name in names]))
        remarks.append(f"{len(set(near.tolist()))} groups after those of --group were joined with them")
    return [labelled.places[index] for index in near], remarks
