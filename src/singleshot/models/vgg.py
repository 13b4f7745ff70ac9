"""VGG-16 as SSD's backbone: conv1_1 to conv5_3, then fc6 and fc7 as convolutions, atrous or whole (section 3)."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, NamedTuple

from singleshot.models.backbone import Chain
from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock, MaxPool, scaled

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions of a stage, their channels
# conv1_1, conv1_2, pool1, ... conv5_3, pool5, fc6, fc7
LAYERS = (
    *(
        name
        for stage, (count, _) in enumerate(STAGES, 1)
        for name in (*(f"conv{stage}_{number}" for number in range(1, count + 1)), f"pool{stage}")
    ),
    "fc6",
    "fc7",
)


class Ending(NamedTuple):
    """What follows conv5_3: kernel, stride, padding of pool5; kernel, dilation of fc6; channels of fc6 and fc7."""

    pool: tuple[int, int, int]
    kernel: int
    dilation: int
    channels: int


HALVED = (2, 2, 0)  # kernel, stride and padding of all other pooling
ATROUS = Ending(pool=(3, 1, 1), kernel=3, dilation=6, channels=1024)
FULL = Ending(pool=HALVED, kernel=7, dilation=1, channels=4096)
UNDILATED = Ending(pool=HALVED, kernel=3, dilation=1, channels=1024)


class VGG16(Chain):
    """conv1_1 .. conv5_3, pool5, fc6, fc7; every convolution followed by ReLU.

    pool5 is 3x3 with stride 1, so that the map keeps its size; fc6's filters are dilated by 6, over about the
    field of the classifier's 7x7 filters (DeepLab-LargeFOV). All other pooling is 2x2 with stride 2, rounded up.

    Args:
        taps: layers whose maps are wanted, any of `TAPS`.
        width: multiplies all channels.
        batch_norm: normalise after every convolution.
    """

    TAPS = LAYERS
    LAST = "fc7"
    ENDING: ClassVar[Ending] = ATROUS

    def __init__(self, taps: Collection[str], *, width: float = 1.0, batch_norm: bool = False) -> None:
        super().__init__(taps)
        end, epsilon = self.ENDING, BACKBONE_NORM_EPSILON if batch_norm else None
        inputs = 3
        for stage, (count, channels) in enumerate(STAGES, 1):
            outputs = scaled(channels, width)
            for number in range(1, count + 1):
                self.add_module(f"conv{stage}_{number}", ConvBlock(inputs, outputs, norm_epsilon=epsilon))
                inputs = outputs
            kernel, stride, padding = HALVED if stage < len(STAGES) else end.pool
            self.add_module(f"pool{stage}", MaxPool(kernel, stride=stride, padding=padding))
        self.out_channels = scaled(end.channels, width)
        self.fc6 = ConvBlock(inputs, self.out_channels, kernel=end.kernel, dilation=end.dilation, norm_epsilon=epsilon)
        self.fc7 = ConvBlock(self.out_channels, self.out_channels, kernel=1, norm_epsilon=epsilon)


class VGG16Full(VGG16):
    """The classifier's own ending: pool5 2x2 with stride 2, fc6 7x7x4096, fc7 1x1x4096, no dilation (section 3.3)."""

    ENDING = FULL


class VGG16Undilated(VGG16):
    """pool5 2x2 with stride 2, fc6 3x3x1024 without dilation: the atrous one's weights at half its resolution.

    What is left between the two is the atrous convolution alone: where fc6 and fc7 start fresh, `VGG16Full`, with 119
    million weights there, would differ in more than that.
    """

    ENDING = UNDILATED
