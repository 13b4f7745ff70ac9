"""The running mean of the weights, which is steadier than the weights themselves (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """An exponential mean of a model's weights and buffers.

    Early on it forgets faster: after t updates it keeps at most (1 + t) / (10 + t) of itself, so that the weights of
    the beginning weigh nothing in it.

    Args:
        model: whose weights are averaged; its state now is the first mean.
        decay: fraction kept at an update, 0..1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.mean = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self._model = model

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Take the weights in, `updates` after the beginning."""
        kept = min(self.decay, (1 + updates) / (10 + updates))
        now = self._model.state_dict()
        floating = [name for name, tensor in self.mean.items() if tensor.is_floating_point()]
        means = [self.mean[name] for name in floating]
        torch._foreach_lerp_(means, [now[name] for name in floating], 1 - kept)
        for name in now.keys() - floating:
            self.mean[name].copy_(now[name])

    def restore(self, mean: Mapping[str, torch.Tensor]) -> None:
        """Go on with a mean from a checkpoint."""
        for name, tensor in self.mean.items():
            tensor.copy_(mean[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model holds the mean meanwhile."""
        weights = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        self._model.load_state_dict(self.mean)
        try:
            yield
        finally:
            self._model.load_state_dict(weights)
