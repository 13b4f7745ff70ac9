"""The backbone of OpenCV's face detector: a ResNet-10 with three convolutions of its own width."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn import functional as F

from singleshot.models.backbone import Chain
from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock, MaxPool, ScaleAndShift, scaled
from singleshot.shapes import Float

STEM = 32
# (channels inside, channels, stride, dilation) of block1 .. block4; block4 keeps the stride, as the paper's fc6 does.
BLOCKS = ((32, 32, 1, 1), (128, 128, 2, 1), (256, 256, 2, 1), (128, 256, 1, 2))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, added to the input, or to a 1x1 convolution of it where it `projects`, then ReLU.

    In the original, batch normalisation follows the sum. It is folded into both addends; where the input itself is
    added, it is the `scale`.
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, int, int, int],
        *,
        projects: bool,
        width: float,
        norm_epsilon: float | None,
    ) -> None:
        super().__init__()
        inside, outputs, stride, dilation = shape
        inside, outputs = scaled(inside, width), scaled(outputs, width)
        self.first = ConvBlock(inputs, inside, stride=stride, norm_epsilon=norm_epsilon)
        self.second = ConvBlock(inside, outputs, dilation=dilation, activation="none", norm_epsilon=norm_epsilon)
        self.shortcut: ConvBlock | None = None
        self.scale: ScaleAndShift | None = None
        if not projects:
            self.scale = ScaleAndShift(outputs)
        else:
            self.shortcut = ConvBlock(
                inputs, outputs, kernel=1, stride=stride, activation="none", norm_epsilon=norm_epsilon
            )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The sum of both paths, rectified."""
        y = self.second(self.first(x))
        if self.shortcut is not None:
            return F.relu(y + self.shortcut(x))
        assert self.scale is not None
        return F.relu(self.scale(y + x))


class ResNet10(Chain):
    """7x7 convolution, pooling, four residual blocks; maps of stride 8 (`block2`) and 16 (`block3`, `block4`).

    Args:
        taps: maps that are wanted.
        width: multiplies all channels.
        batch_norm: normalise after every convolution; else it is folded and convolutions have biases.
    """

    TAPS = ("conv1", "pool1", "block1", "block2", "block3", "block4")
    LAST = "block4"

    def __init__(self, taps: Collection[str], *, width: float = 1.0, batch_norm: bool = False) -> None:
        super().__init__(taps)
        epsilon = BACKBONE_NORM_EPSILON if batch_norm else None
        inputs = scaled(STEM, width)
        self.conv1 = ConvBlock(3, inputs, kernel=7, stride=2, norm_epsilon=epsilon)
        self.pool1 = MaxPool(3, stride=2)
        for number, shape in enumerate(BLOCKS, 1):
            self.add_module(
                f"block{number}", ResidualBlock(inputs, shape, projects=number > 1, width=width, norm_epsilon=epsilon)
            )
            inputs = scaled(shape[1], width)
        self.out_channels = inputs
