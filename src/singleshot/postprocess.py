"""From scored, encoded boxes to detections: Caffe's DetectionOutput layer, exactly, in numpy.

Its rule: of each class the boxes that score above a threshold, best first, at most top_k; greedy NMS keeps a box whose
IoU with every better kept box of its class is at most the NMS threshold; of all classes together the best keep_top_k
stay. Among equal scores the lower class comes first, then the lower box.

Classes do not touch each other before that last cut, so all candidates may as well be visited in one common order of
score, and the walk may end when keep_top_k boxes are kept: the same result for a fraction of the work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from singleshot.box_coder import Code, decode
from singleshot.boxes import clip_boxes, pairwise_iou
from singleshot.errors import ModelError
from singleshot.types import Detections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Bool, Float, Float32, Int64

    from singleshot.spec import Postprocess

BLOCK = 512  # candidates visited between two looks at whether enough are kept
HEAD = 4 * BLOCK  # the best candidates, split off before sorting
SAFE_EXPONENT = 60.0  # e to this is far inside float32, and so is any product with a default box


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in one picture, best score first.

    Attributes:
        boxes_xyxy: fractions of the picture, not clipped to it.
        scores: probability of the label.
        labels: 0..L-1.
        dropped: default boxes left out because a score or coordinate of theirs is not finite (a sick network).
    """

    boxes_xyxy: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.scores)


def softmax(logits: Float[np.ndarray, "*n C"]) -> Float32[np.ndarray, "*n C"]:
    """Probabilities of the classes, over the last axis; the largest logit is subtracted first, so nothing overflows.

    The work is done, and the result lies in memory, class by class: a reduction over a short last axis is slow, and
    `postprocess` reads a class at a time.
    """
    powers = np.array(np.moveaxis(logits, -1, 0), np.float32, order="C")
    with np.errstate(invalid="ignore"):  # infinite logits become NaN, which `postprocess` drops and counts
        powers -= powers.max(axis=0)
        np.exp(powers, out=powers)
        powers /= powers.sum(axis=0)
    return np.moveaxis(powers, 0, -1)


def postprocess(
    offsets: Float[np.ndarray, "K 4"],
    scores: Float[np.ndarray, "K C"],
    default_boxes: Float32[np.ndarray, "K 4"],
    variances: Sequence[float] | Float[np.ndarray, "K 4"],
    settings: Postprocess,
    *,
    code: Code = "center_size",
) -> Found:
    """Detections of one picture (Caffe detection_output_layer.cpp, Forward_cpu, and bbox_util.cpp, ApplyNMSFast).

    Args:
        offsets: encoded boxes, see `box_coder`.
        scores: probabilities; column 0 is background.
        default_boxes: xyxy, fractions of the picture.
        variances: four, or a row for each default box; ones where the network predicts with the variance in the target.
        settings: thresholds and limits.
        code: how boxes are encoded.

    Raises:
        ModelError: shapes that do not belong together.
    """
    check_shapes(offsets.shape, scores.shape, default_boxes.shape)
    offsets, scores = np.asarray(offsets, np.float32), np.asarray(scores, np.float32)
    finite = _finite_rows(offsets, scores, default_boxes, variances, code)
    by_class = np.ascontiguousarray(scores[:, 1:].T)
    wanted = by_class > np.float32(settings.score_threshold)
    if finite is not None:
        wanted &= finite
    flat_scores = by_class.ravel()
    per_row = np.asarray(variances, np.float32) if np.ndim(variances) == 2 else None
    kept = _Kept(settings)
    for block in _best_first(flat_scores, np.flatnonzero(wanted)):
        labels, rows = np.divmod(block, len(offsets))
        boxes = decode(offsets[rows], default_boxes[rows], variances if per_row is None else per_row[rows], code=code)
        kept.visit(boxes, flat_scores[block], labels)
        if kept.enough:
            break
    return kept.found(dropped=0 if finite is None else int((~finite).sum()))


def check_shapes(offsets: tuple[int, ...], scores: tuple[int, ...], default_boxes: tuple[int, ...]) -> None:
    """Raises ModelError where predictions do not fit the default boxes, or each other."""
    boxes = default_boxes[0]
    if default_boxes != (boxes, 4) or offsets != (boxes, 4) or len(scores) != 2 or scores[0] != boxes or scores[1] < 1:
        raise ModelError(
            f"predictions do not fit the {boxes} default boxes: expected offsets ({boxes}, 4) and scores ({boxes}, C), "
            f"got {tuple(offsets)} and {tuple(scores)}"
        )


def _finite_rows(
    offsets: Float32[np.ndarray, "K 4"],
    scores: Float32[np.ndarray, "K C"],
    default_boxes: Float32[np.ndarray, "K 4"],
    variances: Sequence[float] | Float[np.ndarray, "K 4"],
    code: Code,
) -> Bool[np.ndarray, " K"] | None:
    """Default boxes whose scores and decoded box are all finite; None, found out cheaply, where that is every one."""
    if not len(offsets):
        return None
    largest = max(offsets.max(), -offsets.min()) * np.max(variances)  # NaN fails the comparison, too
    if largest < SAFE_EXPONENT and np.isfinite(scores.sum()):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = decode(offsets, default_boxes, variances, code=code)
    return np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)  # type: ignore[no-any-return]


def _best_first(
    scores: Float32[np.ndarray, " n"], candidates: Int64[np.ndarray, " m"]
) -> Iterator[Int64[np.ndarray, " block"]]:
    """Candidates (places in `scores`) by descending score, equal ones in their own order, a block at a time.

    Most pictures need the first block or two only; so of many, the best are split off before anything is sorted.
    """
    of_candidates = scores[candidates]
    if len(candidates) > 2 * HEAD:
        in_head = of_candidates >= np.partition(of_candidates, -HEAD)[-HEAD]
        yield from _sorted_blocks(of_candidates[in_head], candidates[in_head])
        of_candidates, candidates = of_candidates[~in_head], candidates[~in_head]
    yield from _sorted_blocks(of_candidates, candidates)


def _sorted_blocks(
    scores: Float32[np.ndarray, " m"], candidates: Int64[np.ndarray, " m"]
) -> Iterator[Int64[np.ndarray, " block"]]:
    ranked = candidates[np.argsort(-scores, kind="stable")]
    for start in range(0, len(ranked), BLOCK):
        yield ranked[start : start + BLOCK]


@dataclass(eq=False)
class ClassNms:
    """Greedy NMS of one class whose candidates come best first, in as many pieces as one likes.

    Attributes:
        threshold: a candidate goes when its IoU with a kept box is above this (or not a number, as in Caffe).
        eta: multiplies the threshold after each kept box while it is above 0.5; 1 for plain NMS.
        room: candidates that may still come (top_k); later ones are not looked at; -1 for all.
        boxes_xyxy: what is kept so far.
    """

    threshold: np.float32
    eta: np.float32
    room: int
    boxes_xyxy: Float32[np.ndarray, "kept 4"] = field(default_factory=lambda: np.zeros((0, 4), np.float32))

    def visit(self, candidates_xyxy: Float32[np.ndarray, "n 4"]) -> list[int]:
        """Which of these candidates are kept, ascending."""
        if self.room >= 0:
            candidates_xyxy = candidates_xyxy[: self.room]
            self.room -= len(candidates_xyxy)
        if not len(candidates_xyxy):
            return []
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # areas of huge boxes are infinite and their IoU not a number
            worst = np.full(len(candidates_xyxy), -np.inf, np.float32)
            if len(self.boxes_xyxy):
                worst = pairwise_iou(self.boxes_xyxy, candidates_xyxy).max(axis=0)
            overlaps = pairwise_iou(candidates_xyxy, candidates_xyxy)
        kept = []
        for i in range(len(candidates_xyxy)):
            if worst[i] <= self.threshold:
                kept.append(i)
                np.maximum(worst, overlaps[i], out=worst)
                if self.eta < 1 and self.threshold > 0.5:
                    self.threshold *= self.eta
        self.boxes_xyxy = np.concatenate([self.boxes_xyxy, candidates_xyxy[kept]])
        return kept


class _Kept:
    """The detections of one picture while its candidates are visited."""

    def __init__(self, settings: Postprocess) -> None:
        self._settings = settings
        self._classes: dict[int, ClassNms] = {}
        self._pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._count = 0

    @property
    def enough(self) -> bool:
        """Whether no later, worse candidate can be among the best keep_top_k."""
        return 0 <= self._settings.keep_top_k <= self._count

    def visit(
        self, boxes_xyxy: Float32[np.ndarray, "n 4"], scores: Float32[np.ndarray, " n"], labels: Int64[np.ndarray, " n"]
    ) -> None:
        """Take what survives of the next candidates, which must come best first."""
        by_label = np.argsort(labels, kind="stable")
        starts = np.flatnonzero(np.diff(labels[by_label], prepend=-1))
        survivors: list[np.ndarray] = []
        for members in np.split(by_label, starts[1:]):
            nms = self._of_class(int(labels[members[0]]))
            survivors.append(members[nms.visit(boxes_xyxy[members])])
        kept = np.sort(np.concatenate(survivors))
        self._pieces.append((boxes_xyxy[kept], scores[kept], labels[kept]))
        self._count += len(kept)

    def _of_class(self, label: int) -> ClassNms:
        if label not in self._classes:
            settings = self._settings
            self._classes[label] = ClassNms(
                np.float32(settings.nms_threshold), np.float32(settings.nms_eta), settings.top_k
            )
        return self._classes[label]

    def found(self, *, dropped: int) -> Found:
        """The best keep_top_k."""
        limit = self._settings.keep_top_k if self._settings.keep_top_k >= 0 else self._count
        if not self._pieces:
            return Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), dropped)
        boxes, scores, labels = (np.concatenate(pieces)[:limit] for pieces in zip(*self._pieces, strict=True))
        return Found(boxes, scores, labels, dropped)


def caffe_rows(found: Sequence[Found]) -> Float32[np.ndarray, "D 7"]:
    """The detections of a batch as Caffe's DetectionOutput lists them: image, class, score, xmin, ymin, xmax, ymax.

    By image, then class (1..L), then score. A picture without detections has no row; if none has any, each has one row
    of its number and six times -1.
    """
    if not any(map(len, found)):
        return np.array([[image, *[-1] * 6] for image in range(len(found))], np.float32).reshape(-1, 7)
    tables = []
    for image, one in enumerate(found):
        order = np.argsort(one.labels, kind="stable")
        columns = [np.full(len(one), image), one.labels[order] + 1, one.scores[order]]
        tables.append(np.concatenate([np.stack(columns, axis=1), one.boxes_xyxy[order]], axis=1))
    return np.concatenate(tables).astype(np.float32)


def to_detections(found: Found, width: int, height: int, class_names: Sequence[str]) -> Detections:
    """The same in pixels of a picture of this size, cut to it. Order and number stay, as in Caffe's evaluation."""
    pixels = clip_boxes(found.boxes_xyxy, width=1, height=1) * np.array([width, height, width, height], np.float32)
    return Detections(pixels, found.scores, found.labels, tuple(class_names))
