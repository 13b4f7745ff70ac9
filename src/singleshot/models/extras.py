"""The extra feature maps after the backbone, each smaller than the one before (paper section 2.1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock, lite_block, scaled
from singleshot.shapes import Float
from singleshot.spec import Compatibility, ExtraBlock


class Separable(nn.Module):
    """Depthwise 3x3 with stride, then pointwise 1x1: SSDLite's replacement of a full convolution.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        block: kernel, stride and padding.
        activation: of both.
        norm: normalise both; else they have biases.
        bare: leave normalisation and activation of the depthwise one out (Keras' SeparableConv2D).
    """

    def __init__(
        self, inputs: int, outputs: int, block: ExtraBlock, *, activation: str, norm: bool = True, bare: bool = False
    ) -> None:
        super().__init__()
        self.depthwise = lite_block(
            inputs,
            inputs,
            kernel=block.kernel,
            stride=block.stride,
            padding=block.padding,
            groups=inputs,
            activation="none" if bare else activation,
            norm=norm and not bare,
            tensorflow_padding=block.tensorflow_padding,
        )
        last = "none" if block.linear else activation
        self.pointwise = lite_block(inputs, outputs, kernel=1, padding=0, activation=last, norm=norm)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Filter each channel, then mix them."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class ExtraMaps(nn.Module):
    """Pairs of convolutions `<name>_1` (1x1, squeezes) and `<name>_2` (the map), one pair a block.

    Args:
        inputs: channels of the backbone's last map.
        blocks: what to build, in order.
        width: multiplies all channels.
        separable: make `<name>_2` depthwise + pointwise (SSDLite).
        bare: see `Separable`.
        compatibility: activations, and whether the separable layers are normalised.
        batch_norm: normalise the layers that are not separable, too.
    """

    def __init__(
        self,
        inputs: int,
        blocks: Sequence[ExtraBlock],
        *,
        width: float,
        separable: bool,
        bare: bool,
        compatibility: Compatibility,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.names = tuple(block.name for block in blocks)
        epsilon = BACKBONE_NORM_EPSILON if batch_norm else None
        activation, lite_norm = compatibility.activation, compatibility.lite_norm
        lite_activation = compatibility.lite_activation
        for block in blocks:
            squeeze, outputs = scaled(block.squeeze, width) if block.squeeze else 0, scaled(block.channels, width)
            first: nn.Module = nn.Identity()
            second: nn.Module
            if separable:
                if squeeze:
                    first = lite_block(inputs, squeeze, kernel=1, padding=0, activation=lite_activation, norm=lite_norm)
                second = Separable(
                    squeeze or inputs, outputs, block, activation=lite_activation, norm=lite_norm, bare=bare
                )
            else:
                if squeeze:
                    first = ConvBlock(inputs, squeeze, kernel=1, activation=activation, norm_epsilon=epsilon)
                second = ConvBlock(
                    squeeze or inputs,
                    outputs,
                    kernel=block.kernel,
                    stride=block.stride,
                    padding=block.padding,
                    activation="none" if block.linear else activation,
                    norm_epsilon=epsilon,
                    tensorflow_padding=block.tensorflow_padding,
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
