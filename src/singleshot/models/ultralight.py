"""The backbones of Ultra-Light-Face: MobileNet v1's pairs, very narrow, with or without a receptive field block."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from singleshot.models.backbone import Chain
from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock, scaled
from singleshot.shapes import Float

STEM = 16
# (channels, stride) of conv1 .. conv12; conv7 is the receptive field block of the one that has it.
PAIRS = (
    (32, 1), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1),
)  # fmt: skip
FIELD = 7


class Pair(nn.Module):
    """Depthwise 3x3, then pointwise 1x1, each with ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, norm_epsilon: float | None) -> None:
        super().__init__()
        self.depthwise = ConvBlock(inputs, inputs, stride=stride, groups=inputs, norm_epsilon=norm_epsilon)
        self.pointwise = ConvBlock(inputs, outputs, kernel=1, norm_epsilon=norm_epsilon)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Filter each channel, then mix them."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class ReceptiveField(nn.Module):
    """Three branches with growing dilation, concatenated, plus a shortcut (Liu et al. 2018).

    A branch narrows (1x1), filters (3x3, ReLU; the last branch twice) and ends with a dilated 3x3.
    """

    def __init__(self, inputs: int, outputs: int, *, norm_epsilon: float | None) -> None:
        super().__init__()
        narrow = max(1, inputs // 8)
        middle = narrow // 2 * 3 or 1

        def linear(inputs: int, outputs: int, *, kernel: int, dilation: int = 1) -> ConvBlock:
            return ConvBlock(
                inputs, outputs, kernel=kernel, dilation=dilation, activation="none", norm_epsilon=norm_epsilon
            )

        def branch(channels: tuple[int, ...], dilation: int) -> nn.Sequential:
            filters = [ConvBlock(before, after, norm_epsilon=norm_epsilon) for before, after in pairwise(channels)]
            last = channels[-1]
            return nn.Sequential(
                linear(inputs, narrow, kernel=1), *filters, linear(last, last, kernel=3, dilation=dilation)
            )

        self.branch1 = branch((narrow, 2 * narrow), 2)
        self.branch2 = branch((narrow, 2 * narrow), 3)
        self.branch3 = branch((narrow, middle, 2 * narrow), 5)
        self.join = linear(6 * narrow, outputs, kernel=1)
        self.shortcut = linear(inputs, outputs, kernel=1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """The branches, mixed, plus the shortcut."""
        seen = torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)], dim=1)
        return F.relu(self.join(seen) + self.shortcut(x))


class UltraLight(Chain):
    """conv0, then 12 pairs: the `slim` backbone.

    Args:
        taps: pairs whose maps are wanted: conv7 (stride 8), conv10 (16), conv12 (32) or any other.
        width: multiplies all channels.
        batch_norm: normalise after every convolution; else it is folded and convolutions have biases.
    """

    TAPS = tuple(f"conv{number}" for number in range(len(PAIRS) + 1))
    LAST = "conv12"
    HAS_FIELD = False

    def __init__(self, taps: Collection[str], *, width: float = 1.0, batch_norm: bool = False) -> None:
        super().__init__(taps)
        epsilon = BACKBONE_NORM_EPSILON if batch_norm else None
        inputs = scaled(STEM, width)
        self.conv0 = ConvBlock(3, inputs, stride=2, norm_epsilon=epsilon)
        for number, (channels, stride) in enumerate(PAIRS, 1):
            outputs = scaled(channels, width)
            layer: nn.Module
            if self.HAS_FIELD and number == FIELD:
                layer = ReceptiveField(inputs, outputs, norm_epsilon=epsilon)
            else:
                layer = Pair(inputs, outputs, stride=stride, norm_epsilon=epsilon)
            self.add_module(f"conv{number}", layer)
            inputs = outputs
        self.out_channels = inputs


class UltraLightRFB(UltraLight):
    """The same with a receptive field block instead of conv7."""

    HAS_FIELD = True
