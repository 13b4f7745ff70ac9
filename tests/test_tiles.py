from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.errors import RequestError
from singleshot.tiles import Tiling


def test_tiles_of_a_wide_image() -> None:
    assert Tiling(100, 0.2).tiles(250, 90) == [(0, 0, 100, 90), (75, 0, 175, 90), (150, 0, 250, 90)]
    assert Tiling(100, 0.2).tiles(100, 100) == [(0, 0, 100, 100)]
    assert [tile[0] for tile in Tiling(100, 0.2).tiles(300, 10)] == [0, 67, 133, 200]
    assert Tiling(100, 0.0).tiles(101, 1) == [(0, 0, 100, 1), (1, 0, 101, 1)]


@given(st.integers(1, 3000), st.integers(32, 700), st.floats(0, 0.9))
def test_tiles_cover_the_image_and_overlap_as_asked(width: int, size: int, overlap: float) -> None:
    tiles = Tiling(size, overlap).tiles(width, 10)
    assert tiles[0][0] == 0
    assert tiles[-1][2] == width
    for left, right in pairwise(tiles):
        assert left[0] < right[0] <= left[2]
        assert left[2] - right[0] >= int(overlap * size) - 1
    assert all(tile[2] - tile[0] == min(size, width) for tile in tiles)


@pytest.mark.parametrize(("size", "overlap"), [(31, 0.2), (640, -0.1), (640, 1.0)])
def test_senseless_tiles_are_refused(size: int, overlap: float) -> None:
    with pytest.raises(RequestError, match=r"--tile|--overlap"):
        Tiling(size, overlap)
