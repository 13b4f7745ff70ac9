"""The extra feature maps after the backbone, each smaller than the one before (paper section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock, lite_block, scaled
from singleshot.shapes import Float
from singleshot.spec import ExtraBlock


class Separable(nn.Module):
    """Depthwise 3x3 with stride, then pointwise 1x1: SSDLite's replacement of a full convolution."""

    def __init__(self, inputs: int, outputs: int, block: ExtraBlock, *, activation: str) -> None:
        super().__init__()
        self.depthwise = lite_block(
            inputs,
            inputs,
            kernel=block.kernel,
            stride=block.stride,
            padding=block.padding,
            groups=inputs,
            activation=activation,
        )
        last = "none" if block.linear else activation
        self.pointwise = lite_block(inputs, outputs, kernel=1, padding=0, activation=last)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Filter each channel, then mix them."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class ExtraMaps(nn.Module):
    """Pairs of convolutions `<name>_1` (1x1, squeezes) and `<name>_2` (the map), one pair a block.

    Args:
        inputs: channels of the backbone's last map.
        blocks: what to build, in order.
        width: multiplies all channels.
        separable: make `<name>_2` depthwise + pointwise, all layers normalised (SSDLite).
        lite_activation: activation of the separable layers.
        batch_norm: normalise the layers that are not separable, too.
    """

    def __init__(
        self,
        inputs: int,
        blocks: Sequence[ExtraBlock],
        *,
        width: float,
        separable: bool,
        lite_activation: str,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.names = tuple(block.name for block in blocks)
        epsilon = BACKBONE_NORM_EPSILON if batch_norm else None
        for block in blocks:
            squeeze, outputs = scaled(block.squeeze, width), scaled(block.channels, width)
            first: nn.Module
            second: nn.Module
            if separable:
                first = lite_block(inputs, squeeze, kernel=1, padding=0, activation=lite_activation)
                second = Separable(squeeze, outputs, block, activation=lite_activation)
            else:
                first = ConvBlock(inputs, squeeze, kernel=1, norm_epsilon=epsilon)
                second = ConvBlock(
                    squeeze,
                    outputs,
                    kernel=block.kernel,
                    stride=block.stride,
                    padding=block.padding,
                    activation="none" if block.linear else "relu",
                    norm_epsilon=epsilon,
                )
            self.add_module(f"{block.name}_1", first)
            self.add_module(f"{block.name}_2", second)
            inputs = outputs

    def forward(self, x: Float[Tensor, "B C H W"]) -> dict[str, Tensor]:
        """Every extra map, by the name of its second convolution."""
        maps: dict[str, Tensor] = {}
        for name in self.names:
            x = self.get_submodule(f"{name}_2")(self.get_submodule(f"{name}_1")(x))
            maps[f"{name}_2"] = x
        return maps
