"""Compare an exported model with its source: every default box before NMS, and every detection after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from singleshot.boxes import pairwise_iou
from singleshot.errors import VerificationError
from singleshot.export.source import Image, RawOutputs, Source
from singleshot.photographs import ASTRONAUT, CAMERA, CHELSEA, COFFEE
from singleshot.runtime.engine import DETECTIONS, RAW, ROWS, raw_detections
from singleshot.shapes import Float32
from singleshot.ssd.coder import decode
from singleshot.ssd.detection import RawDetections

Outputs = Callable[[Sequence[Image]], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Limits:
    """How far an export may lie from its source, see `Differences`."""

    pixels: float
    score: float


LIMITS = {"fp32": Limits(1.0, 1e-3), "bf16": Limits(32.0, 0.2), "int8": Limits(math.inf, 0.9)}
"""bf16 keeps three decimal digits in every layer, int8 two: single boxes move, and the mAP on the user's images tells
what it costs; here, only gross faults show."""
MATCHED_IOU = 0.5
"""From which two detections of one class are the same."""
ROW_TOLERANCE = 1e-4
"""Of scores and of fractions of the image, between NMS inside the graph and ours on the same predictions."""


@dataclass(frozen=True)
class Differences:
    """How far an export lies from its source on some images.

    Attributes:
        images: how many were compared.
        pixels: the largest distance of two sides of a default box's two decoded boxes, pixels of the image.
        score: the largest distance of two scores.
        boxes: default boxes whose score is high enough to be detected, by either; `pixels` is taken over them.
        exact: whether the export computes as its source does, in fp32; a lower precision moves single boxes.
        detections: detections of the source.
        matched: those that the export detects as well: same class, IoU of at least 0.5.
        matched_pixels: median over the matched of the largest distance of two sides; 0 where none is matched.
    """

    images: int
    pixels: float
    score: float
    boxes: int
    exact: bool
    detections: int = 0
    matched: int = 0
    matched_pixels: float = 0.0

    def __str__(self) -> str:
        """A line for people."""
        if self.exact:
            return (
                f"equal to its source on {self.images} photographs, {self.boxes} boxes that may be detected: the "
                f"furthest differ by {self.pixels:.2g} pixels, {self.score:.2g} of score"
            )
        return (
            f"on {self.images} photographs it finds {self.matched} of its source's {self.detections} detections (low "
            f"scores among them), {self.matched_pixels:.2g} pixels apart in the median; the mAP tells the cost"
        )


def images_to_verify_on() -> list[Image]:
    """Photographs that come with the package."""
    return [photograph.pixels() for photograph in (ASTRONAUT, CAMERA, CHELSEA, COFFEE)]


def verify(outputs: Outputs, source: Source, images: Sequence[Image], precision: str) -> Differences:
    """Compare an export, as it was read back, with the network it came from.

    Args:
        outputs: runs the export and gives all its results, as `runtime.engine` names them.
        source: what it was made from.
        images: at least two; they go through in one batch, where the source takes batches.
        precision: chooses the limits.

    Raises:
        VerificationError: it differs by more than `LIMITS`, its default boxes are others, its classic rows hold other
            numbers than its other results, or its own NMS finds other boxes than ours.
    """
    spec, default_boxes = source.spec, source.default_boxes
    results = _in_batches(outputs, images, source.largest_batch)
    if RAW[2] in results and not np.array_equal(results[RAW[2]], default_boxes):
        raise VerificationError("the export holds other default boxes than its source; it was not kept")
    raw = results[RAW[0]], results[RAW[1]]
    expected = source.raw_outputs(images)
    differences = replace(
        _raw_differences(source, images, raw, expected, precision),
        **_matched_detections(source, images, raw, expected),
    )
    if ROWS in results:
        _require_classic_rows(results, default_boxes, spec.boxes.variances)
    if DETECTIONS[0] in results:
        detections = raw_detections(spec, default_boxes, *raw)
        _compare_detections(results[DETECTIONS[0]], results[DETECTIONS[1]], detections)
    return differences


def _in_batches(outputs: Outputs, images: Sequence[Image], largest: int | None) -> dict[str, np.ndarray]:
    """All results of all images, in batches of at most `largest`."""
    size = largest or len(images)
    batches = [outputs(images[start : start + size]) for start in range(0, len(images), size)]
    return {
        name: batches[0][name] if name == RAW[2] else np.concatenate([batch[name] for batch in batches])
        for name in batches[0]
    }


def _raw_differences(
    source: Source, images: Sequence[Image], raw: RawOutputs, expected: RawOutputs, precision: str
) -> Differences:
    """Differences default box by default box, within the limits of the precision."""
    spec, default_boxes = source.spec, source.default_boxes
    pixels = score = 0.0
    boxes = 0
    for image, offsets, scores, expected_offsets, expected_scores in zip(images, *raw, *expected, strict=True):
        detectable = np.maximum(scores, expected_scores)[:, 1:].max(axis=1) > spec.postprocess.score_threshold
        size = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        decoded, expected_decoded = (
            decode(codes[detectable], default_boxes[detectable], spec.boxes.variances) * size
            for codes in (offsets, expected_offsets)
        )
        pixels = max(pixels, _largest(decoded - expected_decoded))
        score = max(score, _largest(scores - expected_scores))
        boxes += int(detectable.sum())
    limits = LIMITS[precision]
    if not (pixels <= limits.pixels and score <= limits.score):
        raise VerificationError(
            f"the export differs from its source: boxes by {pixels:.3g} pixels (limit {limits.pixels:g}), scores by "
            f"{score:.3g} (limit {limits.score:g}); it was not kept"
        )
    return Differences(len(images), pixels, score, boxes, exact=precision == "fp32")


def _matched_detections(
    source: Source, images: Sequence[Image], raw: RawOutputs, expected: RawOutputs
) -> dict[str, Any]:
    """How many of the source's detections the export has, too, and how far they lie apart."""
    spec, default_boxes = source.spec, source.default_boxes
    distances: list[float] = []
    count = 0
    for image, exported, original in zip(
        images, raw_detections(spec, default_boxes, *raw), raw_detections(spec, default_boxes, *expected), strict=True
    ):
        count += len(original)
        if not len(exported) or not len(original):
            continue
        ious = pairwise_iou(original.boxes_xyxy, exported.boxes_xyxy)
        ious *= original.labels[:, None] == exported.labels[None]
        nearest = ious.argmax(axis=1)
        matched = ious.max(axis=1) >= MATCHED_IOU
        size = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        apart = np.abs(original.boxes_xyxy - exported.boxes_xyxy[nearest]) * size
        distances += apart[matched].max(axis=1).tolist()
    median = float(np.median(distances)) if distances else 0.0
    return {"detections": count, "matched": len(distances), "matched_pixels": median}


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


def _compare_detections(
    rows: Float32[np.ndarray, "D 6"], counts: np.ndarray, expected: Sequence[RawDetections]
) -> None:
    """The graph's own detections with those of our post-processing, from the same predictions.

    Rows of equal score may change places, and at the lowest score, where the list was cut, be others.
    """
    expected_counts = [len(detections) for detections in expected]
    if counts.tolist() != expected_counts:
        raise VerificationError(
            f"NMS in the export keeps {counts.tolist()} boxes of the images, ours {expected_counts}; it was not kept"
        )
    for number, (image_rows, detections) in enumerate(
        zip(np.split(rows, np.cumsum(counts)[:-1]), expected, strict=True)
    ):
        if not len(detections):
            continue
        expected_rows = np.column_stack([detections.labels, detections.scores, detections.boxes_xyxy])
        above_cut = expected_rows[:, 1] > expected_rows[-1, 1] + ROW_TOLERANCE
        distances = np.abs(expected_rows[above_cut, None] - image_rows[None]).max(axis=2).min(axis=1)
        scores = np.sort(image_rows[:, 1]) - np.sort(expected_rows[:, 1])
        furthest = max(_largest(distances), _largest(scores))
        if furthest > ROW_TOLERANCE:
            raise VerificationError(
                f"NMS in the export finds other boxes than ours in image {number}: by {furthest:.3g} (limit "
                f"{ROW_TOLERANCE:g}); it was not kept"
            )


def _largest(differences: np.ndarray) -> float:
    """The largest absolute difference; NaN counts as infinite."""
    if not differences.size:
        return 0.0
    return float(np.nan_to_num(np.abs(differences), nan=np.inf).max())
