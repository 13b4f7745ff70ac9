"""The exponential moving average of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from singleshot.train.ema import ModelEMA


def model_with_weight(value: float) -> nn.Module:
    model = nn.Conv2d(1, 1, 1)
    nn.init.constant_(model.weight, value)
    return model


def test_the_first_steps_replace_most_of_the_initial_weights() -> None:
    """decay 0.99 alone would leave 0.97 of the initial weight after three steps; the warm-up leaves 1/22."""
    model = model_with_weight(1)
    ema = ModelEMA(model, 0.99)
    nn.init.zeros_(model.weight)
    left = []
    for step in (1, 2, 3):
        ema.update(step)
        left.append(float(ema.weights["weight"]))
    assert left == pytest.approx([2 / 11, 2 / 11 * 3 / 12, 2 / 11 * 3 / 12 * 4 / 13])


def test_later_the_average_keeps_its_decay() -> None:
    model = model_with_weight(1)
    ema = ModelEMA(model, 0.9)
    nn.init.zeros_(model.weight)
    ema.update(10_000)
    assert float(ema.weights["weight"]) == pytest.approx(0.9)


def test_counts_of_batch_normalisation_are_copied_and_the_model_gets_its_own_weights_back() -> None:
    model = nn.BatchNorm2d(2)
    ema = ModelEMA(model, 0.9)
    model(torch.ones(2, 2, 3, 3))
    nn.init.constant_(model.weight, 5)
    ema.update(100)
    assert int(ema.weights["num_batches_tracked"]) == 1
    with ema.applied():
        torch.testing.assert_close(model.weight.detach(), torch.full((2,), 1 + 4 * (1 - 0.9)))
    assert model.weight.tolist() == [5, 5]
