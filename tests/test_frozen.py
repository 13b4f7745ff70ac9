"""Early layers of a backbone that keep their weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.train.frozen import freeze_early_layers
from singleshot.variants import SSD300_MOBILENETV1, SSD300_VGG16, SSD320_LITE, SSDLITE320_MOBILENETV2


def trained(model: SSD) -> set[str]:
    """Names of the backbone's layers that are trained."""
    return {name.split(".")[0] for name, values in model.backbone.named_parameters() if values.requires_grad}


@pytest.mark.parametrize("spec", [SSDLITE320_MOBILENETV2, SSD320_LITE])
def test_layers_before_the_map_of_the_stride_keep_their_weights(spec: object) -> None:
    model = SSD(replace(spec, width=0.25))  # type: ignore[type-var]
    everything = trained(model)
    freeze_early_layers(model, 0)
    assert trained(model) == everything
    freeze_early_layers(model, 4)
    assert everything - trained(model) == {"stem", "block1", "block2", "block3"}
    freeze_early_layers(model, 8)
    assert everything - trained(model) == {"stem", *(f"block{number}" for number in range(1, 7))}


def test_a_pair_of_layers_stays_together() -> None:
    model = SSD(replace(SSD300_MOBILENETV1, width=0.25))
    freeze_early_layers(model, 4)
    assert {"conv3", "conv3_dw"} <= trained(model)
    assert not {"conv2", "conv2_dw", "conv0"} & trained(model)


def test_of_two_maps_of_a_stride_the_first_is_trained() -> None:
    model = SSD(replace(SSD300_VGG16, width=1 / 16))
    freeze_early_layers(model, 16)
    assert {"conv5_3", "fc6", "fc7"} <= trained(model)
    assert "conv5_2" not in trained(model)


def test_a_stride_without_a_map_is_refused() -> None:
    with pytest.raises(RequestError, match=r"4, 8, 16, 32.*got 5"):
        freeze_early_layers(SSD(replace(SSDLITE320_MOBILENETV2, width=0.25)), 5)
