"""What every base network offers to the detector on top of it."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class Backbone(nn.Module):
    """A base: pictures in, maps by name out.

    Attributes:
        TAPS: names of the maps that it can give.
        LAST: the map that the extra maps go on from; always given.
        PADS_AS_TENSORFLOW: whether it takes `tensorflow_padding`.
        out_channels: of `LAST`.
    """

    TAPS: ClassVar[tuple[str, ...]]
    LAST: ClassVar[str]
    PADS_AS_TENSORFLOW: ClassVar[bool] = False
    out_channels: int
