"""MobileNet v1 as in MobileNet-SSD: depthwise separable convolutions with ReLU, layer names conv0 .. conv13."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from torch import Tensor

from singleshot.models.backbone import Backbone
from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock, scaled
from singleshot.shapes import Float

STEM = 32
# (channels, stride) of conv1 .. conv13; the stride is the depthwise convolution's.
PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


class MobileNetV1(Backbone):
    """conv0, then 13 pairs of depthwise 3x3 (`convN_dw`) and pointwise 1x1 (`convN`).

    Args:
        taps: pairs whose maps are wanted: conv5 (stride 8), conv11 (16), conv13 (32) or any other.
        width: multiplies all channels.
        batch_norm: normalise after every convolution; else it is folded and convolutions have biases.
        tensorflow_padding: pad strided convolutions as TensorFlow does.
        activation: `relu`, or TensorFlow's `relu6`.
    """

    TAPS = tuple(f"conv{number}" for number in range(14))
    LAST = "conv13"
    PADS_AS_TENSORFLOW = True

    def __init__(
        self,
        taps: Collection[str],
        *,
        width: float = 1.0,
        batch_norm: bool = False,
        tensorflow_padding: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__(taps)
        layer = partial(
            ConvBlock,
            norm_epsilon=BACKBONE_NORM_EPSILON if batch_norm else None,
            tensorflow_padding=tensorflow_padding,
            activation=activation,
        )
        inputs = scaled(STEM, width)
        self.conv0 = layer(3, inputs, stride=2)
        for number, (channels, stride) in enumerate(PAIRS, 1):
            outputs = scaled(channels, width)
            self.add_module(f"conv{number}_dw", layer(inputs, inputs, stride=stride, groups=inputs))
            self.add_module(f"conv{number}", layer(inputs, outputs, kernel=1))
            inputs = outputs
        self.out_channels = inputs

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The wanted maps and conv13, by name."""
        maps: dict[str, Tensor] = {}
        x = images
        for name in self.TAPS:
            if name != "conv0":
                x = self.get_submodule(f"{name}_dw")(x)
            x = self.get_submodule(name)(x)
            if name in self.wanted:
                maps[name] = x
        return maps
