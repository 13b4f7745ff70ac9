"""How wrong class scores are, a box at a time: eq. 3, Liu et al. 2016, MultiBox's logistic and RetinaNet's focal loss.

All losses take n boxes with C scores and their class, 0 for background, and give n losses.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from torch import Tensor

LEAST_PROBABILITY = torch.finfo(torch.float32).tiny  # Caffe's FLT_MIN
GREATEST_LOSS = -math.log(LEAST_PROBABILITY)  # 87.34


def softmax_loss(
    logits: Float[Tensor, "n C"], classes: Int64[Tensor, " n"], *, smoothing: float = 0.0
) -> Float[Tensor, " n"]:
    """-log p(class) under the softmax (eq. 3), at most 87.34, with the gradient of the unlimited loss.

    Caffe SoftmaxWithLossLayer: the forward clamps p at FLT_MIN, the backward is p - onehot all the same, so that a box
    that is hopelessly wrong still learns. `smoothing` is the share of the target that all classes get alike.
    """
    loss = F.cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)
    return loss.detach().clip(max=GREATEST_LOSS) + (loss - loss.detach())


def focal_loss(
    logits: Float[Tensor, "n C"], classes: Int64[Tensor, " n"], *, gamma: float = 2.0, alpha: float = 0.25
) -> Float[Tensor, " n"]:
    """-w (1 - p)^gamma log p of the class under the softmax, w = alpha for objects and 1 - alpha for background.

    Lin et al. 2017, equation 5, for a softmax instead of their sigmoids, so that scores mean the same for every loss:
    what is easy counts little, and every box may take part instead of the mined ones.
    """
    log_p = logits.log_softmax(dim=1).gather(1, classes[:, None])[:, 0]
    weight = torch.where(classes > 0, alpha, 1 - alpha)
    return -weight * (1 - log_p.exp()) ** gamma * log_p


def logistic_loss(logits: Float[Tensor, "n C"], classes: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Binary cross entropy of every class, background among them, summed (Caffe SigmoidCrossEntropyLossLayer)."""
    truth = F.one_hot(classes, logits.shape[1]).to(logits)
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=1)


def background_softmax_loss(logits: Float[Tensor, "B K C"]) -> Float[Tensor, "B K"]:
    """-log p(background) with Caffe's rounding, as mining ranks by it (bbox_util.cpp, ComputeConfLoss)."""
    return -torch.softmax(logits, dim=-1)[..., 0].clip(min=LEAST_PROBABILITY).log()


def background_logistic_loss(logits: Float[Tensor, "B K C"]) -> Float[Tensor, "B K"]:
    """The logistic loss of every box if it is background."""
    return F.softplus(logits).sum(dim=-1) - logits[..., 0]
