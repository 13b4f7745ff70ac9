"""From truths to what the network should say: match, then encode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from singleshot.assign.matching import CROSSING, match
from singleshot.box_coder import Code, encode
from singleshot.tensors import Targets

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from torch import Tensor


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
