"""Which ground-truth box each default box is trained on (paper section 2.2, "Matching strategy"), as Caffe matches.

B images, K default boxes, R ground-truth boxes at most in an image, T ground-truth boxes in all of them.

First a greedy one-to-one assignment: the pair with the greatest IoU, then the greatest among the boxes that are left,
and so on. Then every unmatched default box is matched to its best ground-truth box if their IoU reaches the threshold.
Ties go to the lowest default box, then to the lowest ground-truth box; an IoU of at most 1e-6 never matches (Caffe
bbox_util.cpp, MatchBBox).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from singleshot.boxes import pairwise_iou
from singleshot.shapes import Bool, Float, Int64
from singleshot.ssd.coder import Code, encode
from singleshot.ssd.tensors import Matches, Targets

UNMATCHED = -1
CROSSING = -2
LEAST_IOU = 1e-6


@torch.no_grad()
def assign(
    default_boxes: Float[Tensor, "K 4"],
    boxes_xyxy: Float[Tensor, "B R 4"],
    classes: Int64[Tensor, "B R"],
    variances: tuple[float, float, float, float],
    *,
    iou_threshold: float = 0.5,
    bipartite_only: bool = False,
    ignore_cross_boundary: bool = False,
    code: Code = "center_size",
) -> Targets:
    """What each default box should predict (paper section 2.2; Caffe FindMatches and EncodeLocPrediction).

    Args:
        default_boxes: corners as fractions of the image.
        boxes_xyxy: ground-truth boxes as fractions of the image, padded.
        classes: 1..L, and 0 where a row is padding.
        variances: of the box coder.
        iou_threshold: see `match`, as the next two.
        bipartite_only: see there.
        ignore_cross_boundary: see there; the IoU of such boxes is set to 1, so that they are no negatives either.
        code: of the box coder.
    """
    matches = match(
        default_boxes,
        boxes_xyxy,
        classes > 0,
        iou_threshold=iou_threshold,
        bipartite_only=bipartite_only,
        ignore_cross_boundary=ignore_cross_boundary,
    )
    images, boxes = (matches.ground_truth >= 0).nonzero(as_tuple=True)
    rows = matches.ground_truth[images, boxes]
    offsets = default_boxes.new_zeros(*matches.ground_truth.shape, 4)
    offsets[images, boxes] = encode(
        boxes_xyxy[images, rows].to(default_boxes), default_boxes[boxes], variances, code=code
    )
    target_classes = torch.zeros_like(matches.ground_truth)
    target_classes[images, boxes] = classes[images, rows]
    return Targets(offsets, target_classes, matches.ious.masked_fill(matches.ground_truth == CROSSING, 1))


@torch.no_grad()
def match(
    default_boxes: Float[Tensor, "K 4"],
    boxes_xyxy: Float[Tensor, "B R 4"],
    valid: Bool[Tensor, "B R"],
    *,
    iou_threshold: float = 0.5,
    bipartite_only: bool = False,
    ignore_cross_boundary: bool = False,
) -> Matches:
    """Match the default boxes to the ground truth of a batch, as Caffe does (bbox_util.cpp, FindMatches and MatchBBox).

    Laws: every ground-truth box that overlaps a default box gets one, unless better pairs take all of them; the
    threshold phase takes no default box away from another ground-truth box; padding changes nothing.

    Args:
        default_boxes: corners as fractions of the image, not clipped.
        boxes_xyxy: ground-truth boxes as fractions of the image; rows that are not `valid` may hold anything.
        valid: which rows are ground-truth boxes; one that is not finite or has no area matches nothing.
        iou_threshold: a default box whose IoU with a ground-truth box is at least this is matched to it.
        bipartite_only: leave out the second, threshold phase (Caffe's BIPARTITE).
        ignore_cross_boundary: default boxes that reach outside the image are ignored: they are neither positives nor
            negatives, and are marked -2.
    """
    crossing = ((default_boxes < 0) | (default_boxes > 1)).any(dim=1) if ignore_cross_boundary else None
    pairs = _pairwise_ious(default_boxes, boxes_xyxy, valid, crossing)
    ground_truth, ious = _one_to_one(pairs)
    if not bipartite_only:
        joins = (ground_truth == UNMATCHED) & (pairs.best >= iou_threshold) & (pairs.best > LEAST_IOU)
        ground_truth = torch.where(joins, pairs.nearest, ground_truth)
    if crossing is not None:
        ground_truth = ground_truth.masked_fill(crossing, CROSSING)
    return Matches(ground_truth, ious)


@dataclass(frozen=True, eq=False)
class _PairwiseIous:
    """IoU of every ground-truth box with every default box, and the best of each default box.

    Rows are sorted by the ground-truth box's place within its image, then by image; padding has none.

    Attributes:
        table: IoU of each ground-truth box with each default box, and a last row of zeros that stands for padding.
        images: image of each ground-truth box.
        places: its row within its image.
        rows: row of the table of each ground-truth box of each image; T for padding.
        best: greatest IoU of each default box, 0 where none exceeds 1e-6.
        nearest: the (lowest) ground-truth box that has it.
    """

    table: Float[Tensor, "T+1 K"]
    images: Int64[Tensor, " T"]
    places: Int64[Tensor, " T"]
    rows: Int64[Tensor, "B R"]
    best: Float[Tensor, "B K"]
    nearest: Int64[Tensor, "B K"]


def _pairwise_ious(
    default_boxes: Float[Tensor, "K 4"],
    boxes_xyxy: Float[Tensor, "B R 4"],
    valid: Bool[Tensor, "B R"],
    crossing: Bool[Tensor, " K"] | None,
) -> _PairwiseIous:
    """Every IoU, computed once, one place within the images at a time: the pieces stay in the processor's cache."""
    valid = valid & boxes_xyxy.isfinite().all(dim=2)  # a NaN would stay every default box's best rival
    places, images = valid.T.nonzero(as_tuple=True)
    columns = default_boxes.T.contiguous().T  # each coordinate of all boxes is contiguous: twice the speed
    table = columns.new_empty(len(places) + 1, len(columns))
    table[-1] = 0
    best = columns.new_full((len(valid), len(columns)), LEAST_IOU)
    nearest = torch.full_like(best, UNMATCHED, dtype=torch.int64)
    counts: list[int] = valid.sum(dim=0).tolist()
    pieces = zip(torch.split(table[:-1], counts), torch.split(images, counts), strict=True)
    for place, (piece, piece_images) in enumerate(pieces):
        piece.copy_(pairwise_iou(boxes_xyxy[piece_images, place].to(columns), columns))
        if crossing is not None:
            piece.masked_fill_(crossing, 0)
        best_before = best[piece_images]
        nearest[piece_images] = torch.where(piece > best_before, place, nearest[piece_images])
        best[piece_images] = torch.maximum(piece, best_before)
    best.masked_fill_(nearest == UNMATCHED, 0)
    rows = torch.full_like(valid, len(places), dtype=torch.int64)
    rows[images, places] = torch.arange(len(places), device=rows.device)
    return _PairwiseIous(table, images, places, rows, best, nearest)


def _one_to_one(pairs: _PairwiseIous) -> tuple[Int64[Tensor, "B K"], Float[Tensor, "B K"]]:
    """The greedy one-to-one assignment, in rounds that accept every pair which is the best of both its boxes.

    Such a pair could come too late in the greedy order only if a better pair took one of its boxes, and none exists; so
    all of them are accepted at once, with the result of one pair at a time. Overwrites the table.

    Returns:
        The ground-truth box of each default box (-1 for none), and `Matches.ious`: IoU with it, else the best IoU.
    """
    table, images, places, rows = pairs.table, pairs.images, pairs.places, pairs.rows
    ground_truth = torch.full_like(pairs.nearest, UNMATCHED)
    ious = pairs.best.clone()
    value, box = table[:-1].max(dim=1)  # the first of equals: the lowest default box
    active = (value > LEAST_IOU).nonzero()[:, 0]
    while len(active):
        rivals = table[rows[images[active]], box[active, None]]  # all ground-truth boxes of the image, at that box
        wins = rivals.argmax(dim=1) == places[active]  # the first of equals: the lowest ground-truth box
        winners = active[wins]
        winner_images, taken = images[winners], box[winners]
        ground_truth[winner_images, taken] = places[winners]
        ious[winner_images, taken] = value[winners]
        table[rows[winner_images], taken[:, None]] = 0  # the box is taken for every ground-truth box of the image,
        rows[winner_images, places[winners]] = len(images)  # and the ground-truth box is no rival any more
        active = active[~wins]
        lost = active[table[active, box[active]] == 0]
        value[lost], box[lost] = table[lost].max(dim=1)
        active = active[value[active] > LEAST_IOU]
    return ground_truth, ious
