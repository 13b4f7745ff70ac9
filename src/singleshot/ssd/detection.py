"""From scored, encoded boxes to detections: Caffe's DetectionOutput layer, exactly.

Its rule: of each class the boxes that score above a threshold, best first, at most top_k; greedy NMS keeps a box whose
IoU with every better kept box of its class is at most the NMS threshold; of all classes together the best keep_top_k
stay. Among equal scores the lower class comes first, then the lower box.

Classes do not touch each other before that last cut, so all candidates may as well be visited in one common order of
score, and the walk may end when keep_top_k boxes are kept: the same result for a fraction of the work.

It is here in numpy and, compiled, in `_detection_output.c`, which takes over wherever it was built: a tenth of the time
behind a network, and other threads run meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.boxes import clip_boxes
from singleshot.errors import ModelError
from singleshot.shapes import Bool, Float, Float32, Int64
from singleshot.spec import Postprocess
from singleshot.ssd.coder import Code, decode
from singleshot.types import Detections


class Nms:
    """Suppression among candidates that come best first.

    A candidate goes when its IoU with a kept box of its class is above the threshold (or not a number, as in Caffe); at
    a threshold of 1 none goes.

    Attributes:
        boxes_xyxy, labels: what is kept so far, class by class.

    Args:
        classes: labels are 0 .. classes - 1.
        threshold: highest IoU of two kept boxes of a class.
        top_k: candidates of each class that are looked at; -1 for all.
        eta: multiplies a class's threshold after each kept box while it is above 0.5; 1 for plain NMS.
    """

    def __init__(self, classes: int, *, threshold: float, top_k: int = -1, eta: float = 1.0) -> None:
        self.boxes_xyxy: Float32[np.ndarray, "kept 4"] = np.zeros((0, 4), np.float32)
        self.labels: Int64[np.ndarray, " kept"] = np.zeros(0, np.int64)
        self._thresholds = np.full(classes, threshold, np.float32)
        self._eta = np.float32(eta)
        self._top_k = top_k
        self._looked_at = np.zeros(classes, np.int64)

    def visit(
        self, candidates_xyxy: Float32[np.ndarray, "n 4"], labels: Int64[np.ndarray, " n"]
    ) -> Int64[np.ndarray, " kept"]:
        """Which of these candidates are kept, ascending."""
        old = len(self.labels)
        all_boxes = np.concatenate([self.boxes_xyxy, candidates_xyxy])
        all_labels = np.concatenate([self.labels, labels])
        by_class = np.argsort(all_labels, kind="stable")  # in each class the kept ones first, then best first
        boxes, ordered = all_boxes[by_class], all_labels[by_class]
        new = by_class >= old
        stays = self._looked_at_in_time(ordered, new)
        ends = np.searchsorted(ordered, ordered, side="right")
        if self._eta < 1:
            self._suppress_adaptively(stays, new, ordered, *_overlapping_pairs(boxes, ends))
        elif self._thresholds.min(initial=1) < 1:  # no overlap is above 1
            better, worse, overlaps = _overlapping_pairs(boxes, ends)
            too_close = np.flatnonzero(~(overlaps <= self._thresholds[0]))
            _suppress(stays, better[too_close], worse[too_close])
        self._looked_at += np.bincount(labels, minlength=len(self._looked_at))
        self.boxes_xyxy, self.labels = boxes[stays], ordered[stays]
        return np.sort(by_class[stays & new]) - old

    def _looked_at_in_time(
        self, ordered: Int64[np.ndarray, " m"], new: Bool[np.ndarray, " m"]
    ) -> Bool[np.ndarray, " m"]:
        """Which boxes were kept before or come early enough in their class."""
        if not 0 <= self._top_k < self._looked_at.max(initial=0) + len(ordered):
            return np.ones(len(ordered), np.bool_)
        place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
        kept = np.bincount(self.labels, minlength=len(self._looked_at))
        return ~new | (place + (self._looked_at - kept)[ordered] < self._top_k)  # type: ignore[no-any-return]

    def _suppress_adaptively(
        self,
        stays: Bool[np.ndarray, " m"],
        new: Bool[np.ndarray, " m"],
        ordered: Int64[np.ndarray, " m"],
        better: Int64[np.ndarray, " pairs"],
        worse: Int64[np.ndarray, " pairs"],
        overlaps: Float32[np.ndarray, " pairs"],
    ) -> None:
        """Walk the boxes; each that stays leaves its overlap with those behind it, for their own threshold."""
        worst = np.full(len(ordered), -np.inf, np.float32)
        ends = np.searchsorted(better, np.arange(len(ordered) + 1))
        for at in np.flatnonzero(stays):
            threshold = self._thresholds[ordered[at]]
            if new[at]:
                stays[at] = worst[at] <= threshold
                if stays[at] and threshold > 0.5:
                    self._thresholds[ordered[at]] = threshold * self._eta
            if stays[at]:
                pairs = slice(ends[at], ends[at + 1])
                worst[worse[pairs]] = np.maximum(worst[worse[pairs]], overlaps[pairs])


def _suppress(
    stays: Bool[np.ndarray, " m"], better: Int64[np.ndarray, " pairs"], worse: Int64[np.ndarray, " pairs"]
) -> None:
    """Walk the boxes that are too close to worse ones; where one stays, those go."""
    starts = np.flatnonzero(np.diff(better, prepend=-1))
    ends = [*starts[1:].tolist(), len(better)][: len(starts)]
    for winner, start, end in zip(better[starts].tolist(), starts.tolist(), ends, strict=True):
        if stays[winner]:
            stays[worse[start:end]] = False


def _overlapping_pairs(
    boxes_xyxy: Float32[np.ndarray, "m 4"], ends: Int64[np.ndarray, " m"]
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"], Float32[np.ndarray, " pairs"]]:
    """Each box with those behind it up to its `ends`, and their IoU where they have anything in common.

    `boxes.iou` gives the same; this works on whole columns, faster by far.
    """
    place = np.arange(len(ends))
    count = ends - place - 1
    better = place.repeat(count)
    worse = np.arange(len(better)) + (ends - count.cumsum()).repeat(count)
    left, top, right, bottom = np.ascontiguousarray(boxes_xyxy.T)
    with np.errstate(over="ignore", invalid="ignore"):  # areas of huge boxes are infinite, their IoU not a number
        width = np.minimum(np.repeat(right, count), right.take(worse))
        width -= np.maximum(np.repeat(left, count), left.take(worse))
        height = np.minimum(np.repeat(bottom, count), bottom.take(worse))
        height -= np.maximum(np.repeat(top, count), top.take(worse))
        touching = np.flatnonzero((width > 0) & (height > 0))
        better, worse = better[touching], worse[touching]
        areas = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
        common = width[touching] * height[touching]
        union = areas[better] + areas[worse] - common
        return better, worse, common / np.maximum(union, np.float32(1e-30))


try:
    from singleshot.ssd._detection_output import detection_output
except ImportError:  # installed from source where there is no compiler
    detection_output = None  # type: ignore[assignment]

BLOCK = 512  # candidates visited between two looks at whether enough are kept
HEAD = 4 * BLOCK  # the best candidates, split off before sorting
SAFE_EXPONENT = 60.0  # e to this is far inside float32, and so is any product with a default box
ROUNDING = 1e-4  # far more than what the probabilities of a box miss 1 by


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in one image, best score first.

    Attributes:
        boxes_xyxy: fractions of the image, not clipped to it.
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


def postprocess(
    offsets: Float[np.ndarray, "K 4"],
    scores: Float[np.ndarray, "K C"],
    default_boxes: Float32[np.ndarray, "K 4"],
    variances: Sequence[float] | Float[np.ndarray, "K 4"],
    settings: Postprocess,
    *,
    code: Code = "center_size",
    sums_to_one: bool = False,
) -> Found:
    """Detections of one image (Caffe detection_output_layer.cpp, Forward_cpu, and bbox_util.cpp, ApplyNMSFast).

    Args:
        offsets: encoded boxes, see `box_coder`.
        scores: probabilities; column 0 is background.
        default_boxes: xyxy, fractions of the image.
        variances: four, or a row for each default box; ones where the network predicts with the variance in the target.
        settings: thresholds and limits.
        code: how boxes are encoded.
        sums_to_one: the scores of each box do. Where background is nearly certain nothing else can then pass the
            threshold; such boxes, nine of ten, are left out unseen.

    Raises:
        ModelError: shapes that do not belong together.
    """
    check_shapes(offsets.shape, scores.shape, default_boxes.shape)
    surely_background = np.float32(1 - settings.score_threshold + ROUNDING if sums_to_one else np.inf)
    offsets, scores = np.ascontiguousarray(offsets, np.float32), np.ascontiguousarray(scores, np.float32)
    variances = np.ascontiguousarray(variances, np.float32)
    default_boxes = np.ascontiguousarray(default_boxes, np.float32)
    if variances.shape not in {(4,), default_boxes.shape}:
        raise ModelError(f"expected four variances, or four for each default box, got {variances.shape}")
    if detection_output is None or code != "center_size":
        perhaps = np.flatnonzero(~(scores[:, 0] > surely_background))  # what is not a number stays, to be counted
        variances = variances if variances.ndim == 1 else variances[perhaps]
        return _in_numpy(offsets[perhaps], scores[perhaps], default_boxes[perhaps], variances, settings, code)
    room = min(settings.keep_top_k, scores.size) if settings.keep_top_k >= 0 else scores.size
    boxes, best, labels = np.empty((room, 4), np.float32), np.empty(room, np.float32), np.empty(room, np.int64)
    count, dropped = detection_output(
        offsets,
        scores,
        default_boxes,
        variances,
        float(surely_background),
        settings.score_threshold,
        settings.nms_threshold,
        settings.top_k,
        room,
        settings.nms_eta,
        boxes,
        best,
        labels,
    )
    return Found(boxes[:count].copy(), best[:count].copy(), labels[:count].copy(), dropped=dropped)


def _in_numpy(
    offsets: Float32[np.ndarray, "K 4"],
    scores: Float32[np.ndarray, "K C"],
    default_boxes: Float32[np.ndarray, "K 4"],
    variances: Float32[np.ndarray, "4"] | Float32[np.ndarray, "K 4"],
    settings: Postprocess,
    code: Code,
) -> Found:
    finite = _finite_rows(offsets, scores, default_boxes, variances, code)
    flat_scores = scores.ravel()
    rows, labels = np.divmod(np.flatnonzero(flat_scores > np.float32(settings.score_threshold)), scores.shape[1])
    wanted = labels > 0 if finite is None else (labels > 0) & finite[rows]
    rows, labels = rows[wanted], labels[wanted] - 1
    of_candidates = flat_scores[rows * scores.shape[1] + labels + 1]
    nms = Nms(scores.shape[1] - 1, threshold=settings.nms_threshold, top_k=settings.top_k, eta=settings.nms_eta)
    found = [(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))]
    for block in _best_first(of_candidates, labels * len(offsets) + rows):
        at = rows[block]
        boxes = decode(offsets[at], default_boxes[at], variances if variances.ndim == 1 else variances[at], code=code)
        kept = nms.visit(boxes, labels[block])
        found.append((boxes[kept], of_candidates[block[kept]], labels[block[kept]]))
        if 0 <= settings.keep_top_k <= len(nms.labels):
            break
    limit = settings.keep_top_k if settings.keep_top_k >= 0 else None
    boxes, best, of_class = (np.concatenate(pieces)[:limit] for pieces in zip(*found, strict=True))
    return Found(boxes, best, of_class, dropped=0 if finite is None else int((~finite).sum()))


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
    variances: Float32[np.ndarray, "4"] | Float32[np.ndarray, "K 4"],
    code: Code,
) -> Bool[np.ndarray, " K"] | None:
    """Default boxes whose scores and decoded box are all finite; None, found out cheaply, where that is every one."""
    if not len(offsets):
        return None
    largest = max(offsets.max(), -offsets.min()) * np.max(variances)  # NaN fails the comparison, too
    flat = scores.ravel()
    if largest < SAFE_EXPONENT and np.isfinite(flat @ flat):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = decode(offsets, default_boxes, variances, code=code)
    return np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)  # type: ignore[no-any-return]


def _best_first(
    scores: Float32[np.ndarray, " n"], ranks: Int64[np.ndarray, " n"]
) -> Iterator[Int64[np.ndarray, " block"]]:
    """Places of the candidates by descending score, equal ones by rank, a block at a time.

    Most images need the first block or two only; so of many, the best are split off before anything is sorted.
    """
    if len(scores) > 2 * HEAD:
        in_head = scores >= np.partition(scores, -HEAD)[-HEAD]
        yield from _sorted_blocks(scores, ranks, np.flatnonzero(in_head))
        yield from _sorted_blocks(scores, ranks, np.flatnonzero(~in_head))
    else:
        yield from _sorted_blocks(scores, ranks, np.arange(len(scores)))


def _sorted_blocks(
    scores: Float32[np.ndarray, " n"], ranks: Int64[np.ndarray, " n"], places: Int64[np.ndarray, " m"]
) -> Iterator[Int64[np.ndarray, " block"]]:
    ranked = places[np.lexsort((ranks[places], -scores[places]))]
    for start in range(0, len(ranked), BLOCK):
        yield ranked[start : start + BLOCK]


def caffe_rows(found: Sequence[Found]) -> Float32[np.ndarray, "D 7"]:
    """The detections of a batch as Caffe's DetectionOutput lists them: image, class, score, xmin, ymin, xmax, ymax.

    By image, then class (1..L), then score. An image without detections has no row; if none has any, each has one row
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
    """The same in pixels of an image of this size, cut to it. Order and number stay, as in Caffe's evaluation."""
    pixels = clip_boxes(found.boxes_xyxy, width=1, height=1) * np.array([width, height, width, height], np.float32)
    return Detections(pixels, found.scores, found.labels, tuple(class_names))
