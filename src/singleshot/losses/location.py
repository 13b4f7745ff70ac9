"""How far predicted offsets are from encoded truths: eq. 2, Liu et al. 2016, and MultiBox's squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def smooth_l1(predicted: Float[Tensor, "n 4"], truth: Float[Tensor, "n 4"]) -> Float[Tensor, ""]:
    """Sum of smooth L1 over all coordinates: x^2 / 2 where |x| < 1, else |x| - 1/2 (eq. 2; Caffe SmoothL1LossLayer)."""
    return F.smooth_l1_loss(predicted, truth, reduction="sum", beta=1.0)


def squared_error(predicted: Float[Tensor, "n 4"], truth: Float[Tensor, "n 4"]) -> Float[Tensor, ""]:
    """Sum of x^2 / 2 over all coordinates (MultiBox, Szegedy et al. 2014; Caffe EuclideanLossLayer)."""
    return F.mse_loss(predicted, truth, reduction="sum") / 2
