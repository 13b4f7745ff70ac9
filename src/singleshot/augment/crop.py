"""Crop: the batch samplers (Caffe sampler.cpp) and the cut itself (data_transformer.cpp, CropImage).

Section 2.2 of the paper, "Data augmentation": the whole image, or a patch whose IoU with an object is at least 0.1 to
0.9, or any patch. Every sampler tries; then one patch is picked among those of the samplers that succeeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from singleshot.augment.settings import BatchSampler
from singleshot.boxes import clip_boxes, pairwise_iou
from singleshot.shapes import Float32, Float64, Int64, UInt8


@dataclass(frozen=True)
class Window:
    """A crop in whole pixels: rows `top` to `bottom`, columns `left` to `right`, the ends left out."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the crop."""
        return self.bottom - self.top, self.right - self.left

    def of(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """This part of the image (a view)."""
        return image[self.top : self.bottom, self.left : self.right]


def window_of_patch(patch_xyxy: Float32[np.ndarray, " 4"], size_hw: tuple[int, int]) -> Window:
    """The pixels of a patch: clipped to the image, offset and size truncated (CropImage), at least one pixel.

    Caffe fails on a patch of less than a pixel, which is all that an image of one pixel has.
    """
    height, width = size_hw
    left, top, right, bottom = clip_boxes(patch_xyxy, width=1, height=1) * np.array(
        [width, height, width, height], np.float32
    )
    first_row, first_column = min(int(top), height - 1), min(int(left), width - 1)
    return Window(
        first_row,
        min(first_row + max(int(bottom - top), 1), height),
        first_column,
        min(first_column + max(int(right - left), 1), width),
    )


def draw_patch(
    samplers: tuple[BatchSampler, ...], boxes_xyxy: Float32[np.ndarray, "R 4"], generator: np.random.Generator
) -> Float32[np.ndarray, " 4"] | None:
    """A patch of one of the samplers that succeeded, all equally likely; None where none did."""
    patches = successful_patches(samplers, boxes_xyxy, generator)[1]
    return patches[generator.integers(len(patches))] if len(patches) else None


def successful_patches(
    samplers: tuple[BatchSampler, ...], boxes_xyxy: Float32[np.ndarray, "R 4"], generator: np.random.Generator
) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n 4"]]:
    """The samplers that found a patch, and the first patch of each (GenerateBatchSamples).

    A constraint is met when any object meets it; without objects only samplers without a constraint succeed.
    """
    if not samplers:
        return np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    trials = trials_of(samplers)
    patches = draw_boxes(trials, generator)
    ious = pairwise_iou(patches, boxes_xyxy)
    meets = (ious >= trials.min_iou[:, None]) & (ious <= trials.max_iou[:, None])
    accepted = np.flatnonzero(trials.free | meets.any(axis=1))
    sampler = trials.sampler[accepted]
    first = np.flatnonzero(np.diff(sampler, prepend=-1))
    return sampler[first], patches[accepted[first]]


@dataclass(frozen=True, eq=False)
class Trials:
    """All trials of all samplers, a row each, so that they are drawn at once; see `BatchSampler` for the columns."""

    sampler: Int64[np.ndarray, " n"]
    min_scale: Float64[np.ndarray, " n"]
    max_scale: Float64[np.ndarray, " n"]
    min_aspect_ratio: Float64[np.ndarray, " n"]
    max_aspect_ratio: Float64[np.ndarray, " n"]
    min_iou: Float32[np.ndarray, " n"]
    max_iou: Float32[np.ndarray, " n"]
    free: np.ndarray


def draw_boxes(trials: Trials, generator: np.random.Generator) -> Float32[np.ndarray, "n 4"]:
    """A random patch a trial, in fractions of the image (SampleBBox).

    Scale s and aspect ratio a are uniform, then a is clipped to [s^2, 1 / s^2], so that the patch fits: w = s sqrt(a),
    h = s / sqrt(a); then the place. The clipping makes patches of full width or height frequent; drawing again would
    not. Both sides are limited to 1: unpatched Caffe aborts on 1 + 1e-7.
    """
    draws = generator.random((4, len(trials.sampler)))
    scale = trials.min_scale + draws[0] * (trials.max_scale - trials.min_scale)
    ratio = trials.min_aspect_ratio + draws[1] * (trials.max_aspect_ratio - trials.min_aspect_ratio)
    root = np.sqrt(np.clip(ratio, scale**2, scale**-2))
    width, height = np.minimum(scale * root, 1), np.minimum(scale / root, 1)
    left, top = draws[2] * (1 - width), draws[3] * (1 - height)
    return np.stack([left, top, left + width, top + height], axis=1).astype(np.float32)


@lru_cache(maxsize=8)
def trials_of(samplers: tuple[BatchSampler, ...]) -> Trials:
    """The samplers' numbers, repeated for each trial; computed once for each set of samplers."""
    repeats = [sampler.trials for sampler in samplers]

    def column(values: list[float], kind: type = np.float64) -> np.ndarray:
        return np.repeat(np.array(values, kind), repeats)

    return Trials(
        sampler=column(list(range(len(samplers))), np.int64),
        min_scale=column([sampler.min_scale for sampler in samplers]),
        max_scale=column([sampler.max_scale for sampler in samplers]),
        min_aspect_ratio=column([sampler.min_aspect_ratio for sampler in samplers]),
        max_aspect_ratio=column([sampler.max_aspect_ratio for sampler in samplers]),
        min_iou=column([-np.inf if sampler.min_iou is None else sampler.min_iou for sampler in samplers], np.float32),
        max_iou=column([np.inf if sampler.max_iou is None else sampler.max_iou for sampler in samplers], np.float32),
        free=column([sampler.min_iou is None and sampler.max_iou is None for sampler in samplers], np.bool_),
    )
