"""MobileNet v3-Large: inverted residuals with squeeze-and-excite and hard swish (Howard et al. 2019, table 1)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from singleshot.models.backbone import InvertedResiduals, taps_of_blocks
from singleshot.models.layers import ConvBlock, scaled
from singleshot.shapes import Float

NORM_EPSILON = 1e-3  # Howard et al. train in TensorFlow; torchvision's weights keep its epsilon
STEM = 16


class Bottleneck(NamedTuple):
    """One line of the paper's table."""

    kernel: int
    hidden: int
    outputs: int
    squeeze: bool
    activation: str
    stride: int


# The last three blocks and `last` are half as wide as in the classifier ("reduced tail", section 6.3: for detection).
BLOCKS = (
    Bottleneck(3, 16, 16, squeeze=False, activation="relu", stride=1),
    Bottleneck(3, 64, 24, squeeze=False, activation="relu", stride=2),
    Bottleneck(3, 72, 24, squeeze=False, activation="relu", stride=1),
    Bottleneck(5, 72, 40, squeeze=True, activation="relu", stride=2),
    Bottleneck(5, 120, 40, squeeze=True, activation="relu", stride=1),
    Bottleneck(5, 120, 40, squeeze=True, activation="relu", stride=1),
    Bottleneck(3, 240, 80, squeeze=False, activation="hardswish", stride=2),
    Bottleneck(3, 200, 80, squeeze=False, activation="hardswish", stride=1),
    Bottleneck(3, 184, 80, squeeze=False, activation="hardswish", stride=1),
    Bottleneck(3, 184, 80, squeeze=False, activation="hardswish", stride=1),
    Bottleneck(3, 480, 112, squeeze=True, activation="hardswish", stride=1),
    Bottleneck(3, 672, 112, squeeze=True, activation="hardswish", stride=1),
    Bottleneck(5, 672, 80, squeeze=True, activation="hardswish", stride=2),
    Bottleneck(5, 480, 80, squeeze=True, activation="hardswish", stride=1),
    Bottleneck(5, 480, 80, squeeze=True, activation="hardswish", stride=1),
)
LAST = 480


class SqueezeExcite(nn.Module):
    """Each channel times a gate of 0..1 that all channels' means decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible(channels / 4)
        self.reduce = ConvBlock(channels, squeezed, kernel=1)
        self.expand = ConvBlock(squeezed, channels, kernel=1, activation="none")

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Weigh the channels."""
        gate: Tensor = F.hardsigmoid(self.expand(self.reduce(x.mean(dim=(2, 3), keepdim=True))))
        return x * gate


class MobileBottleneck(nn.Module):
    """1x1 expansion, depthwise, squeeze-and-excite, linear 1x1 projection; the input is added where shapes agree."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        shape: Bottleneck,
        *,
        hidden: int,
        norm_epsilon: float | None,
        tensorflow_padding: bool,
    ) -> None:
        super().__init__()
        self.expand = None
        if hidden != inputs:  # the first block has nothing to expand
            self.expand = ConvBlock(inputs, hidden, kernel=1, activation=shape.activation, norm_epsilon=norm_epsilon)
        self.depthwise = ConvBlock(
            hidden,
            hidden,
            kernel=shape.kernel,
            stride=shape.stride,
            groups=hidden,
            activation=shape.activation,
            norm_epsilon=norm_epsilon,
            tensorflow_padding=tensorflow_padding,
        )
        self.squeeze = SqueezeExcite(hidden) if shape.squeeze else None
        self.project = ConvBlock(hidden, outputs, kernel=1, activation="none", norm_epsilon=norm_epsilon)
        self.residual = shape.stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """The block's output, and the expanded map inside it (before the depthwise convolution)."""
        expanded = x if self.expand is None else self.expand(x)
        filtered = self.depthwise(expanded)
        if self.squeeze is not None:
            filtered = self.squeeze(filtered)
        projected = self.project(filtered)
        return (x + projected if self.residual else projected), expanded


class MobileNetV3(InvertedResiduals):
    """stem, block1 .. block15, last (1x1 to 480 channels).

    Args:
        taps: maps that are wanted: `blockN`, `blockN_expand` (the expansion inside block N, which still has the stride
            of the block before: block4_expand stride 4, block7_expand 8, block13_expand 16) or `last` (32).
        width: multiplies all channels.
        batch_norm: normalise after every convolution; else it is folded and convolutions have biases.
        tensorflow_padding: pad strided convolutions as TensorFlow does.
    """

    TAPS = taps_of_blocks(len(BLOCKS))
    NUM_BLOCKS = len(BLOCKS)
    LAST = "last"
    PADS_AS_TENSORFLOW = True

    def __init__(
        self,
        taps: Collection[str],
        *,
        width: float = 1.0,
        batch_norm: bool = False,
        tensorflow_padding: bool = False,
    ) -> None:
        super().__init__(taps)
        epsilon = NORM_EPSILON if batch_norm else None
        inputs = scaled(STEM, width)
        self.stem = ConvBlock(
            3, inputs, stride=2, activation="hardswish", norm_epsilon=epsilon, tensorflow_padding=tensorflow_padding
        )
        for number, shape in enumerate(BLOCKS, 1):
            outputs = scaled(shape.outputs, width)
            block = MobileBottleneck(
                inputs,
                outputs,
                shape,
                hidden=scaled(shape.hidden, width),
                norm_epsilon=epsilon,
                tensorflow_padding=tensorflow_padding,
            )
            self.add_module(f"block{number}", block)
            inputs = outputs
        self.out_channels = scaled(LAST, width)
        self.last = ConvBlock(inputs, self.out_channels, kernel=1, activation="hardswish", norm_epsilon=epsilon)


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of 8 that loses no more than a tenth (the paper's code rounds so).

    >>> divisible(18), divisible(120), divisible(3)
    (24, 120, 8)
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded
