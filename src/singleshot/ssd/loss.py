"""The training loss of SSD, Liu et al. 2016, in the paper's order: eq. 1, eq. 2, eq. 3, hard negative mining."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from singleshot.boxes import area
from singleshot.errors import RequestError, UnknownNameError
from singleshot.shapes import Bool, Float, Int64
from singleshot.ssd.coder import decode
from singleshot.ssd.tensors import Predictions, Targets

_CHOICES = {
    "location_loss": ("smooth_l1", "l2", "giou"),
    "confidence_loss": ("softmax", "focal", "logistic"),
    "mining": ("max_negative", "none"),
    "normalization": ("valid", "batch_size", "full", "none"),
}
LEAST_PROBABILITY = torch.finfo(torch.float32).tiny  # Caffe's FLT_MIN
GREATEST_LOSS = -math.log(LEAST_PROBABILITY)  # 87.34


@dataclass(frozen=True)
class LossSettings:
    """Every choice of the loss; the defaults are the paper's.

    Attributes:
        alpha: weight of the location loss in eq. 1.
        location_loss: `smooth_l1` (eq. 2), `l2` as in MultiBox, or `giou`.
        confidence_loss: `softmax` (eq. 3), `focal` (with `mining="none"`), or `logistic` as in MultiBox.
        label_smoothing: fraction of each class target that is spread over all classes, 0..1; `softmax` only.
        mining: `max_negative`, see `hard_negatives`, or `none`: every unmatched box is a negative.
        negative_ratio: hard negatives per positive, 3 in the paper.
        negative_iou_threshold: unmatched boxes whose best IoU reaches this are no negatives.
        minimum_negatives: least hard negatives of an image. Caffe has 0: an image without matched boxes adds no loss.
        normalization: what N of eq. 1 is: the matched boxes of the batch (`valid`), B (`batch_size`), B x K (`full`) or
            1 (`none`); never below 1.
        variances: of the box coder; the `giou` loss decodes with them.

    Raises:
        UnknownNameError: a choice that does not exist; RequestError: label smoothing without the softmax loss.
    """

    alpha: float = 1.0
    location_loss: str = "smooth_l1"
    confidence_loss: str = "softmax"
    label_smoothing: float = 0.0
    mining: str = "max_negative"
    negative_ratio: float = 3.0
    negative_iou_threshold: float = 0.5
    minimum_negatives: int = 0
    normalization: str = "valid"
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UnknownNameError(name, getattr(self, name), choices)
        if self.label_smoothing and self.confidence_loss != "softmax":
            raise RequestError(f"label_smoothing goes with the softmax loss, not with {self.confidence_loss}")


PAPER = LossSettings()


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
        negatives: the boxes that are trained as background.
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
    predictions: Predictions, targets: Targets, settings: LossSettings = PAPER, *, normalizer: Tensor | None = None
) -> MultiBoxLoss:
    """Eq. 1: L = (L_conf + alpha L_loc) / N (Caffe MultiBoxLossLayer), in float32 whatever the network computes in.

    A batch without matched boxes (and without `minimum_negatives`) has loss 0 and gradient 0. Values that are not
    finite are passed on; the training loop stops at them.

    Args:
        predictions: the network's raw output.
        targets: of `matching.assign`.
        settings: every choice of the loss.
        normalizer: N; None: by `settings.normalization`.
    """
    offsets, logits = predictions.offsets.float(), predictions.logits.float()
    matched = targets.matched
    negatives = _negatives(logits, targets, settings)
    positive_rows = matched.flatten().nonzero()[:, 0]
    rows = (matched | negatives).flatten().nonzero()[:, 0]
    location_sum = location_loss(
        offsets.flatten(0, 1)[positive_rows], targets.offsets.flatten(0, 1)[positive_rows], settings
    )
    confidence_sum = confidence_loss(logits.flatten(0, 1)[rows], targets.classes.flatten()[rows], settings).sum()
    if normalizer is None:
        normalizer = _normalizer(settings.normalization, matched)
    return weighted_sum(
        location_sum, confidence_sum, normalizer, alpha=settings.alpha, matched=matched, negatives=negatives
    )


def weighted_sum(
    location_sum: Float[Tensor, ""],
    confidence_sum: Float[Tensor, ""],
    normalizer: Float[Tensor, ""],
    *,
    alpha: float,
    matched: Bool[Tensor, "B K"],
    negatives: Bool[Tensor, "B K"],
) -> MultiBoxLoss:
    """Eq. 1 from the sums of its terms; see `MultiBoxLoss`."""
    location, confidence = location_sum / normalizer, confidence_sum / normalizer
    return MultiBoxLoss(
        total=confidence + alpha * location,
        location=location.detach(),
        confidence=confidence.detach(),
        location_sum=location_sum.detach(),
        confidence_sum=confidence_sum.detach(),
        normalizer=normalizer,
        num_matched=matched.sum(),
        negatives=negatives,
    )


def _normalizer(normalization: str, matched: Bool[Tensor, "B K"]) -> Float[Tensor, ""]:
    """N, at least 1 (Caffe loss_layer.cpp, GetNormalizer)."""
    if normalization == "valid":
        return matched.sum().clip(min=1).float()
    counts = {"batch_size": matched.shape[0], "full": matched.numel(), "none": 1}
    return torch.tensor(float(max(1, counts[normalization])), device=matched.device)


def location_loss(
    predicted: Float[Tensor, "n 4"], ground_truth: Float[Tensor, "n 4"], settings: LossSettings
) -> Float[Tensor, ""]:
    """L_loc: sum over the offsets of the matched boxes (eq. 2, or another loss by `settings.location_loss`)."""
    if settings.location_loss == "smooth_l1":
        return smooth_l1(predicted, ground_truth)
    if settings.location_loss == "l2":
        return squared_error(predicted, ground_truth)
    return giou_loss(predicted, ground_truth, settings.variances)


def smooth_l1(predicted: Float[Tensor, "n 4"], ground_truth: Float[Tensor, "n 4"]) -> Float[Tensor, ""]:
    """Sum of smooth L1 over all coordinates: x^2 / 2 where |x| < 1, else |x| - 1/2 (eq. 2; Caffe SmoothL1LossLayer)."""
    return F.smooth_l1_loss(predicted, ground_truth, reduction="sum", beta=1.0)


def squared_error(predicted: Float[Tensor, "n 4"], ground_truth: Float[Tensor, "n 4"]) -> Float[Tensor, ""]:
    """Sum of x^2 / 2 over all coordinates (MultiBox, Szegedy et al. 2014; Caffe EuclideanLossLayer)."""
    return F.mse_loss(predicted, ground_truth, reduction="sum") / 2


def giou_loss(
    predicted: Float[Tensor, "n 4"],
    ground_truth: Float[Tensor, "n 4"],
    variances: tuple[float, float, float, float],
) -> Float[Tensor, ""]:
    """Sum of 1 - GIoU of the decoded boxes, see `giou_losses`."""
    return giou_losses(predicted, ground_truth, variances).sum()


def giou_losses(
    predicted: Float[Tensor, "n 4"],
    ground_truth: Float[Tensor, "n 4"],
    variances: tuple[float, float, float, float],
) -> Float[Tensor, " n"]:
    """1 - GIoU of each pair of decoded boxes (Rezatofighi et al. 2019).

    IoU and GIoU do not depend on the unit of either axis; so each pair is decoded in units of its default box, which
    need not be known. A ground-truth box without area has no finite offsets; the caller has to mask it.
    """
    unit = predicted.new_tensor([-0.5, -0.5, 0.5, 0.5])
    first, second = decode(predicted, unit, variances), decode(ground_truth, unit, variances)
    common = _area_between(torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:]))
    union = area(first) + area(second) - common
    enclosing = _area_between(torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:]))
    return 1 - common / union + (enclosing - union) / enclosing


def _area_between(top_left: Float[Tensor, "n 2"], bottom_right: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    return (bottom_right - top_left).clip(min=0).prod(dim=1)


def confidence_loss(
    logits: Float[Tensor, "n C"], classes: Int64[Tensor, " n"], settings: LossSettings
) -> Float[Tensor, " n"]:
    """Each box's term of L_conf (eq. 3, or another loss by `settings.confidence_loss`)."""
    if settings.confidence_loss == "softmax":
        return softmax_loss(logits, classes, smoothing=settings.label_smoothing)
    if settings.confidence_loss == "focal":
        return focal_loss(logits, classes)
    return logistic_loss(logits, classes)


def softmax_loss(
    logits: Float[Tensor, "n C"], classes: Int64[Tensor, " n"], *, smoothing: float = 0.0
) -> Float[Tensor, " n"]:
    """-log p(class) under the softmax (eq. 3), at most 87.34, with the gradient of the unclamped loss.

    Caffe SoftmaxWithLossLayer: the forward clamps p at FLT_MIN, the backward is p - onehot all the same, so that a box
    whose class has probability 0 still has a gradient. `smoothing` is the fraction of the target that is spread over
    all classes.
    """
    loss = F.cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)
    return loss.detach().clip(max=GREATEST_LOSS) + (loss - loss.detach())


def focal_loss(
    logits: Float[Tensor, "n C"], classes: Int64[Tensor, " n"], *, gamma: float = 2.0, alpha: float = 0.25
) -> Float[Tensor, " n"]:
    """-w (1 - p)^gamma log p of the class under the softmax, w = alpha for objects and 1 - alpha for background.

    Lin et al. 2017, equation 5, for a softmax instead of their sigmoids, so that scores mean the same for every loss:
    easy boxes count little, so that all boxes can be trained instead of the mined ones.
    """
    log_p = logits.log_softmax(dim=1).gather(1, classes[:, None])[:, 0]
    weight = torch.where(classes > 0, alpha, 1 - alpha)
    return -weight * (1 - log_p.exp()) ** gamma * log_p


def logistic_loss(logits: Float[Tensor, "n C"], classes: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Binary cross entropy of every class, background among them, summed (Caffe SigmoidCrossEntropyLossLayer)."""
    onehot = F.one_hot(classes, logits.shape[1]).to(logits)
    return F.binary_cross_entropy_with_logits(logits, onehot, reduction="none").sum(dim=1)


def _negatives(logits: Float[Tensor, "B K C"], targets: Targets, settings: LossSettings) -> Bool[Tensor, "B K"]:
    """The boxes that are trained as background."""
    if settings.mining == "none":
        return ~targets.matched
    background_loss = background_logistic_loss if settings.confidence_loss == "logistic" else background_softmax_loss
    return hard_negatives(
        background_loss(logits.detach()),
        targets.matched,
        targets.ious,
        negative_ratio=settings.negative_ratio,
        negative_iou_threshold=settings.negative_iou_threshold,
        minimum_negatives=settings.minimum_negatives,
    )


@torch.no_grad()
def hard_negatives(
    background_losses: Float[Tensor, "B K"],
    matched: Bool[Tensor, "B K"],
    ious: Float[Tensor, "B K"],
    *,
    negative_ratio: float = 3.0,
    negative_iou_threshold: float = 0.5,
    minimum_negatives: int = 0,
) -> Bool[Tensor, "B K"]:
    """Hard negative mining of each image (Caffe bbox_util.cpp, MineHardExamples with MAX_NEGATIVE).

    Of the unmatched boxes whose best IoU lies below `negative_iou_threshold`, the int(`negative_ratio` x positives)
    with the greatest -log p(background), so that negatives and positives are at most 3:1.

    Args:
        background_losses: loss of each box as background.
        matched: the positives.
        ious: see `Targets.ious`.
        negative_ratio: see `LossSettings`, as the other two.
        negative_iou_threshold: see there.
        minimum_negatives: see there.
    """
    eligible = ~matched & (ious < negative_iou_threshold)
    positives = matched.sum(dim=1)
    counts = (positives.float() * negative_ratio).long().clip(min=minimum_negatives)
    return hardest(background_losses, eligible, counts)


@torch.no_grad()
def hardest(
    losses: Float[Tensor, "B K"], eligible: Bool[Tensor, "B K"], counts: Int64[Tensor, " B"]
) -> Bool[Tensor, "B K"]:
    """The `counts` greatest losses among the eligible boxes of each image; of equal ones the lowest box.

    Caffe's sort is unstable: which of equal losses it takes is undefined there.
    """
    order = losses.masked_fill(~eligible, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return eligible & (ranks < counts[:, None])


def background_softmax_loss(logits: Float[Tensor, "B K C"]) -> Float[Tensor, "B K"]:
    """-log p(background) with Caffe's rounding, as mining ranks by it (bbox_util.cpp, ComputeConfLoss)."""
    return -torch.softmax(logits, dim=-1)[..., 0].clip(min=LEAST_PROBABILITY).log()


def background_logistic_loss(logits: Float[Tensor, "B K C"]) -> Float[Tensor, "B K"]:
    """The logistic loss of every box as background."""
    return F.softplus(logits).sum(dim=-1) - logits[..., 0]
