"""MobileNet v3-Large: inverted residuals with squeeze-and-excite and hard swish (Howard et al. 2019, table 1)."""

from __future__ import annotations

from collections.abc import Collection

from singleshot.models.backbone import InvertedResiduals, Residual, taps_of_blocks
from singleshot.models.layers import scaled

NORM_EPSILON = 1e-3  # Howard et al. train in TensorFlow; torchvision's weights keep its epsilon
STEM, LAST = 16, 480
# (kernel, hidden channels, output channels, squeeze-and-excite, activation, stride) of block1 .. block15. The last
# three and `last` are half as wide as in the classifier ("reduced tail", section 6.3: for detection).
BLOCKS = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 80, True, "hardswish", 2),
    (5, 480, 80, True, "hardswish", 1),
    (5, 480, 80, True, "hardswish", 1),
)


class MobileNetV3(InvertedResiduals):
    """stem, block1 .. block15, last (1x1 to 480 channels).

    Args:
        taps: see `InvertedResiduals`: block4_expand has stride 4, block7_expand 8, block13_expand 16, last 32.
        width: multiplies all channels.
        batch_norm: normalise after every convolution; else it is folded and convolutions have biases.
        tensorflow_padding: pad strided convolutions as TensorFlow does.
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
        blocks = [
            Residual(scaled(hidden, width), scaled(outputs, width), kernel, stride, activation, squeeze)
            for kernel, hidden, outputs, squeeze, activation, stride in BLOCKS
        ]
        super().__init__(
            taps,
            blocks,
            stem=scaled(STEM, width),
            last=scaled(LAST, width),
            activation="hardswish",
            norm_epsilon=NORM_EPSILON if batch_norm else None,
            tensorflow_padding=tensorflow_padding,
        )
