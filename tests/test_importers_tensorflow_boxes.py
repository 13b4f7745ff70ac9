"""Default boxes of TensorFlow's detectors: its formulas, worked by hand, and boxes read off."""

from __future__ import annotations

import numpy as np
import pytest

from singleshot.errors import ModelError
from singleshot.ssd.default_boxes import caffe_default_boxes
from singleshot.weights.importers.tensorflow_boxes import boxes_of_graph

GRIDS = ((19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))
COUNTS = (3, 6, 6, 6, 6, 6)
VARIANCES = (0.1, 0.1, 0.2, 0.2)


def boxes(anchors: np.ndarray | None, counts: tuple[int, ...], grids: tuple, size: int, **options: float) -> np.ndarray:
    spec = boxes_of_graph(
        anchors, counts, grids, (size, size), variances=VARIANCES, origin="graph", **{"rounding": 0.0, **options}
    )
    return caffe_default_boxes(spec, grids, (size, size))


def centred(x: float, y: float, width: float, height: float) -> list[float]:
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def test_the_formula_of_ssd_anchors() -> None:
    found = boxes(None, COUNTS, GRIDS, 300)
    assert len(found) == 1917
    half = 0.5 / 19
    np.testing.assert_allclose(found[0], centred(half, half, 0.1, 0.1), atol=1e-6)
    np.testing.assert_allclose(found[1], centred(half, half, 0.2 * 2**0.5, 0.2 / 2**0.5), atol=1e-6)
    np.testing.assert_allclose(found[2], centred(half, half, 0.2 / 2**0.5, 0.2 * 2**0.5), atol=1e-6)
    second = 3 * 19 * 19
    np.testing.assert_allclose(found[second + 5], centred(0.05, 0.05, *[(0.35 * 0.5) ** 0.5] * 2), atol=1e-6)
    thin = 0.35 * 0.3333**0.5, 0.35 / 0.3333**0.5  # not a third: TensorFlow's configurations say 0.3333
    np.testing.assert_allclose(found[second + 4], centred(0.05, 0.05, *thin), atol=1e-6)
    np.testing.assert_allclose(found[-1], centred(0.5, 0.5, *[0.95**0.5] * 2), atol=1e-6)


def test_the_formula_of_a_pyramid() -> None:
    grids = ((40, 40), (20, 20), (10, 10), (5, 5), (3, 3))
    found = boxes(None, (6,) * 5, grids, 320)
    assert len(found) == 12804
    np.testing.assert_allclose(found[0], centred(4 / 320, 4 / 320, 0.1, 0.1), atol=1e-6)
    np.testing.assert_allclose(found[1], centred(4 / 320, 4 / 320, *[0.1 * 2**0.5] * 2), atol=1e-6)
    wide = 0.1 * 2**0.5, 0.1 / 2**0.5
    np.testing.assert_allclose(found[2], centred(4 / 320, 4 / 320, *wide), atol=1e-6)
    last = len(found) - 6 * 9  # 128 does not divide 320: the centres of 3x3 lie at the corners of cells
    np.testing.assert_allclose(found[last], centred(0, 0, 1.6, 1.6), atol=1e-6)
    np.testing.assert_allclose(found[last + 6], centred(0.4, 0, 1.6, 1.6), atol=1e-6)


def test_boxes_of_another_grid_are_read_off() -> None:
    grids, counts = ((4, 6), (2, 3)), (2, 1)
    anchors = [
        centred((column + 0.25) / 6, (row + 0.25) / 6, *size)
        for row in range(4)
        for column in range(6)
        for size in ((0.1, 0.2), (0.3, 0.1))
    ]
    anchors += [centred((column + 0.5) / 3, (row + 0.5) / 2, 0.5, 0.4) for row in range(2) for column in range(3)]
    given = np.array(anchors, np.float32)
    np.testing.assert_allclose(boxes(given, counts, grids, 96), given, atol=1e-6)


def test_the_formula_is_taken_where_boxes_were_rounded() -> None:
    exact = boxes(None, COUNTS, GRIDS, 300)
    centres, sizes = (exact[:, :2] + exact[:, 2:]) / 2, exact[:, 2:] - exact[:, :2]
    centres, sizes = (np.round(values / 0.006) * 0.006 for values in (centres, sizes))
    rounded = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    assert np.abs(rounded - exact).max() > 0.004
    np.testing.assert_array_equal(boxes(rounded, COUNTS, GRIDS, 300, rounding=0.003), exact)
    with pytest.raises(ModelError, match="no grid"):
        boxes(rounded, COUNTS, GRIDS, 300)


def test_boxes_that_do_not_fit_are_refused() -> None:
    exact = boxes(None, COUNTS, GRIDS, 300)
    with pytest.raises(ModelError, match="1916"):
        boxes(exact[1:], COUNTS, GRIDS, 300)
    with pytest.raises(ModelError, match="formula"):
        boxes(None, (4, 4), ((4, 4), (2, 2)), 300)
    moved = exact.copy()
    moved[700] += 0.01
    with pytest.raises(ModelError, match=r"no grid.*0\.01"):
        boxes(moved, COUNTS, GRIDS, 300)
