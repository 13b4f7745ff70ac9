"""What every engine's graph takes and gives, and the way from an image into it and from its results out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import cv2
import numpy as np

from singleshot.errors import ModelError
from singleshot.shapes import Float32, UInt8
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import Found, postprocess

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


class Lane(Protocol):
    """What one thread detects with, an image at a time, while others use theirs."""

    def __call__(self, image: np.ndarray) -> Found:
        """What the network finds in an image."""


class Backend(Protocol):
    """An engine that runs one network: decoded RGB images in, boxes as fractions out."""

    spec: ModelSpec

    def __call__(self, images: Sequence[np.ndarray]) -> list[Found]:
        """What the network finds in each image."""

    def lanes(self) -> Sequence[Lane]:
        """One lane a core for the engine's best throughput; none where batches are better."""


def require_fit(spec: ModelSpec, input_shapes: Sequence[Shape], results: Mapping[str, Shape], origin: str) -> None:
    """Whether a graph is one of ours, and what its folder says.

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
    found = (
        [list(shape[1:]) for shape in input_shapes],
        *(list(results[name][1:]) for name in RAW[:2]),
        results[RAW[2]],
    )
    if list(found) != list(expected):
        raise ModelError(
            f"{origin} does not fit its config.json: expected images {expected[0][0]} and {spec.num_classes} classes "
            f"with background, its graph takes {found[0]} and gives offsets {found[1]}, probabilities {found[2]} and "
            f"default boxes {found[3]}"
        )


def resize_into(buffer: UInt8[np.ndarray, "B h w 3"], images: Sequence[UInt8[np.ndarray, "H W 3"]]) -> None:
    """The first step of `preprocess.to_network_input`; the graph does the others."""
    _, height, width, _ = buffer.shape
    for image, place in zip(images, buffer, strict=True):
        cv2.resize(image, (width, height), dst=place, interpolation=cv2.INTER_LINEAR)


def found_in(
    spec: ModelSpec,
    default_boxes: Float32[np.ndarray, "K 4"],
    offsets: Float32[np.ndarray, "B K 4"],
    probabilities: Float32[np.ndarray, "B K C"],
) -> list[Found]:
    """Our own post-processing of what a graph gave: the same on every engine, and it drops what is not finite."""
    settings, variances = spec.postprocess, spec.boxes.variances
    return [
        postprocess(of_one, scores, default_boxes, variances, settings, sums_to_one=True)
        for of_one, scores in zip(offsets, probabilities, strict=True)
    ]


def usable_cores() -> int:
    """How many cores this process may use, at least 1; containers and taskset may leave fewer than the machine has."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1
