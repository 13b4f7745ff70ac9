"""Exponential moving average (EMA) of the weights, steadier than the weights themselves (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class ModelEMA:
    """An exponential moving average of a model's weights and buffers.

    After step t of the run it keeps min(decay, (1 + t) / (10 + t)) of itself: the initial weights fade within some
    tens of steps, whatever the decay.

    Args:
        model: whose weights are averaged; the average starts at its weights now.
        decay: fraction of the average kept at a step, 0..1.

    Attributes:
        weights: the average, by the names of the model's state dict.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self._model = model

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the model's weights after `step` steps of the run. Integer buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = self._model.state_dict()
        floating = [name for name, tensor in self.weights.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in floating], [state[name] for name in floating], 1 - decay)
        for name in state.keys() - floating:
            self.weights[name].copy_(state[name])

    def restore(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Continue from a checkpoint's average."""
        for name, tensor in self.weights.items():
            tensor.copy_(weights[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the model holds the average; afterwards its own weights again."""
        own = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        self._model.load_state_dict(self.weights)
        try:
            yield
        finally:
            self._model.load_state_dict(own)
