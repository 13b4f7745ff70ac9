from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from singleshot.augment.crop import Window
from singleshot.augment.expand import Canvas, cut, draw_canvas, expand, place
from singleshot.augment.settings import AugmentSettings

MEAN = (123.0, 117.0, 103.5)
IMAGE = np.random.default_rng(1).integers(0, 256, (5, 8, 3)).astype(np.uint8)


def test_a_canvas_by_hand() -> None:
    canvas = Canvas((5, 8), (10, 16), top=3, left=2)
    np.testing.assert_allclose(canvas.frame_xyxy, [-2 / 8, -3 / 5, 14 / 8, 7 / 5], rtol=1e-6)
    expanded = expand(IMAGE, canvas, MEAN)
    assert expanded.shape == (10, 16, 3)
    np.testing.assert_array_equal(expanded[3:8, 2:10], IMAGE)
    outside = np.ones((10, 16), bool)
    outside[3:8, 2:10] = False
    np.testing.assert_array_equal(expanded[outside], np.broadcast_to([123, 117, 104], (outside.sum(), 3)))


@given(st.integers(1, 40), st.integers(1, 40), st.floats(1, 4), st.integers(0, 2**32))
def test_the_image_lies_on_its_canvas(height: int, width: int, ratio: float, seed: int) -> None:
    canvas = place((height, width), ratio, np.random.default_rng(seed))
    assert canvas.size_hw == (int(height * ratio), int(width * ratio))
    assert 0 <= canvas.top <= canvas.size_hw[0] - height
    assert 0 <= canvas.left <= canvas.size_hw[1] - width


@given(st.data())
def test_cutting_equals_expanding_and_cropping(data: st.DataObject) -> None:
    """The slow obvious way: make the canvas, then crop it."""
    canvas = place((5, 8), data.draw(st.floats(1, 4)), np.random.default_rng(data.draw(st.integers(0, 2**32))))
    rows = sorted(data.draw(st.lists(st.integers(0, canvas.size_hw[0]), min_size=2, max_size=2, unique=True)))
    columns = sorted(data.draw(st.lists(st.integers(0, canvas.size_hw[1]), min_size=2, max_size=2, unique=True)))
    window = Window(rows[0], rows[1], columns[0], columns[1])
    literal = window.of(expand(255 - IMAGE, canvas, MEAN))
    np.testing.assert_array_equal(cut(IMAGE, canvas, window, MEAN, lambda seen: 255 - seen), literal)


def test_only_what_is_seen_is_changed() -> None:
    sizes = []
    canvas = Canvas((5, 8), (20, 32), top=10, left=10)
    cut(IMAGE, canvas, Window(12, 20, 0, 12), MEAN, lambda seen: (sizes.append(seen.shape), seen)[1])
    cut(IMAGE, canvas, Window(0, 10, 0, 12), MEAN, lambda seen: (sizes.append(seen.shape), seen)[1])
    assert sizes == [(3, 2, 3)]


def test_how_often() -> None:
    generator = np.random.default_rng(0)
    for probability, least, most in ((0.0, 0, 0), (0.5, 160, 240), (1.0, 390, 400)):
        settings = AugmentSettings(expand_probability=probability)
        expanded = sum(bool(draw_canvas((50, 60), generator, settings).frames) for _ in range(400))
        assert least <= expanded <= most
    assert draw_canvas((50, 60), generator, AugmentSettings(expand_probability=1, max_expand_ratio=1)).frames == ()
