"""EfficientNet-Lite0: EfficientNet-B0 with ReLU6 and without squeeze-and-excite, so that it quantises well.

Its blocks are those of EfficientNet-B0 (Tan and Le 2019, table 1, stages 2 to 8).
"""

from __future__ import annotations

from singleshot.models.backbone import StagedResiduals, blocks_of_stages, taps_of_blocks

STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Expansion, channels, repeats, stride of the first, kernel."""


class EfficientNetLite0(StagedResiduals):
    """stem, block1 .. block16, last (1x1 to 1280 channels).

    Its taps: block4_expand has stride 4, block6_expand 8, block12_expand 16, last 32.
    """

    BLOCKS = blocks_of_stages(STAGES)
    TAPS = taps_of_blocks(len(BLOCKS))
    NORM_EPSILON = 1e-3  # as trained in TensorFlow
