"""What every base network offers to the detector on top of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from torch import Tensor, nn

from singleshot.shapes import Float


class Backbone(nn.Module):
    """A base: images in, maps by name out.

    Attributes:
        TAPS: names of the maps that it can give.
        LAST: the map that the extra maps go on from; always given.
        PADS_AS_TENSORFLOW: whether it takes `tensorflow_padding`.
        SMALLEST_BATCH: images of the smallest batch that tells the shapes of its maps; none cost nothing.
        HAS_WEIGHTS: whether it sets its own starting weights when it is built; else `initialise` does.
        FOLDS_PIXELS: whether scale of pixels and order of channels can go into its first convolution's filters.
        out_channels: of `LAST`.
        only_size_hw: height and width of the only input that it takes; None where it takes any.
    """

    TAPS: ClassVar[tuple[str, ...]]
    LAST: ClassVar[str]
    PADS_AS_TENSORFLOW: ClassVar[bool] = False
    SMALLEST_BATCH: ClassVar[int] = 0
    HAS_WEIGHTS: ClassVar[bool] = False
    FOLDS_PIXELS: ClassVar[bool] = True
    out_channels: int
    only_size_hw: tuple[int, int] | None = None

    def __init__(self, taps: Collection[str]) -> None:
        super().__init__()
        self.wanted = frozenset(taps) | {self.LAST}


class Chain(Backbone):
    """A base whose layers, named by `TAPS`, follow each other."""

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The wanted maps and the last, by name."""
        maps: dict[str, Tensor] = {}
        x = images
        for name in self.TAPS:
            x = self.get_submodule(name)(x)
            if name in self.wanted:
                maps[name] = x
        return maps


class InvertedResiduals(Backbone):
    """`stem`, `block1`, `block2`, ..., `last`: a base of MobileNet v2's kind.

    A block gives its output and the expanded map inside it; `blockN_expand` taps the latter.
    """

    NUM_BLOCKS: ClassVar[int]

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The wanted maps and `last`, by name."""
        maps: dict[str, Tensor] = {}
        x = self.get_submodule("stem")(images)
        for number in range(1, self.NUM_BLOCKS + 1):
            x, expanded = self.get_submodule(f"block{number}")(x)
            if f"block{number}_expand" in self.wanted:
                maps[f"block{number}_expand"] = expanded
            if f"block{number}" in self.wanted:
                maps[f"block{number}"] = x
        maps[self.LAST] = self.get_submodule(self.LAST)(x)
        return maps


def taps_of_blocks(count: int) -> tuple[str, ...]:
    """Names of the maps of a base with so many blocks; the first expands nothing."""
    blocks = range(1, count + 1)
    return (*(f"block{number}" for number in blocks), *(f"block{number}_expand" for number in blocks[1:]), "last")
