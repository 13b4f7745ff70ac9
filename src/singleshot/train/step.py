"""One update of the weights: forward, match, loss, backward, optimizer."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from singleshot.errors import NonFiniteLossError
from singleshot.models.ssd import SSD
from singleshot.ssd.loss import multibox_loss
from singleshot.ssd.matching import assign
from singleshot.ssd.tensors import Batch, Targets
from singleshot.train.distributed import Ranks
from singleshot.train.optimizer import Optimizer, clip_gradients
from singleshot.train.recipe import Recipe

ALONE = Ranks()
# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


@dataclass(frozen=True)
class StepLosses:
    """What one update saw: the losses (already divided by the matched boxes, Caffe's VALID) and its positives."""

    loss: float
    location: float
    confidence: float
    matched: int


class Normaliser:
    """uint8 images to the network's input on the device, (pixel - mean) / std in the network's channel order."""

    def __init__(self, model: SSD, device: torch.device) -> None:
        preprocess = model.spec.preprocess
        self.reverse = preprocess.channel_order == "bgr"
        order = slice(None, None, -1) if self.reverse else slice(None)
        self.mean = torch.tensor(preprocess.mean_rgb[order], device=device).view(3, 1, 1)
        self.scale = 1 / torch.tensor(preprocess.std_rgb[order], device=device).view(3, 1, 1)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """RGB uint8 (B, 3, H, W), channels last in memory, to float32 of the same layout."""
        values = images.to(torch.float32, memory_format=torch.channels_last)
        if self.reverse:
            values = values.flip(1)
        return values.sub_(self.mean).mul_(self.scale)


def train_step(
    model: SSD,
    optimizer: Optimizer,
    parts: Sequence[Batch],
    *,
    recipe: Recipe,
    normalise: Normaliser,
    autocast: torch.dtype | None,
    step: int,
    ranks: Ranks = ALONE,
    sharing: nn.Module | None = None,
) -> StepLosses:
    """One update from the gradients of all parts of a batch, averaged (Caffe's iter_size).

    Args:
        model: in training mode, on the parts' device.
        optimizer: its `learning_rate` already set for this step.
        parts: batches of raw images.
        recipe: loss and matching settings.
        normalise: pixels to network input.
        autocast: compute type of the network, None for float32; matching and loss are always float32.
        step: for messages.
        ranks: the processes that learn together.
        sharing: the model as `Ranks.ddp_model` gives it; None: the model itself.

    Raises:
        NonFiniteLossError: loss or gradient; names step, terms and images. The weights have not been touched.
    """
    optimizer.zero_grad(set_to_none=True)
    device = model.default_boxes.device
    figures = []
    for number, part in enumerate(parts, 1):
        batch = part.to(device)
        if isinstance(sharing, DistributedDataParallel):
            sharing.require_backward_grad_sync = number == len(parts)  # the sum of all parts is sent once
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            predictions = (sharing or model)(normalise(batch.images))
        targets = assign(
            model.default_boxes,
            batch.boxes_xyxy,
            batch.classes,
            model.spec.boxes.variances,
            overlap_threshold=recipe.iou_threshold,
            ignore_cross_boundary=not recipe.boundary_boxes,
        )
        loss = multibox_loss(
            predictions,
            targets,
            negative_ratio=recipe.negative_ratio,
            alpha=recipe.localisation_weight,
            location_loss=recipe.localisation_loss,
            confidence_loss=recipe.confidence_loss,
            mining="max_negative" if recipe.mines else "none",
            variances=model.spec.boxes.variances,
            label_smoothing=recipe.label_smoothing,
            normalizer=_over_all(ranks, targets) if recipe.normalise == "global" else None,
        )
        terms = (loss.total, loss.location, loss.confidence)
        total, location, confidence = torch.stack(terms).detach().tolist()
        seen = StepLosses(total, location, confidence, int(loss.num_matched))
        _require_finite(seen, batch.names, step)
        (loss.total / len(parts)).backward()  # type: ignore[no-untyped-call]
        figures.append(seen)
    if not clip_gradients(model, model.backbone, recipe.grad_clip_norm):
        names = [name for part in parts for name in part.names]
        raise NonFiniteLossError(_not_finite(step, "the gradient", names))
    optimizer.step()
    count = len(figures)
    return StepLosses(
        sum(f.loss for f in figures) / count,
        sum(f.location for f in figures) / count,
        sum(f.confidence for f in figures) / count,
        sum(f.matched for f in figures),
    )


def _over_all(ranks: Ranks, targets: Targets) -> torch.Tensor | None:
    """The divisor with which the mean over the ranks is the sum of all losses by the matched boxes of all."""
    if ranks.world == 1:
        return None
    return ranks.total(targets.matched.sum().float()).clip(min=1) / ranks.world


def _require_finite(figures: StepLosses, names: Sequence[str], step: int) -> None:
    terms = {"location": figures.location, "confidence": figures.confidence}
    bad = [f"{name} = {value}" for name, value in terms.items() if not torch.isfinite(torch.tensor(value))]
    if bad or not torch.isfinite(torch.tensor(figures.loss)):
        raise NonFiniteLossError(_not_finite(step, f"the loss ({', '.join(bad) or 'sum'})", names))


def _not_finite(step: int, what: str, names: Sequence[str]) -> str:
    return (
        f"step {step}: {what} is not finite on {', '.join(names)}; the last good checkpoint is kept. "
        "Check the data (ssd data check) or lower --learning-rate"
    )


def keep_freed_memory() -> None:
    """Stop glibc from handing large freed blocks back to the kernel; nothing where the C library is another one.

    A step on the CPU allocates and frees the same activations, up to 80 MB each, again and again. glibc maps and unmaps
    each, and the kernel fills some 150,000 pages with zeros every step: a quarter to a third of an SSDLite step. The
    process then keeps its peak, which is no higher than before.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_M_MMAP_THRESHOLD, _NEVER)
    library.mallopt(_M_TRIM_THRESHOLD, _NEVER)
