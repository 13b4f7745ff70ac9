"""Split a set into train, val and test so that each has its share of every class, and groups of images stay together.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011): the rarest class first; each of its groups goes to
the part that lacks most of that class, then most images.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

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
    contents = _contents(annotations, [members[name] for name in ranked])
    assigned = _assign(contents, np.array(list(shares.values())))
    parts: dict[str, tuple[int, ...]] = {}
    for number, part in enumerate(shares):
        chosen = [index for row in np.flatnonzero(assigned == number) for index in members[ranked[row]]]
        parts[part] = tuple(sorted(chosen))
    return parts


def _contents(annotations: Annotations, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """(G, L + 2): images of each class, images without objects, and all images of each group."""
    classes = len(annotations.class_names)
    image_of_box = np.arange(len(annotations)).repeat(np.diff(annotations.starts))
    present = np.zeros((len(annotations), classes + 2))
    present[image_of_box, annotations.labels] = 1
    present[:, classes] = np.diff(annotations.starts) == 0
    present[:, classes + 1] = 1
    return np.stack([present[list(group)].sum(axis=0) for group in groups])


def _assign(contents: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The part of each group. Every part gets one at least."""
    wanted = np.outer(shares, contents.sum(axis=0))
    assigned = np.full(len(contents), -1)
    while (assigned < 0).any():
        free = np.flatnonzero(assigned < 0)
        left = contents[free].sum(axis=0)[:-1]
        rarest = int(np.argmin(np.where(left > 0, left, np.inf)))
        candidates = free[contents[free, rarest] > 0]
        for group in candidates[np.argsort(-contents[candidates, rarest], kind="stable")]:
            part = max(range(len(shares)), key=lambda row: (wanted[row, rarest], wanted[row, -1], -row))
            assigned[group] = part
            wanted[part] -= contents[group]
    for part in range(len(shares)):
        if not (assigned == part).any():
            largest = np.bincount(assigned, minlength=len(shares)).argmax()
            assigned[np.flatnonzero(assigned == largest)[-1]] = part
    return assigned
