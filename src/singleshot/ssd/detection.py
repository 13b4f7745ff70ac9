"""From scored, encoded boxes to detections: Caffe's DetectionOutput layer.

Its rule: of each class the boxes that score above a threshold, best first, at most top_k; greedy NMS keeps a box whose
IoU with every better kept box of its class is at most the NMS threshold; of all classes together the best keep_top_k
stay. Among equal scores the lower class comes first, then the lower box.

`reference` reads like Caffe. `_detection_output.c` gives the same in a tenth of the time, without holding Python's
lock; `postprocess` takes it wherever it was built. `detection_torch.py` does it on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.boxes import clip_boxes, iou
from singleshot.errors import ModelError
from singleshot.shapes import Bool, Float, Float32, Int64
from singleshot.spec import Postprocess
from singleshot.ssd.coder import Code, decode
from singleshot.types import Detections

try:
    from singleshot.ssd._detection_output import detection_output
except ImportError:  # installed from source where there is no compiler
    detection_output = None  # type: ignore[assignment]

ROUNDING = 1e-4  # far more than what the probabilities of a box miss 1 by


@dataclass(frozen=True, eq=False)
class RawDetections:
    """The detections of one image as fractions of it, best score first.

    Attributes:
        boxes_xyxy: fractions of the image, not clipped to it.
        scores: probability of the label.
        labels: 0..L-1.
        dropped: default boxes left out because one of their scores or coordinates is not finite.
    """

    boxes_xyxy: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.scores)


def postprocess(
    offsets: Float[np.ndarray, "K 4"],
    scores: Float[np.ndarray, "K C"],
    default_boxes: Float32[np.ndarray, "K 4"],
    variances: Sequence[float] | Float[np.ndarray, "K 4"],
    settings: Postprocess,
    *,
    code: Code = "center_size",
    sums_to_one: bool = False,
) -> RawDetections:
    """Detections of one image (Caffe detection_output_layer.cpp, Forward_cpu).

    Args:
        offsets: encoded boxes, see `coder`.
        scores: probabilities; column 0 is background.
        default_boxes: xyxy, fractions of the image.
        variances: four, or a row for each default box; ones where the network predicts with the variance in the target.
        settings: thresholds and limits.
        code: how boxes are encoded.
        sums_to_one: whether the scores of each box do. Where background is nearly certain no class can then pass the
            threshold; such boxes, nine of ten, are skipped.

    Raises:
        ModelError: shapes that do not belong together.
    """
    check_shapes(offsets.shape, scores.shape, default_boxes.shape)
    offsets, scores, default_boxes, variances = (
        np.ascontiguousarray(array, np.float32) for array in (offsets, scores, default_boxes, variances)
    )
    if variances.shape not in {(4,), default_boxes.shape}:
        raise ModelError(f"expected four variances, or four for each default box, got {variances.shape}")
    surely_background = 1 - settings.score_threshold + ROUNDING if sums_to_one else np.inf
    if detection_output is not None and code == "center_size" and not settings.across_classes:
        return _compiled(offsets, scores, default_boxes, variances, settings, surely_background)
    rows = np.flatnonzero(~(scores[:, 0] > np.float32(surely_background)))  # NaN stays, to be counted
    variances = variances if variances.ndim == 1 else variances[rows]
    return reference(offsets[rows], scores[rows], default_boxes[rows], variances, settings, code=code)


def check_shapes(offsets: tuple[int, ...], scores: tuple[int, ...], default_boxes: tuple[int, ...]) -> None:
    """Raises ModelError where predictions do not fit the default boxes, or each other."""
    boxes = default_boxes[0]
    if default_boxes != (boxes, 4) or offsets != (boxes, 4) or len(scores) != 2 or scores[0] != boxes or scores[1] < 1:
        raise ModelError(
            f"predictions do not fit the {boxes} default boxes: expected offsets ({boxes}, 4) and scores ({boxes}, C), "
            f"got {tuple(offsets)} and {tuple(scores)}"
        )


def reference(
    offsets: Float32[np.ndarray, "K 4"],
    scores: Float32[np.ndarray, "K C"],
    default_boxes: Float32[np.ndarray, "K 4"],
    variances: Float32[np.ndarray, "4"] | Float32[np.ndarray, "K 4"],
    settings: Postprocess,
    *,
    code: Code = "center_size",
) -> RawDetections:
    """`postprocess` in numpy, class by class as Caffe's loop (bbox_util.cpp, ApplyNMSFast)."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a network whose outputs are not finite
        boxes = decode(offsets, default_boxes, variances, code=code)
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)
    if settings.across_classes:
        return _across_classes(boxes, scores, finite, settings)
    rows, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for label, class_scores in enumerate(scores.T[1:]):
        candidates = _candidates(class_scores, finite, settings)
        kept = candidates[nms(boxes[candidates], threshold=settings.nms_threshold, eta=settings.nms_eta)]
        rows.append(kept)
        labels.append(np.full(len(kept), label))
    kept_rows, kept_labels = np.concatenate(rows), np.concatenate(labels)
    kept_scores = scores[kept_rows, kept_labels + 1]
    best = np.lexsort((kept_rows, kept_labels, -kept_scores))
    if settings.keep_top_k >= 0:
        best = best[: settings.keep_top_k]
    return RawDetections(boxes[kept_rows[best]], kept_scores[best], kept_labels[best], dropped=int((~finite).sum()))


def _candidates(
    class_scores: Float32[np.ndarray, " K"], finite: Bool[np.ndarray, " K"], settings: Postprocess
) -> Int64[np.ndarray, " n"]:
    """The boxes of a class that go into NMS, best first."""
    candidates = np.flatnonzero((class_scores > np.float32(settings.score_threshold)) & finite)
    candidates = candidates[np.argsort(-class_scores[candidates], kind="stable")]
    return candidates[: settings.top_k] if settings.top_k >= 0 else candidates


def _across_classes(
    boxes_xyxy: Float32[np.ndarray, "K 4"],
    scores: Float32[np.ndarray, "K C"],
    finite: Bool[np.ndarray, " K"],
    settings: Postprocess,
) -> RawDetections:
    """Each box with its best class, the first of equal ones, and NMS over all.

    TensorFlow Lite's detection_postprocess.cc, NonMaxSuppressionMultiClassFastHelper.
    """
    labels = scores[:, 1:].argmax(axis=1)
    best = scores[np.arange(len(scores)), labels + 1]
    candidates = _candidates(best, finite, settings)
    limit = settings.keep_top_k if settings.keep_top_k >= 0 else None
    kept = nms(boxes_xyxy[candidates], threshold=settings.nms_threshold, eta=settings.nms_eta, limit=limit)
    rows = candidates[kept]
    return RawDetections(boxes_xyxy[rows], best[rows], labels[rows], dropped=int((~finite).sum()))


def nms(
    boxes_xyxy: Float32[np.ndarray, "n 4"], *, threshold: float, eta: float = 1.0, limit: int | None = None
) -> Int64[np.ndarray, " kept"]:
    """Greedy non-maximum suppression of the boxes of one class, best first: which are kept.

    A box is kept when its IoU with every better kept box is at most the threshold; an IoU that is not a number
    suppresses, as in Caffe. At a threshold of 1 all are kept.

    Args:
        boxes_xyxy: best first.
        threshold: highest IoU of two kept boxes.
        eta: multiplies the threshold after each kept box while it is above 0.5; 1 for plain NMS.
        limit: how many to keep, the best; None for all.
    """
    if threshold >= 1 and eta >= 1:
        return np.arange(len(boxes_xyxy))[:limit]
    highest = np.float32(threshold)
    kept, kept_boxes, count = np.zeros(len(boxes_xyxy), np.int64), np.empty_like(boxes_xyxy), 0
    with np.errstate(over="ignore", invalid="ignore"):  # areas of huge boxes are infinite, their IoU not a number
        for candidate, box in enumerate(boxes_xyxy):
            if count == limit:
                break
            if highest < 1 and not (iou(kept_boxes[:count], box) <= highest).all():
                continue
            kept[count], kept_boxes[count] = candidate, box
            count += 1
            if eta < 1 and highest > 0.5:
                highest *= np.float32(eta)
    return kept[:count]


def _compiled(
    offsets: Float32[np.ndarray, "K 4"],
    scores: Float32[np.ndarray, "K C"],
    default_boxes: Float32[np.ndarray, "K 4"],
    variances: Float32[np.ndarray, "4"] | Float32[np.ndarray, "K 4"],
    settings: Postprocess,
    surely_background: float,
) -> RawDetections:
    """`postprocess` by `_detection_output.c`."""
    capacity = min(settings.keep_top_k, scores.size) if settings.keep_top_k >= 0 else scores.size
    boxes, kept_scores = np.empty((capacity, 4), np.float32), np.empty(capacity, np.float32)
    labels = np.empty(capacity, np.int64)
    count, dropped = detection_output(
        offsets,
        scores,
        default_boxes,
        variances,
        float(surely_background),
        settings.score_threshold,
        settings.nms_threshold,
        settings.top_k,
        capacity,
        settings.nms_eta,
        boxes,
        kept_scores,
        labels,
    )
    return RawDetections(boxes[:count].copy(), kept_scores[:count].copy(), labels[:count].copy(), dropped=dropped)


def to_detections(raw: RawDetections, width: int, height: int, class_names: Sequence[str]) -> Detections:
    """The same in pixels of an image of this size, clipped to it. Order and number stay, as in Caffe's evaluation."""
    pixels = clip_boxes(raw.boxes_xyxy, width=1, height=1) * np.array([width, height, width, height], np.float32)
    return Detections(pixels, raw.scores, raw.labels, tuple(class_names))
