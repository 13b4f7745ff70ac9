from __future__ import annotations

import pytest
import torch
from torch import nn

from singleshot.train.ema import ModelEMA


def test_the_mean_forgets_the_beginning_and_keeps_its_share_later() -> None:
    model = nn.Conv2d(1, 1, 1)
    average = ModelEMA(model, 0.5)
    weights = []
    expected = model.weight.detach().clone()
    for update in range(1, 30):
        nn.init.constant_(model.weight, update)
        weights.append(float(update))
        average.update(update)
        kept = min(0.5, (1 + update) / (10 + update))
        expected = kept * expected + (1 - kept) * update
    torch.testing.assert_close(average.weights["weight"], expected)
    assert float(average.weights["weight"]) == pytest.approx(28, abs=0.01)  # the mean age of the weights is one update


def test_counts_of_batch_normalisation_are_copied_and_the_model_gets_its_own_weights_back() -> None:
    model = nn.BatchNorm2d(2)
    average = ModelEMA(model, 0.9)
    model(torch.ones(2, 2, 3, 3))
    nn.init.constant_(model.weight, 5)
    average.update(100)
    assert int(average.weights["num_batches_tracked"]) == 1
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), torch.full((2,), 1 + 4 * (1 - 0.9)))
    assert model.weight.tolist() == [5, 5]
