"""MobileNet v2: inverted residuals with linear bottlenecks (Sandler et al. 2018, table 2), the backbone of SSDLite."""

from __future__ import annotations

from collections.abc import Collection

from singleshot.models.backbone import InvertedResiduals, Residual, taps_of_blocks
from singleshot.models.layers import BACKBONE_NORM_EPSILON, scaled

STEM, LAST = 32, 1280
# (expansion, channels, repeats, stride of the first): table 2 of the paper.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# (expansion, channels, stride) of block1 .. block17
BLOCKS = tuple(
    (expansion, channels, stride if repeat == 0 else 1)
    for expansion, channels, repeats, stride in STAGES
    for repeat in range(repeats)
)


class MobileNetV2(InvertedResiduals):
    """stem, block1 .. block17, last (1x1 to 1280 channels).

    Args:
        taps: see `InvertedResiduals`: block4_expand has stride 4, block7_expand 8, block14_expand 16, last 32.
        width: multiplies all channels.
        batch_norm: normalise after every convolution; else it is folded and convolutions have biases.
        tensorflow_padding: pad strided convolutions as TensorFlow does (its published weights expect it).
    """

    TAPS = taps_of_blocks(len(BLOCKS))

    def __init__(
        self,
        taps: Collection[str],
        *,
        width: float = 1.0,
        batch_norm: bool = False,
        tensorflow_padding: bool = False,
    ) -> None:
        blocks, inputs = [], scaled(STEM, width)
        for expansion, channels, stride in BLOCKS:
            blocks.append(Residual(inputs * expansion, scaled(channels, width), stride=stride))
            inputs = blocks[-1].outputs
        super().__init__(
            taps,
            blocks,
            stem=scaled(STEM, width),
            last=scaled(LAST, width),
            activation="relu6",
            norm_epsilon=BACKBONE_NORM_EPSILON if batch_norm else None,
            tensorflow_padding=tensorflow_padding,
        )
