"""Optimizers, the parameter groups with their learning rates, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from singleshot.train.recipe import Recipe

ROUNDING = 1e-6
"""Of a step: 2/3 of the number of steps, in floating point, may lie slightly above the whole number it stands for."""


class CaffeSGD(torch.optim.Optimizer):
    """SGD with the learning rate inside the velocity (Caffe sgd_solver.cpp, ComputeUpdateValue).

        g += weight_decay * w;  v = momentum * v + rate * g;  w -= v

    torch's SGD keeps the rate outside: after a drop of the rate the two differ for some ten steps.

    Args:
        groups: parameter groups with `params`, `rate_factor` (multiplies the learning rate) and `weight_decay`.
        learning_rate: base learning rate; set the attribute before a step to follow a schedule.
        momentum: fraction of the velocity kept at a step.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, learning_rate: float, momentum: float = 0.9) -> None:
        super().__init__(groups, {"rate_factor": 1.0, "weight_decay": 0.0})
        self.learning_rate = learning_rate
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        if closure is not None:
            raise TypeError("CaffeSGD takes no closure")
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            velocities = [self._velocity(p) for p in parameters]
            gradients: list[torch.Tensor] = [p.grad for p in parameters if p.grad is not None]
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))  # noqa: SLF001
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, gradients, alpha=self.learning_rate * group["rate_factor"])
            torch._foreach_sub_(parameters, velocities)

    def _velocity(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity: torch.Tensor = state["velocity"]
        return velocity


class AdamW(torch.optim.AdamW):
    """torch's AdamW (Loshchilov and Hutter 2019) with `CaffeSGD`'s interface for the learning rates.

    Its step size does not depend on the gradient's norm, which differs a hundredfold between a backbone with batch
    normalisation folded in and the layers after it.

    Args:
        groups: as for `CaffeSGD`; each group's weight decay is multiplied by its learning rate.
        learning_rate: base learning rate; set `learning_rate` before a step to follow a schedule.
        betas: decay of the running means of gradient and squared gradient.
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], *, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        super().__init__(groups, lr=learning_rate, betas=betas, foreach=True)
        self.learning_rate = learning_rate

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        for group in self.param_groups:
            group["lr"] = self.learning_rate * group["rate_factor"]
        super().step(closure)


Optimizer: TypeAlias = CaffeSGD | AdamW


def build_optimizer(model: nn.Module, recipe: Recipe, backbone: nn.Module | None = None) -> Optimizer:
    """The recipe's optimizer on the model's parameters."""
    groups = parameter_groups(model, recipe, backbone)
    if recipe.optimizer == "adamw":
        return AdamW(groups, learning_rate=recipe.learning_rate, betas=(recipe.momentum, 0.999))
    return CaffeSGD(groups, learning_rate=recipe.learning_rate, momentum=recipe.momentum)


def parameter_groups(model: nn.Module, recipe: Recipe, backbone: nn.Module | None = None) -> list[dict[str, Any]]:
    """Parameters grouped by learning-rate factor and weight decay.

    Biases have `bias_lr_factor` and no decay. Normalisation layers are not decayed: it would only change the learning
    rate of the weights before them; the scale of the L2 normalisation is (Caffe). Parameters of `backbone` have
    `backbone_lr_factor` on top.
    """
    of_backbone = {id(p) for p in backbone.parameters()} if backbone is not None else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            norm = isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)
            bias = name == "bias" and not norm
            factor = recipe.bias_lr_factor if bias else 1.0
            factor *= recipe.backbone_lr_factor if id(parameter) in of_backbone else 1.0
            groups.setdefault((factor, 0.0 if bias or norm else recipe.weight_decay), []).append(parameter)
    return [
        {"params": parameters, "rate_factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def clip_gradients(model: nn.Module, backbone: nn.Module, max_norm: float) -> bool:
    """Clip the gradient norm of the backbone and that of all other layers, each to `max_norm`; 0 does not clip.

    They are clipped apart because a pretrained backbone with batch normalisation folded in has a gradient many times
    as long as that of the new layers, which a common norm would slow down.

    Returns whether both norms are finite; if not, the gradients must not be used.
    """
    of_backbone = {id(parameter) for parameter in backbone.parameters()}
    others = [parameter for parameter in model.parameters() if id(parameter) not in of_backbone]
    parts = (list(backbone.parameters()), others)
    if max_norm:
        norms = [nn.utils.clip_grad_norm_(part, max_norm) for part in parts]
    else:
        norms = [nn.utils.get_total_norm([p.grad for p in part if p.grad is not None]) for part in parts]
    return bool(torch.stack(norms).isfinite().all())


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The learning rate of step `step` (from 0) of a run of `steps` steps, after a linear warm-up of `warmup_steps`.

    `step` schedule: the base rate, divided by 10 at each of `recipe.lr_milestones`, fractions of the run. `cosine`:
    half a cosine from the base rate to 0.
    """
    rate = recipe.learning_rate
    if step < recipe.warmup_steps:
        rate *= (step + 1) / recipe.warmup_steps
    if recipe.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * step / steps))
    milestones = sum(step >= milestone * steps - ROUNDING for milestone in recipe.lr_milestones)
    return float(rate * 0.1**milestones)
