from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.augment.crop import Window, draw_boxes, draw_patch, successful_patches, trials_of, window_of_patch
from singleshot.augment.settings import BatchSampler, paper_samplers
from singleshot.boxes import pairwise_iou

NO_BOXES = np.zeros((0, 4), np.float32)
ONE_BOX = np.array([[0.3, 0.3, 0.6, 0.7]], np.float32)


def test_a_window_by_hand() -> None:
    """Offset and size are cut to int, each by itself: (0.19, 0.81) of 10 starts at 1 and is int(6.2) wide."""
    assert window_of_patch(np.float32([0.19, 0, 0.81, 1]), (4, 10)) == Window(0, 4, 1, 7)
    assert window_of_patch(np.float32([-1, -1, 2, 2]), (4, 10)) == Window(0, 4, 0, 10)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 2**32))
def test_a_window_lies_in_the_image(height: int, width: int, seed: int) -> None:
    trials = trials_of((BatchSampler(0.01, 1, 0.5, 2, trials=1),))
    window = window_of_patch(draw_boxes(trials, np.random.default_rng(seed))[0], (height, width))
    assert 0 <= window.top < window.bottom <= height
    assert 0 <= window.left < window.right <= width


def test_patches_keep_scale_and_ratio() -> None:
    patches = draw_boxes(trials_of((BatchSampler(0.3, 1, 0.5, 2, trials=5000),)), np.random.default_rng(0))
    assert patches.dtype == np.float32
    assert patches.min() >= 0
    assert patches.max() <= 1 + 1e-6
    width, height = (patches[:, 2:] - patches[:, :2]).astype(np.float64).T
    scale, ratio = np.sqrt(width * height), width / height
    assert 0.3 <= scale.min() + 1e-6 < 0.31
    assert 0.99 < scale.max() <= 1 + 1e-6
    assert 0.5 <= ratio.min() + 1e-5 < 0.51
    assert 1.95 < ratio.max() <= 2 + 1e-5
    # Scales are uniform: a patch that would not fit gets another ratio, not a smaller area.
    np.testing.assert_allclose(np.quantile(scale, [0.25, 0.5, 0.75]), [0.475, 0.65, 0.825], atol=0.012)
    # The ratio is cut, not drawn again: a good part of the patches has the image's full width or height.
    assert 0.2 < np.isclose(np.maximum(width, height), 1, atol=1e-6).mean() < 0.5


def test_every_patch_meets_its_constraint() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        numbers, patches = successful_patches(paper_samplers(), ONE_BOX, generator)
        assert (np.diff(numbers) > 0).all()
        best = pairwise_iou(patches, ONE_BOX).max(axis=1)
        least = {1: 0.1, 2: 0.3, 3: 0.5, 4: 0.7, 5: 0.9}
        assert all(
            overlap >= np.float32(least.get(int(number), 0)) for number, overlap in zip(numbers, best, strict=True)
        )
        assert {0, 6} <= set(numbers.tolist())


def test_any_object_may_meet_the_constraint() -> None:
    boxes = np.array([[0.9, 0.9, 0.91, 0.91], [0, 0, 1, 1]], np.float32)
    sampler = BatchSampler(0.95, 1, 0.9, 1.1, min_iou=0.85)
    assert len(successful_patches((sampler,), boxes, np.random.default_rng(0))[0]) == 1
    assert len(successful_patches((sampler,), boxes[:1], np.random.default_rng(0))[0]) == 0


def test_the_first_success_is_taken() -> None:
    """Slow and literal: one trial after the other, as in Caffe's GenerateSamples."""
    samplers = paper_samplers()
    for seed in range(50):
        numbers, patches = successful_patches(samplers, ONE_BOX, np.random.default_rng(seed))
        trials = draw_boxes(trials_of(samplers), np.random.default_rng(seed))
        expected, row = [], 0
        for number, sampler in enumerate(samplers):
            for patch in trials[row : row + sampler.trials]:
                overlap = pairwise_iou(patch[None], ONE_BOX)[0, 0]
                if (sampler.min_iou or 0) <= overlap <= (1 if sampler.max_iou is None else sampler.max_iou):
                    expected.append((number, patch))
                    break
            row += sampler.trials
        assert numbers.tolist() == [number for number, _ in expected]
        np.testing.assert_array_equal(patches, [patch for _, patch in expected])


def test_without_ground_truth_only_the_whole_image_comes_out() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        np.testing.assert_array_equal(draw_patch(paper_samplers(), NO_BOXES, generator), [0, 0, 1, 1])


def test_no_sampler_or_no_success_is_no_patch() -> None:
    assert draw_patch((), ONE_BOX, np.random.default_rng(0)) is None
    impossible = BatchSampler(0.3, 0.4, 0.5, 2, min_iou=0.99)
    assert draw_patch((impossible,), ONE_BOX, np.random.default_rng(0)) is None


def test_a_greatest_overlap_is_a_constraint() -> None:
    patch = draw_patch((BatchSampler(0.3, 1, 0.5, 2, max_iou=0.0),), ONE_BOX, np.random.default_rng(0))
    assert patch is not None
    assert pairwise_iou(patch[None], ONE_BOX)[0, 0] == 0


@pytest.mark.parametrize("min_scale", [0.1, 0.3])
def test_the_papers_patch_size_is_a_setting(min_scale: float) -> None:
    assert [sampler.min_scale for sampler in paper_samplers(min_scale)] == [1.0] + [min_scale] * 6
    assert [sampler.min_iou for sampler in paper_samplers()] == [None, 0.1, 0.3, 0.5, 0.7, 0.9, None]
