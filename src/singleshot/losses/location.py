"""How far predicted offsets are from encoded truths: eq. 2, Liu et al. 2016, MultiBox's squared error, and overlaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from singleshot.box_coder import decode
from singleshot.boxes import area

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor


def smooth_l1(predicted: Float[Tensor, "n 4"], truth: Float[Tensor, "n 4"]) -> Float[Tensor, ""]:
    """Sum of smooth L1 over all coordinates: x^2 / 2 where |x| < 1, else |x| - 1/2 (eq. 2; Caffe SmoothL1LossLayer)."""
    return F.smooth_l1_loss(predicted, truth, reduction="sum", beta=1.0)


def squared_error(predicted: Float[Tensor, "n 4"], truth: Float[Tensor, "n 4"]) -> Float[Tensor, ""]:
    """Sum of x^2 / 2 over all coordinates (MultiBox, Szegedy et al. 2014; Caffe EuclideanLossLayer)."""
    return F.mse_loss(predicted, truth, reduction="sum") / 2


def giou_loss(
    predicted: Float[Tensor, "n 4"], truth: Float[Tensor, "n 4"], variances: Sequence[float]
) -> Float[Tensor, ""]:
    """Sum of 1 - GIoU of the boxes that the offsets stand for (Rezatofighi et al. 2019).

    Ratios of areas are the same in any unit along each axis; so each pair is decoded in units of its default box, which
    need not be known. A truth without area has no finite offsets and is the caller's to mask.
    """
    unit = predicted.new_tensor([-0.5, -0.5, 0.5, 0.5])
    first, second = decode(predicted, unit, variances), decode(truth, unit, variances)
    common = _area_between(torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:]))
    united = area(first) + area(second) - common
    around = _area_between(torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:]))
    return (1 - common / united + (around - united) / around).sum()


def _area_between(top_left: Float[Tensor, "n 2"], bottom_right: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    return (bottom_right - top_left).clip(min=0).prod(dim=1)
