"""The loss of detectors whose scores say how well a box fits (Zhang et al. 2021, VarifocalNet).

Each class has a sigmoid. A default box that learns an object is to score as high as its quality, 0..1, and all others
0: no negatives are mined, since those that are right already weigh little. The location loss weighs each box by its
quality, too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from singleshot.shapes import Float
from singleshot.ssd.loss import MultiBoxLoss, giou_losses, weighted_sum
from singleshot.ssd.tensors import Predictions, Targets

ALPHA, GAMMA = 0.75, 2.0
"""Of the boxes that learn nothing: their weight is alpha score^gamma."""


def quality_loss(
    predictions: Predictions,
    targets: Targets,
    *,
    variances: tuple[float, float, float, float],
    alpha: float = 2.0,
    normalizer: Tensor | None = None,
) -> MultiBoxLoss:
    """Varifocal loss of the scores + alpha x GIoU loss of the boxes, in float32, divided by the sum of qualities.

    Args:
        predictions: the network's raw output, with sigmoid scores; logit 0 (background) is not used.
        targets: of `assign_task_aligned`, with qualities.
        variances: of the box coder.
        alpha: weight of the GIoU loss.
        normalizer: instead of the sum of the qualities, at least 1.
    """
    assert targets.quality is not None
    offsets, logits, quality = predictions.offsets.float(), predictions.logits.float(), targets.quality
    rows = targets.matched.flatten().nonzero()[:, 0]
    wanted = torch.zeros_like(logits).scatter_(2, targets.classes[:, :, None], quality[:, :, None])
    errors = giou_losses(offsets.flatten(0, 1)[rows], targets.offsets.flatten(0, 1)[rows], variances)
    return weighted_sum(
        (errors * quality.flatten()[rows]).sum(),
        varifocal_loss(logits[:, :, 1:], wanted[:, :, 1:]).sum(),
        quality.sum().clip(min=1) if normalizer is None else normalizer,
        alpha=alpha,
        matched=targets.matched,
        negatives=~targets.matched,
    )


def varifocal_loss(logits: Float[Tensor, "*n"], quality: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Binary cross entropy, weighed by the quality, and as background where that is 0 (Zhang et al. 2021, eq. 2)."""
    weight = torch.where(quality > 0, quality, ALPHA * logits.detach().sigmoid() ** GAMMA)
    return weight * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
