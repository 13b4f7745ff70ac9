"""One step of training: forward, match, loss, backward, update of the weights."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.parallel import DistributedDataParallel

from singleshot.errors import NonFiniteLossError
from singleshot.models.ssd import SSD
from singleshot.ssd.default_boxes import cells_wh
from singleshot.ssd.loss import LossSettings, MultiBoxLoss, multibox_loss
from singleshot.ssd.matching import assign
from singleshot.ssd.quality_loss import quality_loss
from singleshot.ssd.task_aligned import assign_task_aligned
from singleshot.ssd.tensors import Batch, Predictions, Targets
from singleshot.train.distributed import ALONE, Ranks
from singleshot.train.optimizer import Optimizer, clip_gradients
from singleshot.train.recipe import Recipe

# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1


@dataclass(frozen=True, eq=False)
class LossTerms:
    """What a loss of one's own returns; `multibox_loss` returns a `MultiBoxLoss`, which has these and more.

    Attributes:
        total: scalar that is differentiated.
        location: its part from the offsets, for the log.
        confidence: its part from the classes, for the log.
        num_matched: matched default boxes in the batch, for the log.
    """

    total: torch.Tensor
    location: torch.Tensor
    confidence: torch.Tensor
    num_matched: torch.Tensor


LossFunction = Callable[[Predictions, Targets], LossTerms | MultiBoxLoss]
"""The loss of a batch, from the network's output and the targets assigned to the default boxes."""


@dataclass(frozen=True)
class StepLosses:
    """The losses of one step, each divided by the matched boxes (Caffe's VALID), and how many boxes matched."""

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


def loss_settings(recipe: Recipe, variances: tuple[float, float, float, float]) -> LossSettings:
    """The loss that a recipe asks for."""
    return LossSettings(
        alpha=recipe.localisation_weight,
        location_loss=recipe.localisation_loss,
        confidence_loss=recipe.confidence_loss,
        label_smoothing=recipe.label_smoothing,
        mining="max_negative" if recipe.mines else "none",
        negative_ratio=recipe.negative_ratio,
        variances=variances,
    )


class TrainStep:
    """One optimizer step: forward, matching, loss, backward, gradient clipping, update of the weights.

    Args:
        model: in training mode, on its device.
        optimizer: its `learning_rate` is set before each step.
        recipe: settings of matching, loss and clipping.
        autocast: compute type of the network, None for float32; matching and loss are always float32.
        ranks: the processes that train together; gradients are averaged over them.
        loss: instead of the recipe's loss.
    """

    def __init__(
        self,
        model: SSD,
        optimizer: Optimizer,
        recipe: Recipe,
        *,
        autocast: torch.dtype | None = None,
        ranks: Ranks = ALONE,
        loss: LossFunction | None = None,
    ) -> None:
        self.model, self.optimizer, self.recipe, self.autocast, self.ranks = model, optimizer, recipe, autocast, ranks
        self.device = model.default_boxes.device
        self._loss = loss or self._recipe_loss
        self._normalise = Normaliser(model, self.device)
        cells = cells_wh(model.map_sizes_hw, [boxes.boxes_per_cell for boxes in model.spec.boxes.maps])
        self._cells_wh = torch.as_tensor(cells, device=self.device)
        self._ddp_model = ranks.ddp_model(model)

    def __call__(self, batches: Sequence[Batch], *, step: int) -> StepLosses:
        """One update from the gradients of all batches, averaged (Caffe's iter_size).

        Args:
            batches: of raw images: a step's images are cut into several to save memory.
            step: named in errors.

        Raises:
            NonFiniteLossError: loss or gradient; names step, terms and images. The weights have not been touched.
        """
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for number, batch in enumerate(batches, 1):
            if isinstance(self._ddp_model, DistributedDataParallel):  # gradients are sent once, with the last batch
                self._ddp_model.require_backward_grad_sync = number == len(batches)
            loss = self._loss(*self._forward(batch.to(self.device)))
            total, location, confidence = torch.stack((loss.total, loss.location, loss.confidence)).detach().tolist()
            losses.append(StepLosses(total, location, confidence, int(loss.num_matched)))
            _require_finite(losses[-1], batch.names, step)
            (loss.total / len(batches)).backward()  # type: ignore[no-untyped-call]
        if not clip_gradients(self.model, self.model.backbone, self.recipe.grad_clip_norm):
            names = [name for batch in batches for name in batch.names]
            raise NonFiniteLossError(_not_finite(step, "the gradient", names))
        self.optimizer.step()
        count = len(losses)
        return StepLosses(
            sum(each.loss for each in losses) / count,
            sum(each.location for each in losses) / count,
            sum(each.confidence for each in losses) / count,
            sum(each.matched for each in losses),
        )

    def _forward(self, batch: Batch) -> tuple[Predictions, Targets]:
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            predictions = self._ddp_model(self._normalise(batch.images))
        return predictions, self._targets(predictions, batch)

    def _targets(self, predictions: Predictions, batch: Batch) -> Targets:
        model, recipe = self.model, self.recipe
        if recipe.assignment == "task_aligned":
            return assign_task_aligned(
                model.default_boxes,
                self._cells_wh,
                predictions,
                batch.boxes_xyxy,
                batch.classes,
                model.spec.boxes.variances,
            )
        return assign(
            model.default_boxes,
            batch.boxes_xyxy,
            batch.classes,
            model.spec.boxes.variances,
            iou_threshold=recipe.iou_threshold,
            ignore_cross_boundary=not recipe.boundary_boxes,
        )

    def _recipe_loss(self, predictions: Predictions, targets: Targets) -> MultiBoxLoss:
        recipe, variances = self.recipe, self.model.spec.boxes.variances
        normalizer = self._matched_of_all_ranks(targets) if recipe.normalise == "global" else None
        if recipe.confidence_loss == "varifocal":
            alpha = recipe.localisation_weight
            return quality_loss(predictions, targets, variances=variances, alpha=alpha, normalizer=normalizer)
        return multibox_loss(predictions, targets, loss_settings(recipe, variances), normalizer=normalizer)

    def _matched_of_all_ranks(self, targets: Targets) -> torch.Tensor | None:
        """Divided by this, the mean over the ranks is the sum of all losses by the matched boxes of all ranks."""
        if self.ranks.world == 1:
            return None
        count = targets.matched.sum().float() if targets.quality is None else targets.quality.sum()
        return self.ranks.total(count).clip(min=1) / self.ranks.world


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
