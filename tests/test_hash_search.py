"""Pairs of hashes that differ in few bits, against the comparison of all with all."""

from __future__ import annotations

import numpy as np
import pytest

from singleshot.data import hash_search
from singleshot.data.hash_search import near_pairs


def some_hashes(count: int, seed: int) -> np.ndarray:
    """Clusters: each hash differs in 0 to 7 bits from one of five."""
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**64, 5, dtype=np.uint64)[generator.integers(0, 5, count)]
    for _ in range(7):
        flip = generator.integers(0, 2, count).astype(np.uint64) << generator.integers(0, 64, count).astype(np.uint64)
        hashes = hashes ^ flip
    return hashes


@pytest.mark.parametrize("most_bits", [0, 1, 2, 3, 4, 7, 8, 10, 16])
@pytest.mark.parametrize("block", [1, 50, 2**22])
def test_equals_the_comparison_of_all_with_all(most_bits: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_search, "BLOCK", block)
    first, second = some_hashes(40, 0), some_hashes(70, 0)
    expected = np.bitwise_count(first[:, None] ^ second[None]) <= most_bits
    found = np.zeros_like(expected)
    for rows, columns in near_pairs(first, second, most_bits=most_bits):
        found[rows, columns] = True
    assert (found == expected).all()
    assert expected.any() or most_bits < 2


def test_every_bit_counts_by_hand() -> None:
    zero = np.zeros(1, np.uint64)
    for bit in range(64):
        one = np.array([1 << bit], np.uint64)
        assert not list(near_pairs(zero, one, most_bits=0))
        assert list(near_pairs(zero, one, most_bits=1))


def test_nothing_has_no_pairs() -> None:
    nothing, some = np.zeros(0, np.uint64), some_hashes(3, 1)
    assert not list(near_pairs(nothing, some, most_bits=4))
    assert not list(near_pairs(some, nothing, most_bits=4))
