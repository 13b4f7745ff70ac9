"""Whether an exported model says what its source says, box by box before NMS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from singleshot.box_coder import decode
from singleshot.errors import VerificationError
from singleshot.photographs import ASTRONAUT, CAMERA, CHELSEA, COFFEE
from singleshot.postprocess import softmax
from singleshot.preprocess import to_network_input
from singleshot.runtime.openvino_backend import OpenVINOBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, UInt8

    from singleshot.models.ssd import SSD
    from singleshot.runtime.quiet_openvino import openvino

    Picture = UInt8[np.ndarray, "H W 3"]
    Boxes = Float32[np.ndarray, "K 4"]
    Scores = Float32[np.ndarray, "K C"]


@dataclass(frozen=True)
class Limits:
    """How far an export may lie from its source, see `Differences`."""

    pixels: float
    score: float


LIMITS = {"fp32": Limits(1.0, 1e-3), "bf16": Limits(32.0, 0.2), "int8": Limits(math.inf, 0.5)}
"""bf16 keeps three decimal digits in every layer, int8 two: single boxes move, and the mAP on the user's pictures tells
what it costs; here, only gross faults show."""


@dataclass(frozen=True)
class Differences:
    """How far an export lies from its source, over all default boxes that may be detected in some pictures.

    Attributes:
        pictures: how many were compared.
        pixels: the largest distance of two sides of a box, pixels of the picture.
        score: the largest distance of two scores.
        boxes: default boxes whose score is high enough to be detected, by either.
    """

    pictures: int
    pixels: float
    score: float
    boxes: int

    def __str__(self) -> str:
        """A line for people."""
        return (
            f"verified on {self.pictures} pictures: boxes within {self.pixels:.2g} pixels, scores within "
            f"{self.score:.2g}, {self.boxes} boxes compared"
        )


def pictures_to_verify_on() -> list[Picture]:
    """Photographs that come with the package."""
    return [photograph.pixels() for photograph in (ASTRONAUT, CAMERA, CHELSEA, COFFEE)]


def verify(model: openvino.Model, network: SSD, pictures: Sequence[Picture], precision: str) -> Differences:
    """Compare an export, as it was read back, with the network it came from.

    Raises:
        VerificationError: it differs by more than `LIMITS`, or its default boxes are others.
    """
    spec = network.spec
    request = OpenVINOBackend(spec, model, precision=precision).request(1)
    pixels = score = 0.0
    boxes = 0
    for picture in pictures:
        offsets, scores, default_boxes = (value.copy() for value in request.predict([picture]))
        offsets, scores = offsets[0], scores[0]
        if not np.array_equal(default_boxes, network.default_boxes.numpy()):
            raise VerificationError("the export holds other default boxes than its source; it was not kept")
        expected_offsets, expected_scores = _source(network, picture)
        wanted = np.maximum(scores, expected_scores)[:, 1:].max(axis=1) > spec.postprocess.score_threshold
        size = np.array([picture.shape[1], picture.shape[0]] * 2, np.float32)
        here, there = (
            decode(codes[wanted], default_boxes[wanted], spec.boxes.variances) * size
            for codes in (offsets, expected_offsets)
        )
        pixels = max(pixels, _largest(here - there))
        score = max(score, _largest(scores - expected_scores))
        boxes += int(wanted.sum())
    limits = LIMITS[precision]
    if not (pixels <= limits.pixels and score <= limits.score):
        raise VerificationError(
            f"the export differs from its source: boxes by {pixels:.3g} pixels (limit {limits.pixels:g}), scores by "
            f"{score:.3g} (limit {limits.score:g}); it was not kept"
        )
    return Differences(len(pictures), pixels, score, boxes)


@torch.inference_mode()
def _source(network: SSD, picture: Picture) -> tuple[Boxes, Scores]:
    network.eval()
    spec = network.spec
    inputs = torch.from_numpy(to_network_input(picture, spec.input_size_hw, spec.preprocess))[None]
    predictions = network(inputs)
    return predictions.offsets[0].numpy(), softmax(predictions.logits[0].numpy())


def _largest(differences: np.ndarray) -> float:
    """NaN counts as infinitely far."""
    if not differences.size:
        return 0.0
    return float(np.nan_to_num(np.abs(differences), nan=np.inf).max())
