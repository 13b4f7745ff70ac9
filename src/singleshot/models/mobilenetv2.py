"""MobileNet v2: inverted residuals with linear bottlenecks (Sandler et al. 2018, table 2), the base of SSDLite."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from singleshot.models.backbone import InvertedResiduals, taps_of_blocks
from singleshot.models.layers import BASE_NORM_EPSILON, ConvBlock, scaled
from singleshot.shapes import Float

STEM, LAST = 32, 1280
# (expansion, channels, repeats, stride of the first): table 2 of the paper.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# (expansion, channels, stride) of block1 .. block17
BLOCKS = tuple(
    (expansion, channels, stride if repeat == 0 else 1)
    for expansion, channels, repeats, stride in STAGES
    for repeat in range(repeats)
)


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; the input is added where shapes agree."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        expansion: int,
        stride: int,
        norm_epsilon: float | None,
        tensorflow_padding: bool,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = None
        if expansion != 1:
            self.expand = ConvBlock(inputs, hidden, kernel=1, activation="relu6", norm_epsilon=norm_epsilon)
        self.depthwise = ConvBlock(
            hidden,
            hidden,
            stride=stride,
            groups=hidden,
            activation="relu6",
            norm_epsilon=norm_epsilon,
            tensorflow_padding=tensorflow_padding,
        )
        self.project = ConvBlock(hidden, outputs, kernel=1, activation="none", norm_epsilon=norm_epsilon)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """The block's output, and the expanded map inside it (before the depthwise convolution)."""
        expanded = x if self.expand is None else self.expand(x)
        projected = self.project(self.depthwise(expanded))
        return (x + projected if self.residual else projected), expanded


class MobileNetV2(InvertedResiduals):
    """stem, block1 .. block17, last (1x1 to 1280 channels).

    Args:
        taps: maps that are wanted: `blockN`, `blockN_expand` (the expansion inside block N, which still has the stride
            of the block before: block4_expand stride 4, block7_expand 8, block14_expand 16) or `last` (32).
        width: multiplies all channels.
        batch_norm: normalise after every convolution; else it is folded and convolutions have biases.
        tensorflow_padding: pad strided convolutions as TensorFlow does (its published weights expect it).
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
        epsilon = BASE_NORM_EPSILON if batch_norm else None
        inputs = scaled(STEM, width)
        self.stem = ConvBlock(
            3, inputs, stride=2, activation="relu6", norm_epsilon=epsilon, tensorflow_padding=tensorflow_padding
        )
        for number, (expansion, channels, stride) in enumerate(BLOCKS, 1):
            outputs = scaled(channels, width)
            block = InvertedResidual(
                inputs,
                outputs,
                expansion=expansion,
                stride=stride,
                norm_epsilon=epsilon,
                tensorflow_padding=tensorflow_padding,
            )
            self.add_module(f"block{number}", block)
            inputs = outputs
        self.out_channels = scaled(LAST, width)
        self.last = ConvBlock(inputs, self.out_channels, kernel=1, activation="relu6", norm_epsilon=epsilon)
