from __future__ import annotations

import numpy as np
import pytest

from singleshot.preprocess import normalise, to_network_input
from singleshot.spec import Preprocess


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_one_pixel_by_hand() -> None:
    pixel = np.array([[[200, 117, 4]]], np.uint8)
    np.testing.assert_array_equal(normalise(pixel, Preprocess()).ravel(), [4 - 104, 0, 200 - 123])
    unit = Preprocess(mean_rgb=(127.5,) * 3, std_rgb=(127.5,) * 3, channel_order="rgb")
    np.testing.assert_allclose(normalise(pixel, unit).ravel(), [72.5 / 127.5, -10.5 / 127.5, -123.5 / 127.5], rtol=1e-6)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_normalise_is_the_formula(order: str) -> None:
    pixels = image(5, 7)
    preprocess = Preprocess(mean_rgb=(1.5, 20, 300), std_rgb=(1, 2, 0.25), channel_order=order)
    expected = (pixels.astype(np.float64) - preprocess.mean_rgb) / preprocess.std_rgb
    expected = expected if order == "rgb" else expected[..., ::-1]
    result = normalise(pixels, preprocess)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, expected.transpose(2, 0, 1), rtol=1e-6, atol=1e-5)


def test_the_input_size_is_height_then_width() -> None:
    assert to_network_input(image(20, 30), (8, 16), Preprocess()).shape == (3, 8, 16)


def test_a_image_of_the_input_size_is_not_resampled() -> None:
    pixels = image(8, 16)
    np.testing.assert_array_equal(to_network_input(pixels, (8, 16), Preprocess()), normalise(pixels, Preprocess()))


def test_bilinear_in_8_bits() -> None:
    """Two columns become four: the outer ones keep their value, the inner ones mix 3 : 1, rounded to whole levels."""
    pixels = np.repeat(np.array([[[10], [101]]], np.uint8), 3, axis=2)
    plain = Preprocess(mean_rgb=(0, 0, 0))
    np.testing.assert_array_equal(to_network_input(pixels, (1, 4), plain)[0, 0], [10, 33, 78, 101])


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes_are_finite(size_hw: tuple[int, int]) -> None:
    result = to_network_input(image(*size_hw), (32, 32), Preprocess())
    assert result.shape == (3, 32, 32)
    assert np.isfinite(result).all()
