"""Solvers, the rate of each parameter, and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from singleshot.train.recipe import Recipe

ROUNDING = 1e-6
"""Of an update: two thirds of a number of updates may come out a little above the whole number that they are."""


class CaffeSGD(torch.optim.Optimizer):
    """SGD with the learning rate inside the velocity (Caffe sgd_solver.cpp, ComputeUpdateValue).

        g += weight_decay * w;  v = momentum * v + rate * g;  w -= v

    torch's SGD keeps the rate outside: after a drop of the rate the two differ for some ten steps.

    Args:
        groups: parameter groups with `params`, `rate_factor` (multiplies the learning rate) and `weight_decay`.
        learning_rate: base rate; set `learning_rate` on the object before a step to follow a schedule.
        momentum: fraction of the velocity that is kept.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, learning_rate: float, momentum: float = 0.9) -> None:
        super().__init__(groups, {"rate_factor": 1.0, "weight_decay": 0.0})
        self.learning_rate = learning_rate
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
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
    """torch's AdamW (Loshchilov and Hutter 2019), its rates set as `CaffeSGD`'s are.

    The length of a step does not depend on that of the gradient, which differs a hundredfold between a base with its
    batch normalisation folded in and the layers after it.

    Args:
        groups: as `CaffeSGD`'s; the decay of each is multiplied by its rate.
        learning_rate: base rate; set `learning_rate` before a step to follow a schedule.
        betas: fractions of the running means of gradient and squared gradient that are kept.
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], *, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        super().__init__(groups, lr=learning_rate, betas=betas, foreach=True)
        self.learning_rate = learning_rate

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
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
    """Parameters by rate and decay: biases have `bias_lr_factor` and no decay; the L2 norm's scale is decayed (Caffe).

    Normalisation by batches, layers or groups is not decayed: it would only change the rate of the weights before it.
    Parameters of `backbone` learn at `backbone_lr_factor` times the rate.
    """
    of_backbone = {id(p) for p in backbone.parameters()} if backbone is not None else set()
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            norm = isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)
            bias = name == "bias" and not norm
            rate = recipe.bias_lr_factor if bias else 1.0
            decay = 0.0 if bias or norm else recipe.weight_decay
            factor = rate * (recipe.backbone_lr_factor if id(parameter) in of_backbone else 1.0)
            groups.setdefault((factor, decay), []).append(parameter)
    return [{"params": found, "rate_factor": rate, "weight_decay": decay} for (rate, decay), found in groups.items()]


def clip_gradients(model: nn.Module, backbone: nn.Module, longest: float) -> bool:
    """Shorten the gradient of the base, and that of the other layers, each by itself, to at most `longest` (0: leave).

    Together, a pretrained base with its batch normalisation folded in, whose gradient is many times as long as that of
    the new layers, would slow these down.

    Returns whether both are finite; where not, they must not be used.
    """
    base = list(backbone.parameters())
    of_base = {id(parameter) for parameter in base}
    others = [parameter for parameter in model.parameters() if id(parameter) not in of_base]
    if longest:
        norms = [nn.utils.clip_grad_norm_(part, longest) for part in (base, others)]
    else:
        norms = [nn.utils.get_total_norm([p.grad for p in part if p.grad is not None]) for part in (base, others)]
    return bool(torch.stack(norms).isfinite().all())


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of update `step` (from 0) of a run of `steps` updates.

    `step` schedule: the base rate, divided by 10 at each of `recipe.lr_milestones`, fractions of the run. `cosine`:
    half a cosine to 0. Both begin with a linear warm-up over `warmup_steps`.
    """
    rate = recipe.learning_rate
    if step < recipe.warmup_steps:
        rate *= (step + 1) / recipe.warmup_steps
    if recipe.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * step / steps))
    milestones = sum(step >= milestone * steps - ROUNDING for milestone in recipe.lr_milestones)
    return float(rate * 0.1**milestones)
