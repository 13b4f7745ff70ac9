"""Images of a set that look nearly the same: one photograph twice, frames of one clip, shots of one series.

Candidates are pairs whose perceptual hashes differ in `MOST_BITS` of 64 bits at most. They count where their structures
agree, too: the images in grey, averaged to 16 x 16, less the mean of each row and column (a horizon, a plain sky and a
caption below all images say nothing), correlate with `LEAST_CORRELATION` or more. Both limits were chosen by eye on six
sets (docs/measurements.md). Groups are joined pair by pair: the first and last frame of a clip may differ altogether.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot.data.hash_search import near_pairs
from singleshot.data.image_hashes import NO_HASH, decode_small, grey_grid, perceptual_hash
from singleshot.errors import ImageError
from singleshot.shapes import UInt8

MOST_BITS = 10
LEAST_CORRELATION = 0.8
SIDE = 16
COMPARED = 2**16
"""Pairs whose structures are compared at once."""


@dataclass(frozen=True, eq=False)
class Look:
    """What an image looks like, in half a kilobyte.

    Attributes:
        perceptual: its hash; `NO_HASH` where it shows too little, and is like no other.
        structure: (256,) float16, of length 1.
    """

    perceptual: np.uint64 = NO_HASH
    structure: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Looks:
    """What some images look like, in their order: (N,) hashes and (N, 256) structures."""

    perceptual: np.ndarray
    structure: np.ndarray

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Looks:
        """Of images one by one."""
        structure = np.zeros((len(looks), SIDE * SIDE), np.float16)
        for row, look in enumerate(looks):
            if look.structure is not None:
                structure[row] = look.structure
        return cls(np.array([look.perceptual for look in looks], np.uint64), structure)

    def subset(self, rows: Sequence[int]) -> Looks:
        """Those of these images."""
        chosen = np.asarray(rows, np.int64)
        return Looks(self.perceptual[chosen], self.structure[chosen])


def look_of(pixels: UInt8[np.ndarray, "H W 3"]) -> Look:
    """What an image looks like."""
    fine = grey_grid(pixels)
    grid = fine.reshape(SIDE, len(fine) // SIDE, SIDE, -1).mean(axis=(1, 3))
    structure = grid - grid.mean(axis=0) - grid.mean(axis=1, keepdims=True) + grid.mean()
    length = float(np.linalg.norm(structure))
    if not length:
        return Look()
    return Look(perceptual_hash(fine), (structure / length).astype(np.float16).ravel())


def looks_of(paths: Sequence[Path], *, on_image: Callable[[int], None] = lambda _done: None) -> Looks:
    """What the images of some files look like, on all cores; one that cannot be decoded is like no other."""

    def look(path: Path) -> Look:
        try:
            return look_of(decode_small(path))
        except ImageError:
            return Look()

    looks = []
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # of several frames and of 16 bits: who decodes the image says so
        for of_image in pool.map(look, paths):
            looks.append(of_image)
            on_image(len(looks))
    return Looks.of(looks)


def near_duplicate_groups(looks: Looks) -> np.ndarray:
    """(N,) the group of each image: the first of those that it looks nearly the same as, itself where it is alone."""
    group = np.arange(len(looks.perceptual))
    rows = np.flatnonzero(looks.perceptual != NO_HASH)
    hashes = looks.perceptual[rows]
    for first, second in near_pairs(hashes, hashes, most_bits=MOST_BITS):
        ahead = first < second
        pairs = rows[first[ahead]], rows[second[ahead]]
        for start in range(0, len(pairs[0]), COMPARED):
            left, right = (side[start : start + COMPARED] for side in pairs)
            apart = group[left] != group[right]
            left, right = left[apart], right[apart]
            alike = _correlations(looks, left, looks, right) >= LEAST_CORRELATION
            group = joined(group, left[alike], right[alike])
    return group


def joined(group: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Groups, each called by its lowest number, after those of `first[i]` and `second[i]` have become one each."""
    group = group.copy()
    while (group[first] != group[second]).any():
        lower = np.minimum(group[first], group[second])
        np.minimum.at(group, group[first], lower)
        np.minimum.at(group, group[second], lower)
        while (group[group] != group).any():
            group = group[group]
    return group


def nearest_duplicates(looks: Looks, others: Looks) -> np.ndarray:
    """(N,) for each image the one of some others that looks nearly the same and correlates best; -1 for none."""
    looks, _, place = _distinct(looks)
    others, first, _ = _distinct(others)
    best, nearest = np.zeros(len(looks.perceptual)), np.full(len(looks.perceptual), -1)
    rows, columns = (np.flatnonzero(each.perceptual != NO_HASH) for each in (looks, others))
    for near in near_pairs(looks.perceptual[rows], others.perceptual[columns], most_bits=MOST_BITS):
        for start in range(0, len(near[0]), COMPARED):
            left, right = rows[near[0][start : start + COMPARED]], columns[near[1][start : start + COMPARED]]
            correlations = _correlations(looks, left, others, right)
            for pair in np.flatnonzero(correlations >= np.maximum(best[left], LEAST_CORRELATION)).tolist():
                if correlations[pair] > best[left[pair]]:
                    best[left[pair]], nearest[left[pair]] = correlations[pair], first[right[pair]]
    return np.asarray(nearest[place])


def members(group: np.ndarray) -> Iterator[np.ndarray]:
    """The images of each group of two or more, in the order of their first."""
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else ():
        if len(rows) > 1:
            yield rows


def _distinct(looks: Looks) -> tuple[Looks, np.ndarray, np.ndarray]:
    """Equal looks once, the first row of each, and (N,) the place of each row among them."""
    both = np.column_stack([looks.perceptual[:, None].view(np.uint8), looks.structure.view(np.uint8)])
    rows = both.view(np.dtype((np.void, both.shape[1])))[:, 0]
    _, first, place = np.unique(rows, return_index=True, return_inverse=True)
    return Looks(looks.perceptual[first], looks.structure[first]), first, place


def _correlations(looks: Looks, left: np.ndarray, others: Looks, right: np.ndarray) -> np.ndarray:
    """(P,) of each pair's structures."""
    first, second = looks.structure[left].astype(np.float32), others.structure[right].astype(np.float32)
    correlations: np.ndarray = np.einsum("ij,ij->i", first, second)
    return correlations
