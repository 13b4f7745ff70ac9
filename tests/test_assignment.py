from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from singleshot.assignment import assign

SHAPES = st.tuples(st.integers(0, 7), st.integers(0, 7))


@given(arrays(np.float64, SHAPES, elements=st.floats(-10, 10)))
def test_the_sum_is_the_largest(similarity: np.ndarray) -> None:
    rows, columns = assign(similarity)
    assert len(rows) == min(similarity.shape)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(set(columns.tolist())) == len(columns)
    best = similarity[linear_sum_assignment(similarity, maximize=True)].sum()
    assert similarity[rows, columns].sum() == pytest.approx(best, abs=1e-9)


@given(arrays(np.float64, SHAPES, elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_ties_are_assigned_as_well(similarity: np.ndarray) -> None:
    rows, columns = assign(similarity)
    assert similarity[rows, columns].sum() == similarity[linear_sum_assignment(similarity, maximize=True)].sum()


def test_a_large_one() -> None:
    similarity = np.random.default_rng(0).random((90, 70))
    rows, columns = assign(similarity)
    reference = linear_sum_assignment(similarity, maximize=True)
    assert (rows.tolist(), columns.tolist()) == (reference[0].tolist(), reference[1].tolist())
