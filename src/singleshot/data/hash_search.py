"""Pairs of 64-bit hashes that differ in a few bits only, without comparing all with all.

Multi-index hashing (Norouzi, Punjani and Fleet 2012): cut both hashes into n parts; where they differ in fewer than
2 n bits, at least one part differs in one bit at most. So each part is looked up among the sorted parts of the other
side, as it is and with each of its bits flipped, and only what is found there is compared whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

BITS = 64
BLOCK = 2**22
"""Pairs that are compared at once."""


def near_pairs(first: np.ndarray, second: np.ndarray, *, most_bits: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of pairs (rows of `first`, rows of `second`) of at most `most_bits` different bits; a pair may come twice.

    Args:
        first: (N,) uint64.
        second: (M,) uint64.
        most_bits: 0 to 16; the more, the longer it takes.
    """
    parts = most_bits // 2 + 1
    edges = np.linspace(0, BITS, parts + 1).astype(int)
    for low, high in pairwise(edges.tolist()):
        mask = np.uint64((1 << (high - low)) - 1)
        keys, others = ((hashes >> np.uint64(low)) & mask for hashes in (first, second))
        order = np.argsort(others, kind="stable")
        ranked = others[order]
        for flipped in (0, *(1 << bit for bit in range(high - low))):
            wanted = keys ^ np.uint64(flipped)
            starts = np.searchsorted(ranked, wanted, side="left")
            counts = np.searchsorted(ranked, wanted, side="right") - starts
            for rows, places in _blocks(starts, counts):
                columns = order[places]
                near = np.bitwise_count(first[rows] ^ second[columns]) <= most_bits
                if near.any():
                    yield rows[near], columns[near]


def _blocks(starts: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row i with each of the places `starts[i]` to `starts[i] + counts[i]`, some `BLOCK` of them at a time."""
    rows = np.flatnonzero(counts)
    ends = np.cumsum(counts[rows])
    begin = 0
    while begin < len(rows):
        before = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + BLOCK, side="right")))
        chosen = rows[begin:end]
        repeats = counts[chosen]
        first_of_row = np.repeat(np.cumsum(repeats) - repeats, repeats)
        within = np.arange(repeats.sum()) - first_of_row
        yield np.repeat(chosen, repeats), np.repeat(starts[chosen], repeats) + within
        begin = end
