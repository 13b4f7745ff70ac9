"""Which truth each default box learns: Caffe's matching (paper section 2.2, "Matching strategy").

B pictures, K default boxes, R truths at most a picture, T truths in all of them.

First a greedy one-to-one assignment: of all pairs the one with the greatest IoU, then the greatest of what is left.
Then every box without truth takes its best truth if their IoU reaches the threshold. Ties go to the lowest box, then to
the lowest truth; an IoU of at most 1e-6 never matches (Caffe bbox_util.cpp, MatchBBox).
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
    """IoU of every truth that is there with all default boxes, and the same seen from the boxes.

    Rows are sorted by the truth's place within its picture, then by picture, so that no work is spent on padding.

    Attributes:
        table: IoU of each truth with each box, and a last row of zeros that stands for padding.
        pictures: picture of each truth.
        places: the truth's row within its picture.
        rows: row of the table of each truth of each picture; T for padding.
        best: greatest IoU of each box, 0 where none exceeds 1e-6.
        nearest: the (lowest) truth that has it.
    """

    table: Float[Tensor, "T+1 K"]
    pictures: Int64[Tensor, " T"]
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
    """Match default boxes and truths, a batch at a time, as Caffe does (bbox_util.cpp, FindMatches and MatchBBox).

    Laws: a truth that overlaps a box which no better pair wants gets a box; no truth loses its box to another
    truth's threshold match; padding changes nothing.

    Args:
        default_boxes: corners as fractions of the picture, not clipped.
        boxes_xyxy: truths as fractions of the picture; rows that are not `valid` may hold anything.
        valid: which rows are truths; one that is not finite matches nothing, as one without area.
        overlap_threshold: boxes of at least this IoU with a truth learn it.
        bipartite_only: leave out the second phase (Caffe's BIPARTITE).
        ignore_cross_boundary: boxes that reach outside the picture take no part: they learn nothing, are no negatives,
            and are marked -2.
    """
    crossing = ((default_boxes < 0) | (default_boxes > 1)).any(dim=1) if ignore_cross_boundary else None
    overlaps = _measure(default_boxes, boxes_xyxy, valid, crossing)
    truths, own = _one_to_one(overlaps)
    if not bipartite_only:
        joins = (truths == UNMATCHED) & (overlaps.best >= overlap_threshold) & (overlaps.best > LEAST_OVERLAP)
        truths = torch.where(joins, overlaps.nearest, truths)
    if crossing is not None:
        truths = truths.masked_fill(crossing, CROSSING)
    return Matches(truths, own)


def _measure(
    default_boxes: Float[Tensor, "K 4"],
    boxes_xyxy: Float[Tensor, "B R 4"],
    valid: Bool[Tensor, "B R"],
    crossing: Bool[Tensor, " K"] | None,
) -> _Overlaps:
    """All overlaps, computed once, one place at a time: the pieces stay in the processor's cache."""
    valid = valid & boxes_xyxy.isfinite().all(dim=2)  # a NaN would be every box's best rival, for ever
    places, pictures = valid.T.nonzero(as_tuple=True)
    columns = default_boxes.T.contiguous().T  # a coordinate of all boxes lies together: twice the speed
    table = columns.new_empty(len(places) + 1, len(columns))
    table[-1] = 0
    best = columns.new_full((len(valid), len(columns)), LEAST_OVERLAP)
    nearest = torch.full_like(best, UNMATCHED, dtype=torch.int64)
    counts: list[int] = valid.sum(dim=0).tolist()
    pieces = zip(torch.split(table[:-1], counts), torch.split(pictures, counts), strict=True)
    for place, (piece, of_pictures) in enumerate(pieces):
        piece.copy_(pairwise_iou(boxes_xyxy[of_pictures, place].to(columns), columns))
        if crossing is not None:
            piece.masked_fill_(crossing, 0)
        so_far = best[of_pictures]
        nearest[of_pictures] = torch.where(piece > so_far, place, nearest[of_pictures])
        best[of_pictures] = torch.maximum(piece, so_far)
    best.masked_fill_(nearest == UNMATCHED, 0)
    rows = torch.full_like(valid, len(places), dtype=torch.int64)
    rows[pictures, places] = torch.arange(len(places), device=rows.device)
    return _Overlaps(table, pictures, places, rows, best, nearest)


def _one_to_one(overlaps: _Overlaps) -> tuple[Int64[Tensor, "B K"], Float[Tensor, "B K"]]:
    """The greedy global assignment, in rounds that accept every pair which is the best of its box and of its truth.

    Such a pair can only be left out of the greedy order by a better pair with the same box or truth, and there is none;
    so all of them may be taken at once, and the result is the one-pair-at-a-time one. Takes the table apart.

    Returns:
        The truth of each box (-1 for none), and `Matches.overlaps`: IoU with it, else the box's best.
    """
    table, pictures, places, rows = overlaps.table, overlaps.pictures, overlaps.places, overlaps.rows
    truths = torch.full_like(overlaps.nearest, UNMATCHED)
    own = overlaps.best.clone()
    value, box = table[:-1].max(dim=1)  # the first of equals: the lowest box
    active = (value > LEAST_OVERLAP).nonzero()[:, 0]
    while len(active):
        rivals = table[rows[pictures[active]], box[active, None]]  # all truths of the picture, at the box
        wins = rivals.argmax(dim=1) == places[active]  # the first of equals: the lowest truth
        winners = active[wins]
        of_pictures, taken = pictures[winners], box[winners]
        truths[of_pictures, taken] = places[winners]
        own[of_pictures, taken] = value[winners]
        table[rows[of_pictures], taken[:, None]] = 0  # the box is gone for every truth of the picture,
        rows[of_pictures, places[winners]] = len(pictures)  # and the truth is no rival any more
        active = active[~wins]
        lost = active[table[active, box[active]] == 0]
        value[lost], box[lost] = table[lost].max(dim=1)
        active = active[value[active] > LEAST_OVERLAP]
    return truths, own


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
        default_boxes: corners as fractions of the picture.
        boxes_xyxy: truths as fractions of the picture, padded.
        classes: 1..L, and 0 where a row is padding.
        variances: of the box coder.
        overlap_threshold: boxes of at least this IoU with a truth learn it.
        bipartite_only: one box a truth and no more.
        ignore_cross_boundary: boxes that reach outside the picture neither learn nor are negatives; their overlap
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
    pictures, boxes = (matches.truths >= 0).nonzero(as_tuple=True)
    truths = matches.truths[pictures, boxes]
    offsets = default_boxes.new_zeros(*matches.truths.shape, 4)
    offsets[pictures, boxes] = encode(
        boxes_xyxy[pictures, truths].to(default_boxes), default_boxes[boxes], variances, code=code
    )
    target_classes = torch.zeros_like(matches.truths)
    target_classes[pictures, boxes] = classes[pictures, truths]
    return Targets(
        offsets, target_classes, matches.overlaps.masked_fill(matches.truths == CROSSING, 1), valid.any(dim=1)
    )
