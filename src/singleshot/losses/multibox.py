"""The training loss of SSD: eq. 1, Liu et al. 2016. L = (L_conf + alpha L_loc) / N."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from singleshot.errors import RequestError, UnknownNameError
from singleshot.losses.confidence import (
    background_logistic_loss,
    background_softmax_loss,
    focal_loss,
    logistic_loss,
    softmax_loss,
)
from singleshot.losses.location import giou_loss, smooth_l1, squared_error
from singleshot.losses.mining import hard_negatives

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from jaxtyping import Bool, Float, Int64
    from torch import Tensor

    from singleshot.tensors import Predictions, Targets

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
