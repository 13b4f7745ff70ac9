"""Fast pixels: the same choices and ground-truth boxes, nearly the same image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from singleshot.augment.crop import Window
from singleshot.augment.fast import reduction
from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import AugmentSettings
from singleshot.decode import EncodedImage, decode_image
from singleshot.errors import RequestError, UnknownNameError
from singleshot.photographs import PHOTOGRAPHS
from singleshot.types import Sample

if TYPE_CHECKING:
    from pathlib import Path

MEAN = (123.0, 117.0, 104.0)
EXACT, FAST = (CaffeAugmentation((96, 120), MEAN, AugmentSettings(pixels=pixels)) for pixels in ("exact", "fast"))
PATHS = [photograph.path for photograph in PHOTOGRAPHS]
BOXES = np.array([[0.1, 0.2, 0.5, 0.9], [0.4, 0.1, 0.8, 0.4]], np.float32)


def augmented(path: Path, augmentation: CaffeAugmentation, seed: int) -> Sample:
    """As training does it: choices first, then no more pixels than they need."""
    encoded = EncodedImage(path)
    choices = augmentation.draw_for(encoded.size_hw, BOXES, np.random.default_rng(seed))
    pixels = encoded.decode(reduction=augmentation.reduction(choices))
    return augmentation.apply(Sample(pixels, BOXES, np.arange(2), np.zeros(2, np.bool_)), choices)


@pytest.mark.parametrize("path", PATHS[:2], ids=lambda path: path.stem)
def test_ground_truth_are_the_same_and_images_nearly(path: Path) -> None:
    differences = []
    for seed in range(60):
        exact, fast = augmented(path, EXACT, seed), augmented(path, FAST, seed)
        np.testing.assert_array_equal(exact.boxes_xyxy, fast.boxes_xyxy)
        np.testing.assert_array_equal(exact.labels, fast.labels)
        differences.append(np.abs(exact.image.astype(int) - fast.image).mean())
    assert np.median(differences) < 4  # grey levels
    assert max(differences) < 20


def test_brightness_and_contrast_are_distributed_alike() -> None:
    """Two samples of other draws; the least of twelve p-values, by Bonferroni."""
    figures: dict[str, list[np.ndarray]] = {"exact": [], "fast": []}
    for name, augmentation, first in (("exact", EXACT, 0), ("fast", FAST, 1000)):
        for seed in range(first, first + 150):
            image = augmented(PATHS[seed % len(PATHS)], augmentation, seed).image.reshape(-1, 3)
            figures[name].append(np.concatenate([image.mean(axis=0), image.std(axis=0)]))
    columns = zip(*(np.stack(figures[name]).T for name in ("exact", "fast")), strict=True)
    assert min(ks_2samp(*pair).pvalue for pair in columns) > 1e-3 / 6


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 600), st.integers(1, 600))
def test_no_pixel_of_the_result_is_made_up_by_a_reduction(height: int, width: int, rows: int, columns: int) -> None:
    factor = reduction(Window(0, height, 0, width), (rows, columns))
    assert factor in {1, 2, 4, 8}
    if factor > 1:
        assert height >= factor * rows
        assert width >= factor * columns
    if factor < 8:
        assert height < 2 * factor * rows or width < 2 * factor * columns


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_jpeg_is_decoded_smaller_and_looks_the_same(factor: int) -> None:
    whole = decode_image(PATHS[0])
    encoded = EncodedImage(PATHS[0])
    small = encoded.decode(reduction=factor)
    assert encoded.size_hw == whole.shape[:2]
    assert small.shape[:2] == tuple(-(-side // factor) for side in whole.shape[:2])
    np.testing.assert_allclose(small.mean(axis=(0, 1)), whole.mean(axis=(0, 1)), atol=2)


def test_settings_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(UnknownNameError):
        AugmentSettings(pixels="quick")
    with pytest.raises(RequestError, match="JPEG"):
        replace(FAST.settings, jpeg_quality=95)
