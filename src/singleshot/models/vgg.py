"""VGG-16 as SSD's base: to conv5_3, then fc6 and fc7 as atrous convolutions (paper section 3; DeepLab-LargeFOV)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from singleshot.models.layers import BASE_NORM_EPSILON, ConvBlock, max_pool, scaled

if TYPE_CHECKING:
    from collections.abc import Collection

    from jaxtyping import Float
    from torch import Tensor

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions of a stage, their channels
CONVOLUTIONS = tuple(
    (f"conv{stage}_{number}", channels)
    for stage, (count, channels) in enumerate(STAGES, 1)
    for number in range(1, count + 1)
)
FULLY_CONNECTED = 1024


class VGG16(nn.Module):
    """conv1_1 .. conv5_3, pool5, fc6, fc7; every layer followed by ReLU.

    pool5 is 3x3 with stride 1, so that the map keeps its size; fc6's filters are spread (dilation 6) over the field
    that the classifier's 7x7 filters saw. All other pooling is 2x2 with stride 2, rounded up.

    Args:
        taps: layers whose maps are wanted, any of `TAPS`.
        width: multiplies all channels.
        batch_norm: normalise after every convolution.
    """

    TAPS = (*(name for name, _ in CONVOLUTIONS), "pool5", "fc6", "fc7")
    LAST = "fc7"

    def __init__(self, taps: Collection[str], *, width: float = 1.0, batch_norm: bool = False) -> None:
        super().__init__()
        self.wanted = frozenset(taps) | {self.LAST}
        epsilon = BASE_NORM_EPSILON if batch_norm else None
        inputs = 3
        for name, channels in CONVOLUTIONS:
            outputs = scaled(channels, width)
            self.add_module(name, ConvBlock(inputs, outputs, norm_epsilon=epsilon))
            inputs = outputs
        wide = self.out_channels = scaled(FULLY_CONNECTED, width)
        self.fc6 = ConvBlock(inputs, wide, dilation=6, norm_epsilon=epsilon)
        self.fc7 = ConvBlock(wide, wide, kernel=1, norm_epsilon=epsilon)

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The wanted maps and fc7, by name."""
        maps: dict[str, Tensor] = {}
        x = pictures
        for name in self.TAPS:
            if name.endswith("_1") and name != "conv1_1":
                x = max_pool(x)  # pool1 .. pool4
            x = max_pool(x, kernel=3, stride=1, padding=1) if name == "pool5" else self.get_submodule(name)(x)
            if name in self.wanted:
                maps[name] = x
        return maps
