"""What every backbone offers to the detector on top of it, and two kinds: chains and inverted residuals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock, scaled
from singleshot.shapes import Float


class Backbone(nn.Module):
    """A backbone: images in, maps by name out.

    Attributes:
        TAPS: names of the maps that it can return.
        LAST: the map that the extra maps continue from; always returned.
        PADS_AS_TENSORFLOW: whether its constructor takes `tensorflow_padding`.
        SMALLEST_BATCH: images of the smallest batch that tells the shapes of its maps; an empty batch costs nothing.
        HAS_WEIGHTS: whether it sets its own initial weights when it is built; else `models.ssd.initialise` does.
        FOLDS_PIXELS: whether scale of pixels and order of channels can be folded into its first convolution.
        out_channels: channels of `LAST`.
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
    """A backbone whose layers, named by `TAPS`, follow each other."""

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The wanted maps and the last, by name."""
        maps: dict[str, Tensor] = {}
        x = images
        for name in self.TAPS:
            x = self.get_submodule(name)(x)
            if name in self.wanted:
                maps[name] = x
        return maps


@dataclass(frozen=True)
class Residual:
    """Shape of an inverted residual block.

    Attributes:
        hidden: channels after the 1x1 expansion; there is no expansion where they equal the input's.
        outputs: channels of the block's output.
        kernel: side of the depthwise filters.
        stride: of the depthwise convolution.
        activation: of expansion and depthwise convolution.
        squeeze: whether squeeze-and-excite follows the depthwise convolution.
    """

    hidden: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu6"
    squeeze: bool = False


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise, linear 1x1 projection; the input is added where shapes agree (Sandler et al. 2018)."""

    def __init__(self, inputs: int, shape: Residual, *, norm_epsilon: float | None, tensorflow_padding: bool) -> None:
        super().__init__()
        hidden, activation = shape.hidden, shape.activation
        self.expand = None
        if hidden != inputs:
            self.expand = ConvBlock(inputs, hidden, kernel=1, activation=activation, norm_epsilon=norm_epsilon)
        self.depthwise = ConvBlock(
            hidden,
            hidden,
            kernel=shape.kernel,
            stride=shape.stride,
            groups=hidden,
            activation=activation,
            norm_epsilon=norm_epsilon,
            tensorflow_padding=tensorflow_padding,
        )
        self.squeeze = SqueezeExcite(hidden) if shape.squeeze else None
        self.project = ConvBlock(hidden, shape.outputs, kernel=1, activation="none", norm_epsilon=norm_epsilon)
        self.residual = shape.stride == 1 and inputs == shape.outputs

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Tensor]:
        """The block's output, and the expanded map inside it (before the depthwise convolution)."""
        expanded = x if self.expand is None else self.expand(x)
        filtered = self.depthwise(expanded)
        if self.squeeze is not None:
            filtered = self.squeeze(filtered)
        projected = self.project(filtered)
        return (x + projected if self.residual else projected), expanded


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a gate of 0..1 that depends on the means of all channels (Howard et al. 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible(channels / 4)
        self.reduce = ConvBlock(channels, squeezed, kernel=1)
        self.expand = ConvBlock(squeezed, channels, kernel=1, activation="none")

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Weigh the channels."""
        gate: Tensor = F.hardsigmoid(self.expand(self.reduce(x.mean(dim=(2, 3), keepdim=True))))
        return x * gate


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple of 8 that is not more than a tenth smaller (as in the code of MobileNet v3).

    >>> divisible(18), divisible(120), divisible(3)
    (24, 120, 8)
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


class InvertedResiduals(Backbone):
    """`stem`, `block1`, `block2`, ..., `last`: MobileNet v2 and v3, EfficientNet-Lite0.

    Args:
        taps: maps that are wanted: `blockN`, `blockN_expand` (the expansion inside block N, which still has the stride
            of the block before) or `last`.
        blocks: block1, block2, ...
        stem: channels of the first convolution (stride 2).
        last: channels of `last` (1x1).
        activation: of both.
        norm_epsilon: epsilon of batch normalisation after every convolution; None: it is folded, with biases.
        tensorflow_padding: pad strided convolutions as TensorFlow does.
    """

    LAST = "last"
    PADS_AS_TENSORFLOW = True

    def __init__(
        self,
        taps: Collection[str],
        blocks: Sequence[Residual],
        *,
        stem: int,
        last: int,
        activation: str,
        norm_epsilon: float | None,
        tensorflow_padding: bool,
    ) -> None:
        super().__init__(taps)
        self.num_blocks = len(blocks)
        self.out_channels = last
        self.stem = ConvBlock(
            3, stem, stride=2, activation=activation, norm_epsilon=norm_epsilon, tensorflow_padding=tensorflow_padding
        )
        inputs = stem
        for number, shape in enumerate(blocks, 1):
            block = InvertedResidual(inputs, shape, norm_epsilon=norm_epsilon, tensorflow_padding=tensorflow_padding)
            self.add_module(f"block{number}", block)
            inputs = shape.outputs
        self.last = ConvBlock(inputs, last, kernel=1, activation=activation, norm_epsilon=norm_epsilon)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The wanted maps and `last`, by name."""
        maps: dict[str, Tensor] = {}
        x = self.stem(images)
        for number in range(1, self.num_blocks + 1):
            x, expanded = self.get_submodule(f"block{number}")(x)
            if f"block{number}_expand" in self.wanted:
                maps[f"block{number}_expand"] = expanded
            if f"block{number}" in self.wanted:
                maps[f"block{number}"] = x
        maps[self.LAST] = self.last(x)
        return maps


class Block(NamedTuple):
    """A block of `StagedResiduals`; its expansion multiplies the channels that come in."""

    expansion: int
    channels: int
    stride: int
    kernel: int


class StagedResiduals(InvertedResiduals):
    """Inverted residuals by a table of stages, as MobileNet v2 and EfficientNet have them; ReLU6.

    Attributes:
        BLOCKS: of `blocks_of_stages`.
        STEM_CHANNELS: of the first convolution.
        LAST_CHANNELS: of `last`.
        NORM_EPSILON: of its batch normalisation.

    Args:
        taps: see `InvertedResiduals`.
        width: multiplies all channels.
        batch_norm: normalise after every convolution; else it is folded and convolutions have biases.
        tensorflow_padding: pad strided convolutions as TensorFlow does (its published weights expect it).
    """

    BLOCKS: ClassVar[tuple[Block, ...]]
    STEM_CHANNELS: ClassVar[int] = 32
    LAST_CHANNELS: ClassVar[int] = 1280
    NORM_EPSILON: ClassVar[float] = BACKBONE_NORM_EPSILON

    def __init__(
        self,
        taps: Collection[str],
        *,
        width: float = 1.0,
        batch_norm: bool = False,
        tensorflow_padding: bool = False,
    ) -> None:
        blocks, inputs = [], scaled(self.STEM_CHANNELS, width)
        for expansion, channels, stride, kernel in self.BLOCKS:
            blocks.append(Residual(inputs * expansion, scaled(channels, width), kernel, stride))
            inputs = blocks[-1].outputs
        super().__init__(
            taps,
            blocks,
            stem=scaled(self.STEM_CHANNELS, width),
            last=scaled(self.LAST_CHANNELS, width),
            activation="relu6",
            norm_epsilon=self.NORM_EPSILON if batch_norm else None,
            tensorflow_padding=tensorflow_padding,
        )


def blocks_of_stages(stages: Sequence[tuple[int, int, int, int, int]]) -> tuple[Block, ...]:
    """Block 1, block 2, ... of rows (expansion, channels, repeats, stride of the first, kernel)."""
    return tuple(
        Block(expansion, channels, stride if repeat == 0 else 1, kernel)
        for expansion, channels, repeats, stride, kernel in stages
        for repeat in range(repeats)
    )


def taps_of_blocks(count: int) -> tuple[str, ...]:
    """Names of the maps of a backbone with so many blocks; the first block has no expansion."""
    blocks = range(1, count + 1)
    return (*(f"block{number}" for number in blocks), *(f"block{number}_expand" for number in blocks[1:]), "last")
