"""Hard negative mining: few of the many background boxes take part in the loss (paper section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from torch import Tensor


@torch.no_grad()
def hardest(
    losses: Float[Tensor, "B K"], eligible: Bool[Tensor, "B K"], counts: Int64[Tensor, " B"]
) -> Bool[Tensor, "B K"]:
    """The `counts` greatest losses among the eligible boxes of each picture; of equals the lowest box.

    Caffe sorts unstably: which of equals it takes is not defined there.
    """
    order = losses.masked_fill(~eligible, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return eligible & (ranks < counts[:, None])


@torch.no_grad()
def hard_negatives(
    background_losses: Float[Tensor, "B K"],
    matched: Bool[Tensor, "B K"],
    overlaps: Float[Tensor, "B K"],
    *,
    negative_ratio: float = 3.0,
    negative_overlap: float = 0.5,
    minimum_negatives: int = 0,
) -> Bool[Tensor, "B K"]:
    """The negatives that take part, a picture at a time (Caffe bbox_util.cpp, MineHardExamples with MAX_NEGATIVE).

    Of the unmatched boxes whose best IoU lies below `negative_overlap`, the int(`negative_ratio` x positives) with the
    greatest -log p(background), so that negatives and positives are at most 3:1.

    Args:
        background_losses: loss of each box if it is background.
        matched: positives.
        overlaps: see `Targets.overlaps`.
        negative_ratio: negatives a positive.
        negative_overlap: boxes that overlap a truth this much are neither.
        minimum_negatives: at least so many a picture where there are enough. Caffe has 0: a picture without matched
            boxes teaches nothing.
    """
    eligible = ~matched & (overlaps < negative_overlap)
    positives = matched.sum(dim=1)
    counts = (positives.float() * negative_ratio).long().clip(min=minimum_negatives)
    return hardest(background_losses, eligible, counts)
