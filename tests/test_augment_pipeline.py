"""The whole augmentation: laws that hold for every image, and the literal two-step way beside the fused one."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.augment.crop import window_of_patch
from singleshot.augment.expand import expand
from singleshot.augment.geometry import holds_centre, mirror, resize
from singleshot.augment.photometric import apply_distortion
from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import PIXELS, AugmentSettings, BatchSampler
from singleshot.errors import RequestError, UnknownNameError
from singleshot.types import Sample

MEAN = (123.0, 117.0, 104.0)
NOTHING = AugmentSettings(
    brightness_probability=0,
    contrast_probability=0,
    saturation_probability=0,
    hue_probability=0,
    expand_probability=0,
    samplers=(),
    interpolations=("linear",),
    mirror_probability=0,
)


def sample_of(height: int, width: int, count: int, seed: int = 0) -> Sample:
    generator = np.random.default_rng(seed)
    corners = np.sort(generator.random((count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32)
    pixels = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Sample(pixels, corners, np.arange(count), generator.random(count) < 0.5)


def assert_equal(first: Sample, second: Sample) -> None:
    for name in ("image", "boxes_xyxy", "labels", "difficult"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(1, 1), (1, 3000), (3000, 1), (2, 3), (40, 60), (61, 33)]),
    st.integers(0, 4),
    st.integers(0, 2**32),
    st.sampled_from(["centre", "coverage"]),
    st.sampled_from(PIXELS),
)
def test_every_result_is_a_sample(size_hw: tuple[int, int], count: int, seed: int, rule: str, pixels: str) -> None:
    source = sample_of(*size_hw, count, seed)
    before = source.image.copy()
    result = CaffeAugmentation((24, 32), MEAN, AugmentSettings(emit_rule=rule, pixels=pixels))(
        source, np.random.default_rng(seed)
    )
    assert result.image.shape == (24, 32, 3)
    assert result.image.dtype == np.uint8
    assert result.boxes_xyxy.dtype == np.float32
    assert len(result.boxes_xyxy) == len(result.labels) == len(result.difficult) <= count
    assert result.boxes_xyxy.min(initial=0) >= 0
    assert result.boxes_xyxy.max(initial=1) <= 1
    assert (result.boxes_xyxy[:, :2] < result.boxes_xyxy[:, 2:]).all()
    # Labels were numbered: ground-truth boxes keep label and order, and each its own flag.
    assert (np.diff(result.labels) > 0).all()
    np.testing.assert_array_equal(result.difficult, source.difficult[result.labels])
    np.testing.assert_array_equal(source.image, before)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_one_pass_equals_step_by_step(seed: int, count: int) -> None:
    """Bit by bit without HSV, whose conversions in OpenCV round differently at row ends (test_augment_photometric)."""
    source = sample_of(45, 70, count, seed)
    augmentation = CaffeAugmentation((30, 40), MEAN, AugmentSettings(saturation_probability=0, hue_probability=0))
    choices = augmentation.draw(source, np.random.default_rng(seed))
    image = expand(apply_distortion(source.image, choices.distortion), choices.canvas, MEAN)
    image = window_of_patch(choices.patch_xyxy, choices.canvas.size_hw).of(image)
    image = resize(image, (30, 40), choices.interpolation)
    image = cv2.flip(image, 1) if choices.mirrored else image
    np.testing.assert_array_equal(augmentation.apply(source, choices).image, image)


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_the_generator_decides_all(seed: int) -> None:
    augmentation, source = CaffeAugmentation((30, 40), MEAN, AugmentSettings()), sample_of(45, 70, 3)
    first = augmentation(source, np.random.default_rng(seed))
    assert_equal(first, augmentation(source, np.random.default_rng(seed)))


def test_seeds_differ() -> None:
    augmentation, source = CaffeAugmentation((30, 40), MEAN, AugmentSettings()), sample_of(45, 70, 3)
    images = [augmentation(source, np.random.default_rng(seed)).image.tobytes() for seed in range(20)]
    assert len(set(images)) >= 19


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_ground_truth_follow_their_pixels(seed: int) -> None:
    """A white rectangle on black is found again, by its brightness, where its box says."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[60:120, 90:210] = 255
    source = Sample(image, np.array([[0.3, 0.3, 0.7, 0.6]], np.float32), np.zeros(1, np.int64), np.zeros(1, np.bool_))
    plain = replace(AugmentSettings(), brightness_probability=0, contrast_probability=0, saturation_probability=0)
    result = CaffeAugmentation((150, 150), (0.0, 0.0, 0.0), plain)(source, np.random.default_rng(seed))
    if len(result.labels):
        rows, columns = np.nonzero(result.image[..., 0] > 127)
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 150
        # Crops are cut to whole pixels: up to two of the 42 that the smallest has, and one of the input size.
        np.testing.assert_allclose(result.boxes_xyxy[0], found, atol=1 / 150 + 2 / 42)


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_ground_truth_stays_when_its_centre_does(seed: int) -> None:
    source = sample_of(45, 70, 4, seed)
    augmentation = CaffeAugmentation((30, 40), MEAN, AugmentSettings(expand_probability=0))
    choices = augmentation.draw(source, np.random.default_rng(seed))
    kept = np.flatnonzero(holds_centre(choices.patch_xyxy, source.boxes_xyxy))
    assert augmentation.apply(source, choices).labels.tolist() == kept.tolist()


def test_mirroring_twice_is_the_identity() -> None:
    source = sample_of(9, 12, 3)
    once, twice = mirror(source), mirror(mirror(source))
    np.testing.assert_array_equal(once.image, source.image[:, ::-1])
    np.testing.assert_array_equal(twice.image, source.image)
    np.testing.assert_allclose(twice.boxes_xyxy, source.boxes_xyxy, atol=1e-6)
    np.testing.assert_allclose(once.boxes_xyxy[:, 0], 1 - source.boxes_xyxy[:, 2], atol=1e-6)


def test_all_switched_off_is_a_resize() -> None:
    source = sample_of(45, 70, 3)
    result = CaffeAugmentation((30, 40), MEAN, NOTHING)(source, np.random.default_rng(0))
    assert_equal(result, replace(source, image=resize(source.image, (30, 40), "linear")))


def test_ground_truth_outside_the_image_are_cut_or_dropped() -> None:
    boxes = np.array([[-0.2, 0.5, 0.6, 1.3], [1.1, 0, 1.4, 1], [0.2, 0.2, 0.2, 0.4]], np.float32)
    source = replace(sample_of(20, 20, 3), boxes_xyxy=boxes)
    result = CaffeAugmentation((20, 20), MEAN, NOTHING)(source, np.random.default_rng(0))
    np.testing.assert_array_equal(result.boxes_xyxy, np.float32([[0, 0.5, 0.6, 1]]))


def test_difficult_ground_truth_can_be_left_out() -> None:
    source = replace(sample_of(20, 20, 3), difficult=np.array([False, True, False]))
    result = CaffeAugmentation((20, 20), MEAN, replace(NOTHING, keep_difficult=False))(source, np.random.default_rng(0))
    assert result.labels.tolist() == [0, 2]


def test_the_jpeg_switch_codes_the_image() -> None:
    source = sample_of(45, 70, 0)
    recoded = replace(NOTHING, jpeg_quality=95, samplers=(BatchSampler(trials=1),))
    result = CaffeAugmentation((45, 70), MEAN, recoded)(source, np.random.default_rng(0)).image
    expected = source.image
    for _ in range(2):  # behind distort and behind the crop of the whole image; there was no expansion
        data = cv2.imencode(".jpg", expected[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(result, expected)
    assert not np.array_equal(result, source.image)


def test_the_defaults_are_the_authors() -> None:
    """ssd_pascal.py, number by number; the JPEG coding is ours to switch on."""
    settings = AugmentSettings()
    probabilities = [value for name, value in vars(settings).items() if name.endswith("_probability")]
    assert probabilities == [0.5, 0.5, 0.5, 0.5, 0.0, 0.5, 0.5]
    assert (settings.brightness_delta, settings.hue_delta, settings.max_expand_ratio) == (32, 18, 4)
    assert settings.contrast_range == settings.saturation_range == (0.5, 1.5)
    assert settings.interpolations == ("linear", "area", "nearest", "cubic", "lanczos")
    assert (settings.emit_rule, settings.jpeg_quality, settings.keep_difficult) == ("centre", None, True)
    assert settings.samplers == (
        BatchSampler(1, 1, 1, 1, None, None, 1),
        *(BatchSampler(0.3, 1, 0.5, 2, least, None, 50) for least in (0.1, 0.3, 0.5, 0.7, 0.9)),
        BatchSampler(0.3, 1, 0.5, 2, None, 1, 50),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"hue_probability": 1.5},
        {"max_expand_ratio": 0.5},
        {"interpolations": ()},
        {"jpeg_quality": 0},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=next(iter(wrong))):
        AugmentSettings(**wrong)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="linear"):
        AugmentSettings(interpolations=("liner",))
    with pytest.raises(UnknownNameError, match="centre"):
        AugmentSettings(emit_rule="center")
    with pytest.raises(RequestError, match="patch scales"):
        BatchSampler(min_scale=0)
    with pytest.raises(RequestError, match="patch ratios"):
        BatchSampler(min_aspect_ratio=2, max_aspect_ratio=1)
    with pytest.raises(RequestError, match="trial"):
        BatchSampler(trials=0)
