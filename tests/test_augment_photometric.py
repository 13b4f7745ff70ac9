"""Distortion: worked examples, and the slow formula beside the fast code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.augment import photometric
from singleshot.augment.photometric import apply_distortion, draw_distortion
from singleshot.augment.settings import AugmentSettings

EVERY_VALUE = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
IMAGE = np.random.default_rng(1).integers(0, 256, (12, 17, 3)).astype(np.uint8)

ROWS, COLUMNS = np.mgrid[0:12, 0:80]
SMOOTH = np.stack([90 - COLUMNS, 20 * ROWS, 128 + 0 * ROWS], axis=-1).astype(np.uint8)


@given(st.floats(-300, 300, width=32))
def test_brightness_rounds_to_even_and_saturates(delta: float) -> None:
    expected = np.clip(np.rint(EVERY_VALUE.astype(np.float32) + np.float32(delta)), 0, 255)
    np.testing.assert_array_equal(photometric.adjust_brightness(EVERY_VALUE, delta), expected)


@given(st.floats(0, 3, width=32))
def test_contrast_is_about_black(factor: float) -> None:
    expected = np.clip(np.rint(EVERY_VALUE.astype(np.float32) * np.float32(factor)), 0, 255)
    if abs(factor - 1) <= 1e-3:
        expected = EVERY_VALUE
    # OpenCV may multiply and round in one step: a level at exact halves.
    assert np.abs(photometric.adjust_contrast(EVERY_VALUE, factor) - expected).max() <= 1


def test_grey_has_no_saturation_to_scale() -> None:
    np.testing.assert_array_equal(photometric.adjust_saturation(EVERY_VALUE, 1.5), EVERY_VALUE)


def test_saturation_of_one_colour_by_hand() -> None:
    """(200, 100, 100) has V 200 and S 128 of 255 (rounded); half of it lifts the lesser channels to 150, to a level."""
    colour = np.array([[[200, 100, 100]]], np.uint8)
    np.testing.assert_allclose(photometric.adjust_saturation(colour, 0.5), [[[200, 150, 150]]], atol=1)
    np.testing.assert_allclose(photometric.adjust_saturation(colour, 2), [[[200, 0, 0]]], atol=1)


@pytest.mark.parametrize(
    ("colour", "delta", "expected"),
    [
        ((255, 0, 0), 60, (0, 255, 0)),
        ((0, 255, 0), 60, (0, 0, 255)),
        ((0, 0, 255), 60, (255, 0, 0)),  # 120 + 60 wraps around
        ((255, 128, 0), -18, (255, 0, 0)),  # 15 - 18 does not: it stops at red
    ],
)
def test_hue_wraps_upwards_only(colour: tuple[int, ...], delta: float, expected: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(photometric.adjust_hue(np.array([[colour]], np.uint8), delta), [[expected]])


def test_no_hue_is_no_change() -> None:
    np.testing.assert_array_equal(photometric.adjust_hue(IMAGE, 0), IMAGE)


@pytest.mark.parametrize("number", range(6))
def test_shuffling_keeps_the_values(number: int) -> None:
    shuffled = photometric.shuffle_channels(IMAGE, number + 0.5)
    np.testing.assert_array_equal(np.sort(shuffled, axis=2), np.sort(IMAGE, axis=2))
    assert (number == 0) == np.array_equal(shuffled, IMAGE)


@given(st.integers(0, 2**32), st.booleans())
def test_distorting_a_part_is_a_part_of_the_distortion(seed: int, in_hsv: bool) -> None:
    """Each step works on single pixels: what lets the pipeline distort only what it keeps.

    OpenCV's way back from HSV rounds the last few pixels of a row (fewer than 32) differently, by a level; a second
    conversion and contrast make it at most 3.
    """
    drawn = 0.5 if in_hsv else 0.0
    settings = AugmentSettings(shuffle_probability=0.5, saturation_probability=drawn, hue_probability=drawn)
    steps = draw_distortion(np.random.default_rng(seed), settings)
    part = np.s_[3:9, 5:70]
    ours, whole = apply_distortion(SMOOTH[part], steps), apply_distortion(SMOOTH, steps)[part]
    assert np.abs(ours.astype(int) - whole).max() <= (3 if in_hsv else 0)


def test_the_source_is_left_alone() -> None:
    before = IMAGE.copy()
    for seed in range(30):
        apply_distortion(IMAGE, draw_distortion(np.random.default_rng(seed), AugmentSettings(shuffle_probability=1)))
    np.testing.assert_array_equal(IMAGE, before)


def test_orders_and_ranges() -> None:
    always = AugmentSettings(**{f"{name}_probability": 1.0 for name in ("brightness", "contrast", "saturation", "hue")})
    generator = np.random.default_rng(2)
    drawn = [draw_distortion(generator, always) for _ in range(400)]
    assert {tuple(name for name, _ in steps) for steps in drawn} == {
        ("brightness", "contrast", "saturation", "hue"),
        ("brightness", "saturation", "hue", "contrast"),
    }
    assert 160 < sum(steps[1][0] == "contrast" for steps in drawn) < 240  # a fair coin
    amounts = {name: np.array([dict(steps)[name] for steps in drawn]) for name, _ in drawn[0]}
    limits = {"brightness": (-32, 32), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-18, 18)}
    for name, (low, high) in limits.items():
        span = high - low
        assert low <= amounts[name].min() < low + 0.05 * span
        assert high - 0.05 * span < amounts[name].max() <= high


def test_never_means_never() -> None:
    settings = AugmentSettings(
        brightness_probability=0, contrast_probability=0, saturation_probability=0, hue_probability=0
    )
    assert draw_distortion(np.random.default_rng(0), settings) == ()
    assert draw_distortion(np.random.default_rng(0), replace(settings, hue_probability=1)) != ()
