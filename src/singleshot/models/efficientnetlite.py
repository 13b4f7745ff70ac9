"""EfficientNet-Lite0: EfficientNet-B0 with ReLU6 and without squeeze-and-excite, so that it quantises well.

Its blocks are those of EfficientNet-B0 (Tan and Le 2019, table 1).
"""

from __future__ import annotations

from collections.abc import Collection

from singleshot.models.backbone import InvertedResiduals, Residual, taps_of_blocks
from singleshot.models.layers import scaled

NORM_EPSILON = 1e-3  # as trained in TensorFlow
STEM, LAST = 32, 1280
# (expansion, channels, repeats, stride of the first, kernel): table 1 of the paper, stages 2 to 8.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# (expansion, channels, stride, kernel) of block1 .. block16
BLOCKS = tuple(
    (expansion, channels, stride if repeat == 0 else 1, kernel)
    for expansion, channels, repeats, stride, kernel in STAGES
    for repeat in range(repeats)
)


class EfficientNetLite0(InvertedResiduals):
    """stem, block1 .. block16, last (1x1 to 1280 channels).

    Args:
        taps: see `InvertedResiduals`: block4_expand has stride 4, block6_expand 8, block12_expand 16, last 32.
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
        for expansion, channels, stride, kernel in BLOCKS:
            blocks.append(Residual(inputs * expansion, scaled(channels, width), kernel, stride))
            inputs = blocks[-1].outputs
        super().__init__(
            taps,
            blocks,
            stem=scaled(STEM, width),
            last=scaled(LAST, width),
            activation="relu6",
            norm_epsilon=NORM_EPSILON if batch_norm else None,
            tensorflow_padding=tensorflow_padding,
        )
