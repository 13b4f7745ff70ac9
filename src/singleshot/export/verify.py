"""Whether an exported model says what its source says, box by box before NMS, and row by row after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from singleshot.errors import VerificationError
from singleshot.models.ssd import SSD
from singleshot.photographs import ASTRONAUT, CAMERA, CHELSEA, COFFEE
from singleshot.preprocess import to_network_input
from singleshot.runtime.engine import DETECTIONS, RAW, ROWS, found_in
from singleshot.shapes import Float32, UInt8
from singleshot.ssd.coder import decode
from singleshot.ssd.detection import Found

Image = UInt8[np.ndarray, "H W 3"]
Outputs = Callable[[Sequence[Image]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Limits:
    """How far an export may lie from its source, see `Differences`."""

    pixels: float
    score: float


LIMITS = {"fp32": Limits(1.0, 1e-3), "bf16": Limits(32.0, 0.2), "int8": Limits(math.inf, 0.9)}
"""bf16 keeps three decimal digits in every layer, int8 two: single boxes move, and the mAP on the user's images tells
what it costs; here, only gross faults show."""
ROW_TOLERANCE = 1e-4
"""Of scores and of fractions of the image, between NMS inside the graph and ours on the same predictions."""


@dataclass(frozen=True)
class Differences:
    """How far an export lies from its source, over all default boxes that may be detected in some images.

    Attributes:
        images: how many were compared.
        pixels: the largest distance of two sides of a box, pixels of the image.
        score: the largest distance of two scores.
        boxes: default boxes whose score is high enough to be detected, by either.
        exact: whether the export computes as its source does, in fp32; a lower precision moves single boxes.
    """

    images: int
    pixels: float
    score: float
    boxes: int
    exact: bool

    def __str__(self) -> str:
        """A line for people."""
        furthest = f"{self.pixels:.2g} pixels, {self.score:.2g} of score"
        on = f"on {self.images} photographs, {self.boxes} boxes that may be detected"
        if self.exact:
            return f"equal to its source {on}: the furthest differ by {furthest}"
        return f"single boxes differ, as lower precision rounds: at worst by {furthest} ({on}); the mAP tells the cost"


def images_to_verify_on() -> list[Image]:
    """Photographs that come with the package."""
    return [photograph.pixels() for photograph in (ASTRONAUT, CAMERA, CHELSEA, COFFEE)]


def verify(outputs: Outputs, network: SSD, images: Sequence[Image], precision: str) -> Differences:
    """Compare an export, as it was read back, with the network it came from.

    Args:
        outputs: runs the export and gives all its results, as `runtime.engine` names them.
        network: what it was made from.
        images: at least two; they go through in one batch.
        precision: chooses the limits.

    Raises:
        VerificationError: it differs by more than `LIMITS`, its default boxes are others, its classic rows hold other
            numbers than its other results, or its own NMS finds other things than ours.
    """
    spec = network.spec
    results = outputs(images)
    default_boxes = network.default_boxes.numpy()
    if RAW[2] in results and not np.array_equal(results[RAW[2]], default_boxes):
        raise VerificationError("the export holds other default boxes than its source; it was not kept")
    pixels = score = 0.0
    boxes = 0
    for image, offsets, scores in zip(images, results[RAW[0]], results[RAW[1]], strict=True):
        expected_offsets, expected_scores = _source(network, image)
        wanted = np.maximum(scores, expected_scores)[:, 1:].max(axis=1) > spec.postprocess.score_threshold
        size = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
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
    if ROWS in results:
        _require_classic_rows(results, default_boxes, spec.boxes.variances)
    if DETECTIONS[0] in results:
        found = found_in(spec, default_boxes, results[RAW[0]], results[RAW[1]])
        _compare_detections(results[DETECTIONS[0]], results[DETECTIONS[1]], found)
    return Differences(len(images), pixels, score, boxes, exact=precision == "fp32")


def _require_classic_rows(
    results: Mapping[str, np.ndarray], default_boxes: Float32[np.ndarray, "K 4"], variances: Sequence[float]
) -> None:
    """Exactly the results that were compared with the source, and the constants."""
    rows = results[ROWS]
    of_image = np.concatenate([results[RAW[1]], results[RAW[0]]], axis=2)
    of_box = np.column_stack([default_boxes, np.tile(np.array(variances, np.float32), (len(default_boxes), 1))])
    expected = np.concatenate([of_image, np.broadcast_to(of_box, (len(of_image), *of_box.shape))], axis=2)
    if not np.array_equal(rows, expected, equal_nan=True):
        raise VerificationError(
            "the rows of the export hold other numbers than its probabilities, offsets, default boxes and variances; "
            "it was not kept"
        )


def _compare_detections(rows: Float32[np.ndarray, "D 6"], counts: np.ndarray, found: Sequence[Found]) -> None:
    """The graph's own detections with ours from the same predictions.

    Rows of equal score may change places, and at the lowest score, where the list was cut, be others.
    """
    if counts.tolist() != [len(one) for one in found]:
        raise VerificationError(
            f"NMS in the export keeps {counts.tolist()} boxes of the images, ours {[len(one) for one in found]}; it "
            "was not kept"
        )
    for number, (its_rows, one) in enumerate(zip(np.split(rows, np.cumsum(counts)[:-1]), found, strict=True)):
        if not len(one):
            continue
        ours = np.column_stack([one.labels, one.scores, one.boxes_xyxy])
        above_cut = ours[:, 1] > ours[-1, 1] + ROW_TOLERANCE
        distances = np.abs(ours[above_cut, None] - its_rows[None]).max(axis=2).min(axis=1)
        furthest = max(_largest(distances), _largest(np.sort(its_rows[:, 1]) - np.sort(ours[:, 1])))
        if furthest > ROW_TOLERANCE:
            raise VerificationError(
                f"NMS in the export finds other boxes than ours in image {number}: by {furthest:.3g} (limit "
                f"{ROW_TOLERANCE:g}); it was not kept"
            )


@torch.inference_mode()
def _source(network: SSD, image: Image) -> tuple[np.ndarray, np.ndarray]:
    network.eval()
    spec = network.spec
    inputs = torch.from_numpy(to_network_input(image, spec.input_size_hw, spec.preprocess))[None]
    predictions = network(inputs)
    return predictions.offsets[0].numpy(), predictions.logits[0].softmax(dim=-1).numpy()


def _largest(differences: np.ndarray) -> float:
    """NaN counts as infinitely far."""
    if not differences.size:
        return 0.0
    return float(np.nan_to_num(np.abs(differences), nan=np.inf).max())
