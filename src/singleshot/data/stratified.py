"""Split a set into train, val and test so that each has its share of every class, and groups of images stay together.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): the rarest class first; each of its groups goes to
the part that lacks most of that class, then most images.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.errors import DataError, RequestError
from singleshot.types import Annotations


def group_names(places: Sequence[str], pattern: str) -> tuple[list[str], int]:
    """The group of each image: what the pattern's first group, else the whole pattern, matches in its path.

    Returns:
        The groups, and how many images do not match: each of those is a group of its own.

    Raises:
        RequestError: not a regular expression, or no image matches.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise RequestError(f"--group {pattern!r} is no regular expression: {error}") from None
    matches = [expression.search(place) for place in places]
    alone = sum(match is None for match in matches)
    if alone == len(places):
        raise RequestError(f"--group {pattern!r} matches no image, such as {places[0]}")
    number = 1 if expression.groups else 0
    names = [
        f"/{place}" if match is None else match.group(number) or ""
        for match, place in zip(matches, places, strict=True)
    ]
    return names, alone


def stratified(
    annotations: Annotations, shares: Mapping[str, float], *, groups: Sequence[str] | None = None, seed: int = 0
) -> dict[str, tuple[int, ...]]:
    """Part -> its images, in the set's order.

    Args:
        annotations: the set; images without objects are shared out like a class of their own.
        shares: of each part, in sum 1; a part with share 0 is left out.
        groups: name of each image's group, which is never parted; None: each image for itself.
        seed: decides between groups that are alike, by a hash of their names: the order of the set does not matter.

    Raises:
        DataError: fewer groups than parts.
    """
    shares = {name: share for name, share in shares.items() if share > 0}
    names = list(annotations.files if groups is None else groups)
    members: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    if len(members) < len(shares):
        raise DataError(f"{len(members)} images or groups cannot be split into {', '.join(shares)}")
    ranked = sorted(
        members, key=lambda name: (hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), name)
    )
    contents = _Contents.of(annotations, [members[name] for name in ranked])
    assigned = _assign(contents, np.array(list(shares.values())))
    parts: dict[str, tuple[int, ...]] = {}
    for number, part in enumerate(shares):
        chosen = [index for row in np.flatnonzero(assigned == number) for index in members[ranked[row]]]
        parts[part] = tuple(sorted(chosen))
    return parts


@dataclass(frozen=True)
class _Contents:
    """How many images of each class every group has; images without objects are a class of their own, the last.

    A set of a million images and hundreds of classes has few classes an image: only counts above 0 are kept, in the
    order of the groups.

    Attributes:
        images: (G,) of each group.
        starts: (G + 1,) where each group's counts begin.
        classes: of each count, its class, and
        counts: how many images.
    """

    images: np.ndarray
    starts: np.ndarray
    classes: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, annotations: Annotations, groups: Sequence[Sequence[int]]) -> _Contents:
        kinds = len(annotations.class_names) + 1
        objects = np.diff(annotations.starts)
        group_of = np.empty(len(annotations), np.int64)
        for number, members in enumerate(groups):
            group_of[members] = number
        images = np.arange(len(annotations))
        present = np.unique(images.repeat(objects) * kinds + annotations.labels)  # an image and a class that it has
        empty = images[objects == 0]
        keys = np.concatenate(
            [group_of[present // kinds] * kinds + present % kinds, group_of[empty] * kinds + kinds - 1]
        )
        keys, counts = np.unique(keys, return_counts=True)
        starts = np.searchsorted(keys, np.arange(len(groups) + 1) * kinds)
        return cls(np.bincount(group_of, minlength=len(groups)), starts, keys % kinds, counts)

    def of_class(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The groups that have a class, in their order, and how many images of it."""
        places = np.flatnonzero(self.classes == number)
        return np.searchsorted(self.starts, places, side="right") - 1, self.counts[places]

    def of_group(self, number: int) -> slice:
        """Where the counts of a group are."""
        return slice(self.starts[number], self.starts[number + 1])


def _assign(contents: _Contents, shares: np.ndarray) -> np.ndarray:
    """The part of each group. Every part gets one at least."""
    kinds = int(contents.classes.max()) + 1
    left = np.bincount(contents.classes, contents.counts, minlength=kinds)
    wanted, wanted_images = np.outer(shares, left), shares * contents.images.sum()
    assigned = np.full(len(contents.images), -1)
    while (left > 0).any():
        rarest = int(np.argmin(np.where(left > 0, left, np.inf)))
        groups, counts = contents.of_class(rarest)
        free = assigned[groups] < 0
        groups, counts = groups[free], counts[free]
        for group in groups[np.argsort(-counts, kind="stable")].tolist():
            part = max(range(len(shares)), key=lambda row: (wanted[row, rarest], wanted_images[row], -row))
            assigned[group] = part
            of_group = contents.of_group(group)
            wanted[part, contents.classes[of_group]] -= contents.counts[of_group]
            left[contents.classes[of_group]] -= contents.counts[of_group]
            wanted_images[part] -= contents.images[group]
    for part in range(len(shares)):
        if not (assigned == part).any():
            largest = np.bincount(assigned, minlength=len(shares)).argmax()
            assigned[np.flatnonzero(assigned == largest)[-1]] = part
    return assigned
