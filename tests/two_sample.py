"""Two-sample tests at one stated level: all of a suite's comparisons together are wrong with probability 1e-3.

Every comparison takes its share of the level (Bonferroni); seeds are fixed, so a result does not change between runs.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

LEVEL = 1e-3
COMPARISONS = 2000  # more than the golden folder asks for
SHARE = LEVEL / COMPARISONS
KS_CRITICAL = float(np.sqrt(-np.log(SHARE / 2) / 2))  # of sup |F - G| sqrt(n m / (n + m)), asymptotically


def assert_same_distribution(ours: np.ndarray, theirs: np.ndarray, what: str, *, tolerance: float = 1e-6) -> None:
    """Kolmogorov-Smirnov on two samples, whose values may be off by `tolerance`; ties only make it milder."""
    ours, theirs = np.sort(ours.astype(np.float64)), np.sort(theirs.astype(np.float64))
    distance = max(_excess(ours, theirs, tolerance), _excess(theirs, ours, tolerance))
    _judge(distance, len(ours), len(theirs), what)


def assert_quantiles(ours: np.ndarray, levels: np.ndarray, quantiles: np.ndarray, count: int, what: str) -> None:
    """Kolmogorov-Smirnov at the other sample's quantiles, all that is known of its `count` values."""
    ordered = np.sort(ours)
    tolerance = 1e-6  # float32 quantiles of float32 values
    under = np.searchsorted(ordered, quantiles - tolerance, side="left") / len(ours)
    up_to = np.searchsorted(ordered, quantiles + tolerance, side="right") / len(ours)
    inner = (levels > 0) & (levels < 1)
    distance = np.maximum(under - levels, levels - up_to)[inner].max()
    _judge(float(distance), len(ours), count, what)


def assert_same_counts(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    """Chi-squared on two rows of counts; categories that are rare in both are joined."""
    table = np.array([ours, theirs], np.float64)
    rare = table.sum(axis=0) < 12
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return
    probability = stats.chi2_contingency(table, correction=False).pvalue
    assert probability > SHARE, f"{what}: counts {ours} against {theirs}, p = {probability:.1e}"


def assert_same_share(ours: int, of_ours: int, theirs: int, of_theirs: int, what: str) -> None:
    """Fisher's exact test on two shares."""
    probability = stats.fisher_exact([[ours, of_ours - ours], [theirs, of_theirs - theirs]]).pvalue
    assert probability > SHARE, f"{what}: {ours} of {of_ours} against {theirs} of {of_theirs}, p = {probability:.1e}"


def _excess(first: np.ndarray, second: np.ndarray, tolerance: float) -> float:
    """The most by which the share of `first` up to x exceeds the share of `second` up to x + tolerance."""
    share = np.arange(1, len(first) + 1) / len(first)
    return float((share - np.searchsorted(second, first + tolerance, side="right") / len(second)).max())


def _judge(distance: float, ours: int, theirs: int, what: str) -> None:
    critical = KS_CRITICAL * np.sqrt((ours + theirs) / (ours * theirs))
    assert distance <= critical, f"{what}: distance {distance:.4f} > {critical:.4f} (n = {ours}, {theirs})"
