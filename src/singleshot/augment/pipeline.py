"""The training augmentation of the authors' code: distort, expand, crop, resize, mirror.

All random choices are drawn first, from the image's size and objects alone. Then only the part of the image that ends
up in the crop is distorted, and the canvas is never built. With Caffe's JPEG coding switched on the steps run one after
the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from singleshot.augment.crop import Window, draw_patch, window_of_patch
from singleshot.augment.expand import Canvas, cut, draw_canvas, expand
from singleshot.augment.fast import cut_resized, reduction
from singleshot.augment.geometry import covers, holds_centre, mirror, project, resize
from singleshot.augment.photometric import Step, apply_distortion, draw_distortion
from singleshot.augment.settings import AugmentSettings
from singleshot.shapes import Bool, Float32, UInt8
from singleshot.types import Sample


@dataclass(frozen=True, eq=False)
class Choices:
    """The random choices for one augmented image.

    Attributes:
        distortion: colour adjustments in order.
        canvas: where the image lies on its canvas.
        patch_xyxy: what is cut out, in fractions of the canvas; None for no crop.
        interpolation: resizes the patch.
        mirrored: whether left becomes right.
    """

    distortion: tuple[Step, ...]
    canvas: Canvas
    patch_xyxy: Float32[np.ndarray, " 4"] | None
    interpolation: str
    mirrored: bool


@dataclass(frozen=True)
class CaffeAugmentation:
    """`augmentation(sample, generator)` is the augmented sample at the input size, still 8-bit RGB.

    The mean is subtracted later (`preprocess.normalise`).

    Attributes:
        input_size_hw: height and width of the result.
        mean_rgb: fills the canvas.
        settings: every probability and range.
    """

    input_size_hw: tuple[int, int]
    mean_rgb: tuple[float, float, float]
    settings: AugmentSettings

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """One augmented sample: `draw`, then `apply`."""
        return self.apply(sample, self.draw(sample, generator))

    def draw(self, sample: Sample, generator: np.random.Generator) -> Choices:
        """Draw all choices for a decoded image."""
        height, width = sample.image.shape[:2]
        return self.draw_for((height, width), sample.boxes_xyxy, generator)

    def draw_for(
        self, image_hw: tuple[int, int], boxes_xyxy: Float32[np.ndarray, "R 4"], generator: np.random.Generator
    ) -> Choices:
        """Draw all choices; the pixels need not be decoded yet."""
        settings = self.settings
        distortion = draw_distortion(generator, settings)
        canvas = draw_canvas(image_hw, generator, settings)
        boxes, kept = self._seen_from(canvas.frames, boxes_xyxy)
        patch = draw_patch(settings.samplers, boxes[kept], generator)
        interpolation = settings.interpolations[generator.integers(len(settings.interpolations))]
        return Choices(distortion, canvas, patch, interpolation, bool(generator.random() < settings.mirror_probability))

    def reduction(self, choices: Choices) -> int:
        """By what factor a JPEG may be shrunk while it is decoded: 1, or with fast pixels 2, 4 or 8."""
        return 1 if self.settings.pixels == "exact" else reduction(self._window(choices), self.input_size_hw)

    def apply(self, sample: Sample, choices: Choices) -> Sample:
        """The sample under these choices; the same choices give the same result."""
        image = self._fast(sample.image, choices) if self.settings.pixels == "fast" else self._exact(sample, choices)
        patch = _WHOLE if choices.patch_xyxy is None else choices.patch_xyxy
        boxes, kept = self._seen_from((*choices.canvas.frames, patch), sample.boxes_xyxy)
        if not self.settings.keep_difficult:
            kept &= ~sample.difficult
        result = Sample(image, boxes[kept], sample.labels[kept], sample.difficult[kept])
        return mirror(result) if choices.mirrored else result

    def _seen_from(
        self, frames_xyxy: tuple[Float32[np.ndarray, " 4"], ...], boxes_xyxy: Float32[np.ndarray, "R 4"]
    ) -> tuple[Float32[np.ndarray, "R 4"], Bool[np.ndarray, " R"]]:
        """Objects in fractions of the last of these nested frames, and which are kept (TransformAnnotation)."""
        boxes, kept = boxes_xyxy, np.ones(len(boxes_xyxy), np.bool_)
        for frame in frames_xyxy:
            kept &= self._emitted(frame, boxes)
            boxes, inside = project(boxes, frame)
            kept &= inside
        return boxes, kept

    def _emitted(
        self, frame_xyxy: Float32[np.ndarray, " 4"], boxes_xyxy: Float32[np.ndarray, "R 4"]
    ) -> Bool[np.ndarray, " R"]:
        if self.settings.emit_rule == "centre":
            return holds_centre(frame_xyxy, boxes_xyxy)
        return covers(frame_xyxy, boxes_xyxy, least=self.settings.emit_coverage)

    def _exact(self, sample: Sample, choices: Choices) -> UInt8[np.ndarray, "h w 3"]:
        cut_out = self._cut if self.settings.jpeg_quality is None else self._cut_step_by_step
        return resize(cut_out(sample.image, choices), self.input_size_hw, choices.interpolation)

    def _fast(self, image: UInt8[np.ndarray, "H W 3"], choices: Choices) -> UInt8[np.ndarray, "h w 3"]:
        return cut_resized(
            image,
            choices.canvas,
            self._window(choices),
            self.mean_rgb,
            choices.distortion,
            choices.interpolation,
            self.input_size_hw,
        )

    def _window(self, choices: Choices) -> Window:
        return window_of_patch(_WHOLE if choices.patch_xyxy is None else choices.patch_xyxy, choices.canvas.size_hw)

    def _cut(self, image: UInt8[np.ndarray, "H W 3"], choices: Choices) -> UInt8[np.ndarray, "h w 3"]:
        """Distorted, expanded and cropped, computing only the pixels of the result."""
        window = self._window(choices)
        return cut(
            image, choices.canvas, window, self.mean_rgb, lambda seen: apply_distortion(seen, choices.distortion)
        )

    def _cut_step_by_step(self, image: UInt8[np.ndarray, "H W 3"], choices: Choices) -> UInt8[np.ndarray, "h w 3"]:
        """The same, with Caffe's JPEG coding after every step that changed the image's data."""
        image = self._recode(apply_distortion(image, choices.distortion))
        canvas = choices.canvas
        if canvas.frames:
            image = self._recode(expand(image, canvas, self.mean_rgb))
        if choices.patch_xyxy is not None:
            image = self._recode(window_of_patch(choices.patch_xyxy, canvas.size_hw).of(image))
        return image

    def _recode(self, image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The image after being stored as JPEG; the image itself where the switch is off."""
        if self.settings.jpeg_quality is None:
            return image
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self.settings.jpeg_quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))


_WHOLE = np.array([0, 0, 1, 1], np.float32)
