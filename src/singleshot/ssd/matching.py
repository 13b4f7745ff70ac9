"""Which ground-truth box each default box learns: Caffe's matching (paper section 2.2, "Matching strategy").

B images, K default boxes, R ground-truth boxes at most an image, T ground-truth boxes in all of them.

First a greedy one-to-one assignment: of all pairs the one with the greatest IoU, then the greatest of what is left.
Then every free box takes its best object if their IoU reaches the threshold. Ties go to the lowest box, then to
the lowest ground-truth box; an IoU of at most 1e-6 never matches (Caffe bbox_util.cpp, MatchBBox).
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
LEAST_OVERLAP = 1e-6


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """IoU of every ground-truth box that is there with all default boxes, and the same seen from the boxes.

    Rows are sorted by the object's place within its image, then by image, so that no work is spent on padding.

    Attributes:
        table: IoU of each ground-truth box with each box, and a last row of zeros that stands for padding.
        images: image of each ground-truth box.
        places: the ground-truth box's row within its image.
        rows: row of the table of each ground-truth box of each image; T for padding.
        best: greatest IoU of each box, 0 where none exceeds 1e-6.
        nearest: the (lowest) ground-truth box that has it.
    """

    table: Float[Tensor, "T+1 K"]
    images: Int64[Tensor, " T"]
    places: Int64[Tensor, " T"]
    rows: Int64[Tensor, "B R"]
    best: Float[Tensor, "B K"]
    nearest: Int64[Tensor, "B K"]


@torch.no_grad()
def match(
    default_boxes: Float[Tensor, "K 4"],
    boxes_xyxy: Float[Tensor, "B R 4"],
    valid: Bool[Tensor, "B R"],
    *,
    overlap_threshold: float = 0.5,
    bipartite_only: bool = False,
    ignore_cross_boundary: bool = False,
) -> Matches:
    """Match default boxes and objects, a batch at a time, as Caffe does (bbox_util.cpp, FindMatches and MatchBBox).

    Laws: an object that overlaps a box which no better pair wants gets a box; no object loses its box to another
    ground-truth box's threshold match; padding changes nothing.

    Args:
        default_boxes: corners as fractions of the image, not clipped.
        boxes_xyxy: ground-truth boxes as fractions of the image; rows that are not `valid` may hold anything.
        valid: which rows are ground-truth boxes; one that is not finite matches nothing, as one without area.
        overlap_threshold: boxes of at least this IoU with a ground-truth box learn it.
        bipartite_only: leave out the second phase (Caffe's BIPARTITE).
        ignore_cross_boundary: boxes that reach outside the image take no part: they learn nothing, are no negatives,
            and are marked -2.
    """
    crossing = ((default_boxes < 0) | (default_boxes > 1)).any(dim=1) if ignore_cross_boundary else None
    overlaps = _measure(default_boxes, boxes_xyxy, valid, crossing)
    ground_truth, own = _one_to_one(overlaps)
    if not bipartite_only:
        joins = (ground_truth == UNMATCHED) & (overlaps.best >= overlap_threshold) & (overlaps.best > LEAST_OVERLAP)
        ground_truth = torch.where(joins, overlaps.nearest, ground_truth)
    if crossing is not None:
        ground_truth = ground_truth.masked_fill(crossing, CROSSING)
    return Matches(ground_truth, own)


def _measure(
    default_boxes: Float[Tensor, "K 4"],
    boxes_xyxy: Float[Tensor, "B R 4"],
    valid: Bool[Tensor, "B R"],
    crossing: Bool[Tensor, " K"] | None,
) -> _Overlaps:
    """All overlaps, computed once, one place at a time: the pieces stay in the processor's cache."""
    valid = valid & boxes_xyxy.isfinite().all(dim=2)  # a NaN would be every box's best rival, for ever
    places, images = valid.T.nonzero(as_tuple=True)
    columns = default_boxes.T.contiguous().T  # a coordinate of all boxes lies together: twice the speed
    table = columns.new_empty(len(places) + 1, len(columns))
    table[-1] = 0
    best = columns.new_full((len(valid), len(columns)), LEAST_OVERLAP)
    nearest = torch.full_like(best, UNMATCHED, dtype=torch.int64)
    counts: list[int] = valid.sum(dim=0).tolist()
    pieces = zip(torch.split(table[:-1], counts), torch.split(images, counts), strict=True)
    for place, (piece, of_images) in enumerate(pieces):
        piece.copy_(pairwise_iou(boxes_xyxy[of_images, place].to(columns), columns))
        if crossing is not None:
            piece.masked_fill_(crossing, 0)
        so_far = best[of_images]
        nearest[of_images] = torch.where(piece > so_far, place, nearest[of_images])
        best[of_images] = torch.maximum(piece, so_far)
    best.masked_fill_(nearest == UNMATCHED, 0)
    rows = torch.full_like(valid, len(places), dtype=torch.int64)
    rows[images, places] = torch.arange(len(places), device=rows.device)
    return _Overlaps(table, images, places, rows, best, nearest)


def _one_to_one(overlaps: _Overlaps) -> tuple[Int64[Tensor, "B K"], Float[Tensor, "B K"]]:
    """The greedy global assignment, in rounds that accept every pair which is the best of its box and of its object.

    Such a pair can be left out of the greedy order only by a better pair with the same box or object, and none exists;
    so all of them may be taken at once, and the result is the one-pair-at-a-time one. Takes the table apart.

    Returns:
        The ground-truth box of each box (-1 for none), and `Matches.overlaps`: IoU with it, else the box's best.
    """
    table, images, places, rows = overlaps.table, overlaps.images, overlaps.places, overlaps.rows
    ground_truth = torch.full_like(overlaps.nearest, UNMATCHED)
    own = overlaps.best.clone()
    value, box = table[:-1].max(dim=1)  # the first of equals: the lowest box
    active = (value > LEAST_OVERLAP).nonzero()[:, 0]
    while len(active):
        rivals = table[rows[images[active]], box[active, None]]  # all ground-truth boxes of the image, at the box
        wins = rivals.argmax(dim=1) == places[active]  # the first of equals: the lowest ground-truth box
        winners = active[wins]
        of_images, taken = images[winners], box[winners]
        ground_truth[of_images, taken] = places[winners]
        own[of_images, taken] = value[winners]
        table[rows[of_images], taken[:, None]] = 0  # the box is gone for every ground-truth box of the image,
        rows[of_images, places[winners]] = len(images)  # and the ground-truth box is no rival any more
        active = active[~wins]
        lost = active[table[active, box[active]] == 0]
        value[lost], box[lost] = table[lost].max(dim=1)
        active = active[value[active] > LEAST_OVERLAP]
    return ground_truth, own


@torch.no_grad()
def assign(
    default_boxes: Float[Tensor, "K 4"],
    boxes_xyxy: Float[Tensor, "B R 4"],
    classes: Int64[Tensor, "B R"],
    variances: tuple[float, float, float, float],
    *,
    overlap_threshold: float = 0.5,
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
        overlap_threshold: boxes of at least this IoU with a ground-truth box learn it.
        bipartite_only: one box a ground-truth box and no more.
        ignore_cross_boundary: boxes that reach outside the image neither learn nor are negatives; their overlap
            is set to 1, which no negative threshold lets pass.
        code: of the box coder.
    """
    valid = classes > 0
    matches = match(
        default_boxes,
        boxes_xyxy,
        valid,
        overlap_threshold=overlap_threshold,
        bipartite_only=bipartite_only,
        ignore_cross_boundary=ignore_cross_boundary,
    )
    images, boxes = (matches.ground_truth >= 0).nonzero(as_tuple=True)
    ground_truth = matches.ground_truth[images, boxes]
    offsets = default_boxes.new_zeros(*matches.ground_truth.shape, 4)
    offsets[images, boxes] = encode(
        boxes_xyxy[images, ground_truth].to(default_boxes), default_boxes[boxes], variances, code=code
    )
    target_classes = torch.zeros_like(matches.ground_truth)
    target_classes[images, boxes] = classes[images, ground_truth]
    return Targets(
        offsets, target_classes, matches.overlaps.masked_fill(matches.ground_truth == CROSSING, 1), valid.any(dim=1)
    )
