"""Whether an exported model says what its source says: box by box before NMS, row by row after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from singleshot.box_coder import decode
from singleshot.errors import VerificationError
from singleshot.photographs import ASTRONAUT, CAMERA, CHELSEA, COFFEE
from singleshot.postprocess import postprocess, softmax
from singleshot.preprocess import to_network_input
from singleshot.runtime.openvino_backend import OpenVINOBackend, engine_options, resize_into
from singleshot.runtime.quiet_openvino import openvino

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, UInt8

    from singleshot.models.ssd import SSD
    from singleshot.postprocess import Found

    Picture = UInt8[np.ndarray, "H W 3"]
    Boxes = Float32[np.ndarray, "K 4"]
    Scores = Float32[np.ndarray, "K C"]

SAME_ROW = 1e-4
"""Scores and fractions of one detection, computed by the engine and by us from the engine's own raw predictions."""

FEWEST_SAME = 0.9
"""Share of the detections of a picture."""


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
        rows: detections after NMS that were compared with our own post-processing.
    """

    pictures: int
    pixels: float
    score: float
    rows: int

    def __str__(self) -> str:
        """A line for people."""
        return (
            f"verified on {self.pictures} pictures: boxes within {self.pixels:.2g} pixels, scores within "
            f"{self.score:.2g}, {self.rows} detections"
        )


def pictures_to_verify_on() -> list[Picture]:
    """Photographs that come with the package."""
    return [photograph.pixels() for photograph in (ASTRONAUT, CAMERA, CHELSEA, COFFEE)]


def verify(model: openvino.Model, network: SSD, pictures: Sequence[Picture], precision: str) -> Differences:
    """Compare an export, as it was read back, with the network it came from.

    Raw predictions are computed as the export will compute them; the engine's post-processing is judged in float32.

    Raises:
        VerificationError: it differs by more than `LIMITS`, or its detections are not those of its raw predictions.
    """
    spec = network.spec
    raw, exact = _Raw(model, precision), _Raw(model, "fp32")
    backend = OpenVINOBackend(spec, model, precision="fp32")
    default_boxes = network.default_boxes.numpy()
    pixels = score = 0.0
    rows = 0
    for picture in pictures:
        found = backend([picture])[0]
        _require_same(found, postprocess(*exact(picture), default_boxes, spec.boxes.variances, spec.postprocess))
        offsets, scores = raw(picture)
        expected_offsets, expected_scores = _source(network, picture)
        wanted = np.maximum(scores, expected_scores)[:, 1:].max(axis=1) > spec.postprocess.score_threshold
        size = np.array([picture.shape[1], picture.shape[0]] * 2, np.float32)
        here, there = (
            decode(codes[wanted], default_boxes[wanted], spec.boxes.variances) * size
            for codes in (offsets, expected_offsets)
        )
        pixels = max(pixels, _largest(here - there))
        score = max(score, _largest(scores - expected_scores))
        rows += len(found)
    limits = LIMITS[precision]
    if not (pixels <= limits.pixels and score <= limits.score):
        raise VerificationError(
            f"the export differs from its source: boxes by {pixels:.3g} pixels (limit {limits.pixels:g}), scores by "
            f"{score:.3g} (limit {limits.score:g}); it was not kept"
        )
    return Differences(len(pictures), pixels, score, rows)


class _Raw:
    """What goes into the graph's DetectionOutput: offsets and probabilities of one picture."""

    def __init__(self, model: openvino.Model, precision: str) -> None:
        model = model.clone()
        (node,) = (op for op in model.get_ops() if op.get_type_name() == "DetectionOutput")
        inner = openvino.Model([node.input_value(0), node.input_value(1)], model.get_parameters(), "raw")
        _, height, width, _ = inner.inputs[0].partial_shape
        inner.reshape([1, height, width, 3])
        self._buffer = np.empty((1, height.get_length(), width.get_length(), 3), np.uint8)
        self._compiled = openvino.Core().compile_model(inner, "CPU", engine_options(precision))

    def __call__(self, picture: Picture) -> tuple[Boxes, Scores]:
        resize_into(self._buffer, [picture])
        offsets, scores = (value.copy() for value in self._compiled([self._buffer]).values())
        return offsets.reshape(-1, 4), scores.reshape(offsets.size // 4, -1)


@torch.inference_mode()
def _source(network: SSD, picture: Picture) -> tuple[Boxes, Scores]:
    network.eval()
    spec = network.spec
    inputs = torch.from_numpy(to_network_input(picture, spec.input_size_hw, spec.preprocess))[None]
    predictions = network(inputs)
    return predictions.offsets[0].numpy(), softmax(predictions.logits[0].numpy())


def _require_same(found: Found, expected: Found) -> None:
    """The engine's detections are those of our post-processing, given the engine's own predictions.

    Where scores are equal to the last digits (an untrained network), limits and NMS may choose other boxes: hence
    `FEWEST_SAME`, far above what another rule would reach.
    """
    same = len(found) == len(expected)
    if same and len(found):
        near = np.abs(found.boxes_xyxy[:, None] - expected.boxes_xyxy).max(axis=2) <= SAME_ROW
        shared = (near & (found.labels[:, None] == expected.labels)).any(axis=1).mean()
        same = shared >= FEWEST_SAME and _largest(found.scores - expected.scores) <= SAME_ROW
    if not same:
        raise VerificationError(
            f"the engine's post-processing differs from Caffe's: {len(found)} detections, expected {len(expected)}; "
            "the export was not kept"
        )


def _largest(differences: np.ndarray) -> float:
    """NaN counts as infinitely far."""
    if not differences.size:
        return 0.0
    return float(np.nan_to_num(np.abs(differences), nan=np.inf).max())
