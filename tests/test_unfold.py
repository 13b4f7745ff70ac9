"""Batch normalisation put back into a folded base changes nothing, in use as in training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from singleshot.models.ssd import SSD
from singleshot.models.unfold import unfolded
from singleshot.spec import SSD300_MOBILENETV1, SSDLITE320_MOBILENETV2, ModelSpec

SMALL = replace(SSDLITE320_MOBILENETV2, width=0.25).with_input_size(96, 96)


@pytest.mark.parametrize(
    "spec", [SMALL, replace(SSD300_MOBILENETV1, width=0.125).with_input_size(128, 128)], ids=lambda spec: spec.name
)
def test_the_function_stays_on_these_pictures(spec: ModelSpec) -> None:
    model = SSD(spec, seed=3).eval()
    pictures = torch.randn(6, 3, *spec.input_size_hw, generator=torch.Generator().manual_seed(0))
    twin = unfolded(model, pictures)
    assert twin.spec.batch_norm
    assert not twin.training
    with torch.no_grad():
        expected = model.backbone(pictures)  # the light extra maps are normalised anyway, by running figures
        for found in (twin.backbone(pictures), twin.train().backbone(pictures)):
            for name in expected:
                torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


def test_filters_of_very_different_size_come_out_alike_and_dead_channels_stay_dead() -> None:
    model = SSD(SMALL, seed=3).eval()
    stem = model.backbone.stem.convolution
    with torch.no_grad():
        stem.weight[0] *= 1000
        stem.weight[1] = 0
    pictures = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    twin = unfolded(model, pictures)
    norms = twin.backbone.stem.convolution.weight.flatten(1).norm(dim=1)
    assert norms[1] == 0
    assert norms[0] < 10 * norms[2]
    with torch.no_grad():
        kept = twin.train().backbone.stem(pictures)
    assert torch.isfinite(kept).all()
