"""What every engine has in common: its graph's input and results, and the way from images to detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from singleshot.errors import ModelError
from singleshot.shapes import Float32, UInt8
from singleshot.spec import ModelSpec, Postprocess
from singleshot.ssd.detection import RawDetections, postprocess

RAW = ("offsets", "probabilities", "default_boxes")
"""`offsets` (B, K, 4): encoded boxes; `probabilities` (B, K, C): class 0 is background; `default_boxes` (K, 4): xyxy,
fractions of the image."""
DETECTIONS = ("detections", "counts")
"""`detections` (D, 6): label (0 .. L-1), score, xyxy as fractions of the image, image after image, best first;
`counts` (B,): how many rows are each image's."""
ROWS = "rows"
"""`rows` (B, K, C + 4 + 8), as classic ports have them: probabilities, offsets, the default box and its variances, see
`train.classic`."""


Shape = list[int | str | None]


class InferenceWorker(Protocol):
    """Detects for one thread, an image at a time, while other threads use their own."""

    def __call__(self, image: np.ndarray, *, score_threshold: float | None = None) -> RawDetections:
        """The detections of an image, see `Backend`."""


class Backend(Protocol):
    """An engine that runs one network: decoded RGB images in, boxes as fractions of the image out."""

    @property
    def spec(self) -> ModelSpec:
        """What the network is; never changed."""

    def __call__(self, images: Sequence[np.ndarray], *, score_threshold: float | None = None) -> list[RawDetections]:
        """The detections of each image that score more than the threshold; None takes the specification's."""

    def workers(self) -> Sequence[InferenceWorker]:
        """One worker a core for the engine's best throughput; none where batches are faster."""


def require_fit(spec: ModelSpec, input_shapes: Sequence[Shape], results: Mapping[str, Shape], origin: str) -> None:
    """Refuse a graph that is none of ours or not what its folder's configuration says.

    Args:
        spec: of the folder.
        input_shapes: of all inputs; the batch comes first, whatever it is called.
        results: shapes by name.
        origin: for messages.

    Raises:
        ModelError: other inputs or results, another input size, number of classes or of default boxes.
    """
    if not set(RAW) <= set(results):
        raise ModelError(f"{origin} gives {', '.join(results)}: it is no graph of ours, which gives {', '.join(RAW)}")
    boxes = results[RAW[2]][0] if results[RAW[2]] else None
    expected = ([[*spec.input_size_hw, 3]], [boxes, 4], [boxes, spec.num_classes], [boxes, 4])
    actual = (
        [list(shape[1:]) for shape in input_shapes],
        *(list(results[name][1:]) for name in RAW[:2]),
        results[RAW[2]],
    )
    if list(actual) != list(expected):
        raise ModelError(
            f"{origin} does not fit its config.json: expected images {expected[0][0]} and {spec.num_classes} classes "
            f"with background, its graph takes {actual[0]} and gives offsets {actual[1]}, probabilities {actual[2]} "
            f"and default boxes {actual[3]}"
        )


def resized(images: Sequence[UInt8[np.ndarray, "H W 3"]], size_hw: tuple[int, int]) -> UInt8[np.ndarray, "B h w 3"]:
    """The images as a batch of a graph's input, see `resize_into`."""
    buffer = np.empty((len(images), *size_hw, 3), np.uint8)
    resize_into(buffer, images)
    return buffer


def resize_into(buffer: UInt8[np.ndarray, "B h w 3"], images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> None:
    """The first step of `preprocess.to_network_input`; the graph does the others."""
    _, height, width, _ = buffer.shape
    for image, place in zip(images, buffer, strict=True):
        cv2.resize(image, (width, height), dst=place, interpolation=cv2.INTER_LINEAR)


def raw_detections(
    spec: ModelSpec,
    default_boxes: Float32[np.ndarray, "K 4"],
    offsets: Float32[np.ndarray, "B K 4"],
    probabilities: Float32[np.ndarray, "B K C"],
    *,
    score_threshold: float | None = None,
) -> list[RawDetections]:
    """Our post-processing of a graph's raw results: the same on every engine; it drops what is not finite."""
    settings, variances = with_threshold(spec.postprocess, score_threshold), spec.boxes.variances
    sums_to_one = settings.scores == "softmax"
    return [
        postprocess(image_offsets, image_scores, default_boxes, variances, settings, sums_to_one=sums_to_one)
        for image_offsets, image_scores in zip(offsets, probabilities, strict=True)
    ]


def with_threshold(settings: Postprocess, score_threshold: float | None) -> Postprocess:
    """The settings with another score threshold; None leaves them as they are."""
    return settings if score_threshold is None else replace(settings, score_threshold=score_threshold)
