"""The settings of the augmentation; the defaults are those of the authors' ssd_pascal.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from singleshot.errors import RequestError, UnknownNameError

INTERPOLATIONS = ("linear", "area", "nearest", "cubic", "lanczos")
PIXELS = ("exact", "fast")
EMIT_RULES = ("centre", "coverage")
LIMITS = {"brightness_delta": (0, 255), "hue_delta": (0, 180), "max_expand_ratio": (1, 16), "emit_coverage": (0, 1)}


@dataclass(frozen=True)
class BatchSampler:
    """How one kind of patch is drawn and when it is accepted (Caffe BatchSampler; its defaults: the whole image).

    Attributes:
        min_scale: least square root of the patch's share of the image's area, 0..1 (the paper says 0.1).
        max_scale: greatest, 0..1.
        min_aspect_ratio: least width / height, relative to the image's own.
        max_aspect_ratio: greatest.
        min_iou: at least one ground-truth box has this IoU with the patch; None for no limit.
        max_iou: at least one ground-truth box has no more than this IoU with the patch; None for no limit.
        trials: patches drawn before this sampler gives up.
    """

    min_scale: float = 1.0
    max_scale: float = 1.0
    min_aspect_ratio: float = 1.0
    max_aspect_ratio: float = 1.0
    min_iou: float | None = None
    max_iou: float | None = None
    trials: int = 50

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= self.max_scale <= 1:
            raise RequestError(f"patch scales must be 0 < min <= max <= 1, got {self.min_scale} and {self.max_scale}")
        if not 0 < self.min_aspect_ratio <= self.max_aspect_ratio:
            raise RequestError(
                f"patch ratios must be 0 < min <= max, got {self.min_aspect_ratio} and {self.max_aspect_ratio}"
            )
        if self.trials < 1:
            raise RequestError(f"a sampler needs at least one trial, got {self.trials}")


def paper_samplers(min_scale: float = 0.3) -> tuple[BatchSampler, ...]:
    """The seven samplers: the whole image, patches of five least IoUs, and any patch.

    The authors' code uses `min_scale` 0.3, their paper says 0.1.
    """
    limits: list[tuple[float | None, float | None]] = [(least, None) for least in (0.1, 0.3, 0.5, 0.7, 0.9)]
    return (
        BatchSampler(trials=1),
        *(BatchSampler(min_scale, 1.0, 0.5, 2.0, least, most) for least, most in [*limits, (None, 1.0)]),
    )


@dataclass(frozen=True)
class AugmentSettings:
    """The augmentation of a training image, in the order of its steps.

    Attributes:
        brightness_probability: share of images whose brightness is changed.
        brightness_delta: by up to this many grey levels, either way.
        contrast_probability: share whose contrast is scaled (about 0).
        contrast_range: by a factor in this range.
        saturation_probability: share whose saturation (of HSV) is scaled.
        saturation_range: by a factor in this range.
        hue_probability: share whose hue is changed.
        hue_delta: by up to this many steps of 2 degrees, either way.
        shuffle_probability: share whose channels are shuffled (Caffe's random_order; the authors never do).
        expand_probability: share of images placed on a larger canvas of the mean colour.
        max_expand_ratio: greatest side of the canvas, in sides of the image.
        samplers: the batch samplers; an empty tuple leaves the image uncropped.
        emit_rule: an object is kept in a patch that holds its `centre`, or more than `emit_coverage` of its area
            (`coverage`).
        emit_coverage: share of a ground-truth box's area, for the rule `coverage`.
        interpolations: one of these is drawn for the resize: linear, area, nearest, cubic, lanczos.
        mirror_probability: share of images mirrored.
        jpeg_quality: quality of the JPEG coding that Caffe applies after distort, expand and crop (95); None for none.
        pixels: `exact`, Caffe's to the bit, or `fast`, see `augment.fast`. The random choices are the same.
        keep_difficult: whether difficult ground-truth boxes are trained on; the crop considers them in any case.
    """

    brightness_probability: float = 0.5
    brightness_delta: float = 32.0
    contrast_probability: float = 0.5
    contrast_range: tuple[float, float] = (0.5, 1.5)
    saturation_probability: float = 0.5
    saturation_range: tuple[float, float] = (0.5, 1.5)
    hue_probability: float = 0.5
    hue_delta: float = 18.0
    shuffle_probability: float = 0.0
    expand_probability: float = 0.5
    max_expand_ratio: float = 4.0
    samplers: tuple[BatchSampler, ...] = paper_samplers()
    emit_rule: str = "centre"
    emit_coverage: float = 0.5
    interpolations: tuple[str, ...] = INTERPOLATIONS
    mirror_probability: float = 0.5
    jpeg_quality: int | None = None
    pixels: str = "exact"
    keep_difficult: bool = True

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        self._require_numbers()
        if not self.interpolations:
            raise RequestError("interpolations must name at least one of " + ", ".join(INTERPOLATIONS))
        for name in self.interpolations:
            if name not in INTERPOLATIONS:
                raise UnknownNameError("interpolation", name, INTERPOLATIONS)
        if self.emit_rule not in EMIT_RULES:
            raise UnknownNameError("emit rule", self.emit_rule, EMIT_RULES)
        if self.pixels not in PIXELS:
            raise UnknownNameError("kind of pixels", self.pixels, PIXELS)
        if self.jpeg_quality is not None and self.pixels == "fast":
            raise RequestError("Caffe's JPEG coding goes with exact pixels only")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise RequestError(f"jpeg_quality must be 1..100, got {self.jpeg_quality}")

    def _require_numbers(self) -> None:
        for name, value in vars(self).items():
            if name.endswith("_probability") and not 0 <= value <= 1:
                raise RequestError(f"{name} must be 0..1, got {value}")
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise RequestError(f"{name} must be {low} to {high}, got {getattr(self, name)}")
        for name in ("contrast_range", "saturation_range"):
            if not 0 <= getattr(self, name)[0] <= getattr(self, name)[-1] < math.inf or len(getattr(self, name)) != 2:
                raise RequestError(f"{name} must be two numbers from 0 up, the lower first, got {getattr(self, name)}")
