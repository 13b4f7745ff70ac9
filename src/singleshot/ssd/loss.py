"""The training loss of SSD: eq. 1, Liu et al. 2016. L = (L_conf + alpha L_loc) / N."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from singleshot.boxes import area
from singleshot.errors import RequestError, UnknownNameError
from singleshot.shapes import Bool, Float, Int64
from singleshot.ssd.coder import decode
from singleshot.ssd.tensors import Predictions, Targets

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
    ground_truth = F.one_hot(classes, logits.shape[1]).to(logits)
    return F.binary_cross_entropy_with_logits(logits, ground_truth, reduction="none").sum(dim=1)


def background_softmax_loss(logits: Float[Tensor, "B K C"]) -> Float[Tensor, "B K"]:
    """-log p(background) with Caffe's rounding, as mining ranks by it (bbox_util.cpp, ComputeConfLoss)."""
    return -torch.softmax(logits, dim=-1)[..., 0].clip(min=LEAST_PROBABILITY).log()


def background_logistic_loss(logits: Float[Tensor, "B K C"]) -> Float[Tensor, "B K"]:
    """The logistic loss of every box if it is background."""
    return F.softplus(logits).sum(dim=-1) - logits[..., 0]


def smooth_l1(predicted: Float[Tensor, "n 4"], ground_truth: Float[Tensor, "n 4"]) -> Float[Tensor, ""]:
    """Sum of smooth L1 over all coordinates: x^2 / 2 where |x| < 1, else |x| - 1/2 (eq. 2; Caffe SmoothL1LossLayer)."""
    return F.smooth_l1_loss(predicted, ground_truth, reduction="sum", beta=1.0)


def squared_error(predicted: Float[Tensor, "n 4"], ground_truth: Float[Tensor, "n 4"]) -> Float[Tensor, ""]:
    """Sum of x^2 / 2 over all coordinates (MultiBox, Szegedy et al. 2014; Caffe EuclideanLossLayer)."""
    return F.mse_loss(predicted, ground_truth, reduction="sum") / 2


def giou_loss(
    predicted: Float[Tensor, "n 4"], ground_truth: Float[Tensor, "n 4"], variances: Sequence[float]
) -> Float[Tensor, ""]:
    """Sum of 1 - GIoU of the boxes that the offsets stand for (Rezatofighi et al. 2019).

    Ratios of areas are the same in any unit along each axis; so each pair is decoded in units of its default box, which
    need not be known. A ground-truth box without area has no finite offsets and is the caller's to mask.
    """
    unit = predicted.new_tensor([-0.5, -0.5, 0.5, 0.5])
    first, second = decode(predicted, unit, variances), decode(ground_truth, unit, variances)
    common = _area_between(torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:]))
    united = area(first) + area(second) - common
    around = _area_between(torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:]))
    return (1 - common / united + (around - united) / around).sum()


def _area_between(top_left: Float[Tensor, "n 2"], bottom_right: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    return (bottom_right - top_left).clip(min=0).prod(dim=1)


@torch.no_grad()
def hardest(
    losses: Float[Tensor, "B K"], eligible: Bool[Tensor, "B K"], counts: Int64[Tensor, " B"]
) -> Bool[Tensor, "B K"]:
    """The `counts` greatest losses among the eligible boxes of each image; of equals the lowest box.

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
    """The negatives that take part, an image at a time (Caffe bbox_util.cpp, MineHardExamples with MAX_NEGATIVE).

    Of the unmatched boxes whose best IoU lies below `negative_overlap`, the int(`negative_ratio` x positives) with the
    greatest -log p(background), so that negatives and positives are at most 3:1.

    Args:
        background_losses: loss of each box if it is background.
        matched: positives.
        overlaps: see `Targets.overlaps`.
        negative_ratio: negatives a positive.
        negative_overlap: boxes that overlap a ground-truth box this much are neither.
        minimum_negatives: at least so many an image where there are enough. Caffe has 0: an image without matched
            boxes teaches nothing.
    """
    eligible = ~matched & (overlaps < negative_overlap)
    positives = matched.sum(dim=1)
    counts = (positives.float() * negative_ratio).long().clip(min=minimum_negatives)
    return hardest(background_losses, eligible, counts)


OFFSET_LOSSES = {"smooth_l1": smooth_l1, "l2": squared_error}
BOX_LOSSES = {"giou": giou_loss}
LOCATION_LOSSES = (*OFFSET_LOSSES, *BOX_LOSSES)
CONFIDENCE_LOSSES: dict[str, tuple[Callable[..., Tensor], Callable[[Tensor], Tensor]]] = {
    "softmax": (softmax_loss, background_softmax_loss),
    "focal": (focal_loss, background_softmax_loss),
    "logistic": (logistic_loss, background_logistic_loss),
}
NORMALIZATIONS = ("valid", "batch_size", "full", "none")
MININGS = ("max_negative", "none")


@dataclass(frozen=True, eq=False)
class MultiBoxLoss:
    """The loss of a batch and its terms; only `total` carries gradients.

    Attributes:
        total: confidence + alpha x location; what training minimises.
        location: L_loc / N, without alpha.
        confidence: L_conf / N.
        location_sum: L_loc over matched boxes, not divided.
        confidence_sum: L_conf over matched boxes and negatives, not divided.
        normalizer: N, at least 1.
        num_matched: matched boxes in the batch.
        negatives: the boxes that take part as background.
    """

    total: Float[Tensor, ""]
    location: Float[Tensor, ""]
    confidence: Float[Tensor, ""]
    location_sum: Float[Tensor, ""]
    confidence_sum: Float[Tensor, ""]
    normalizer: Float[Tensor, ""]
    num_matched: Int64[Tensor, ""]
    negatives: Bool[Tensor, "B K"]


def multibox_loss(
    predictions: Predictions,
    targets: Targets,
    *,
    negative_ratio: float = 3.0,
    negative_overlap: float = 0.5,
    alpha: float = 1.0,
    normalization: str = "valid",
    mining: str = "max_negative",
    minimum_negatives: int = 0,
    location_loss: str = "smooth_l1",
    confidence_loss: str = "softmax",
    variances: Sequence[float] = (0.1, 0.1, 0.2, 0.2),
    label_smoothing: float = 0.0,
    normalizer: Tensor | None = None,
) -> MultiBoxLoss:
    """Eq. 1-3 (Caffe MultiBoxLossLayer), in float32 whatever the network computes in.

    A batch without matched boxes (and without `minimum_negatives`) has loss 0 and gradient 0. Values that are not
    finite are passed on: stopping is the trainer's.

    Args:
        predictions: the network's raw output.
        targets: what `assign` says.
        negative_ratio: see `hard_negatives`, as `negative_overlap` and `minimum_negatives`.
        negative_overlap: see there.
        alpha: weight of the location term.
        normalization: N is the number of matched boxes of this call (`valid`), B (`batch_size`), B x K (`full`) or
            1 (`none`); never below 1.
        mining: `max_negative`, or `none`: every unmatched box is a negative.
        minimum_negatives: see there.
        location_loss: `smooth_l1`, `l2` as in MultiBox, or `giou`.
        confidence_loss: `softmax`, `focal` (which wants `mining="none"`), or `logistic` as in MultiBox.
        variances: of the box coder, for losses on boxes.
        label_smoothing: see `softmax_loss`.
        normalizer: N, where the caller knows better than `normalization`.

    Raises:
        UnknownNameError: an option that does not exist.
    """
    _require("normalization", normalization, NORMALIZATIONS)
    _require("mining", mining, MININGS)
    _require("location loss", location_loss, LOCATION_LOSSES)
    if label_smoothing and confidence_loss != "softmax":
        raise RequestError(f"label smoothing goes with the softmax loss, not with {confidence_loss}")
    _require("confidence loss", confidence_loss, CONFIDENCE_LOSSES)
    offsets, logits = predictions.offsets.float(), predictions.logits.float()
    class_loss, background_loss = CONFIDENCE_LOSSES[confidence_loss]
    if label_smoothing:
        class_loss = partial(softmax_loss, smoothing=label_smoothing)
    matched = targets.matched
    negatives = ~matched
    if mining == "max_negative":
        negatives = hard_negatives(
            background_loss(logits.detach()),
            matched,
            targets.overlaps,
            negative_ratio=negative_ratio,
            negative_overlap=negative_overlap,
            minimum_negatives=minimum_negatives,
        )
    positive_rows = matched.flatten().nonzero()[:, 0]
    rows = (matched | negatives).flatten().nonzero()[:, 0]
    pairs = offsets.flatten(0, 1)[positive_rows], targets.offsets.flatten(0, 1)[positive_rows]
    if location_loss in BOX_LOSSES:
        location_sum = BOX_LOSSES[location_loss](*pairs, variances)
    else:
        location_sum = OFFSET_LOSSES[location_loss](*pairs)
    confidence_sum = class_loss(logits.flatten(0, 1)[rows], targets.classes.flatten()[rows]).sum()
    num_matched = matched.sum()
    if normalizer is None:
        normalizer = _normalizer(normalization, num_matched, matched)
    location, confidence = location_sum / normalizer, confidence_sum / normalizer
    return MultiBoxLoss(
        total=confidence + alpha * location,
        location=location.detach(),
        confidence=confidence.detach(),
        location_sum=location_sum.detach(),
        confidence_sum=confidence_sum.detach(),
        normalizer=normalizer,
        num_matched=num_matched,
        negatives=negatives,
    )


def _normalizer(normalization: str, num_matched: Int64[Tensor, ""], matched: Bool[Tensor, "B K"]) -> Float[Tensor, ""]:
    """N, at least 1 (Caffe loss_layer.cpp, GetNormalizer)."""
    if normalization == "valid":
        return num_matched.clip(min=1).float()
    counts = {"batch_size": matched.shape[0], "full": matched.numel(), "none": 1}
    return torch.tensor(float(max(1, counts[normalization])), device=matched.device)


def _require(kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UnknownNameError(kind, name, known)
