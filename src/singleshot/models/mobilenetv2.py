"""MobileNet v2: inverted residuals with linear bottlenecks (Sandler et al. 2018, table 2), the backbone of SSDLite."""

from __future__ import annotations

from singleshot.models.backbone import StagedResiduals, blocks_of_stages, taps_of_blocks

STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)
"""Expansion, channels, repeats, stride of the first, kernel."""


class MobileNetV2(StagedResiduals):
    """stem, block1 .. block17, last (1x1 to 1280 channels).

    Its taps: block4_expand has stride 4, block7_expand 8, block14_expand 16, last 32.
    """

    BLOCKS = blocks_of_stages(STAGES)
    TAPS = taps_of_blocks(len(BLOCKS))
