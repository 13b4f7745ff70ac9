"""The predictors: small convolutions that give offsets and class scores at every position of every map.

`GridMap` and `fully_connected_heads` are those of the YOLO-like relative (Liu et al. 2016, related work): the map is
pooled to a few cells, and one fully connected layer gives the boxes of all cells, so that each sees the whole image.
That layer is a convolution with a filter as large as the map, so that it is handled like any other head.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock, ScaleAndShift, lite_block, scaled
from singleshot.shapes import Float
from singleshot.spec import GridHead, SharedHead
from singleshot.ssd.tensors import Predictions


class SeparableHead(nn.Module):
    """SSDLite's head: depthwise, normalised, activated, then 1x1 with bias (Sandler et al. 2018, section 6.2)."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, activation: str, norm: bool) -> None:
        super().__init__()
        self.depthwise = lite_block(
            inputs, inputs, kernel=kernel, padding=kernel // 2, groups=inputs, activation=activation, norm=norm
        )
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Filter each channel, then mix them."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class Heads(nn.Module):
    """One location and one confidence convolution a source map: (C + 4) k filters (paper section 2.1).

    Channels are ordered as in Caffe: box * 4 + coordinate, box * C + class; rows by map, then y, x, box.

    Args:
        channels: channels of each source map, by name and in order.
        boxes_per_cell: default boxes at a position of each map.
        num_classes: C, with background.
        kernel: side of the filters.
        padding: zeros on every side; None keeps the map's size.
        separable: names of maps whose heads are depthwise + pointwise (SSDLite).
        activation: activation of these.
        norm: normalise their depthwise part.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        boxes_per_cell: Sequence[int],
        *,
        num_classes: int,
        kernel: int,
        padding: int | None = None,
        separable: Collection[str] = (),
        activation: str = "relu6",
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes

        def head(name: str, outputs: int) -> nn.Module:
            if name in separable:
                return SeparableHead(channels[name], outputs, kernel=kernel, activation=activation, norm=norm)
            return nn.Conv2d(channels[name], outputs, kernel, padding=kernel // 2 if padding is None else padding)

        pairs = list(zip(channels, boxes_per_cell, strict=True))
        self.location = nn.ModuleDict({name: head(name, 4 * boxes) for name, boxes in pairs})
        self.confidence = nn.ModuleDict({name: head(name, num_classes * boxes) for name, boxes in pairs})

    def forward(self, maps: Mapping[str, Tensor]) -> Predictions:
        """Raw predictions of all maps, in the order in which the heads were built."""
        offsets = [_rows(head(maps[name]), 4) for name, head in self.location.items()]
        logits = [_rows(head(maps[name]), self.num_classes) for name, head in self.confidence.items()]
        return Predictions(torch.cat(offsets, dim=1), torch.cat(logits, dim=1))


class SharedLayer(nn.Module):
    """Depthwise, then 1x1, with nothing between them (Keras' SeparableConv2D)."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, bias: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, kernel, padding=kernel // 2, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=bias)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Filter each channel, then mix them."""
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


class SharedHeads(nn.Module):
    """The same filters on every map: separable layers, each scaled and shifted for its map, then two predictors.

    TensorFlow's WeightSharedConvolutionalBoxPredictor with a shared tower, as in FPNLite. Its batch normalisation, of
    which every map has its own, is folded into `ScaleAndShift`. Rows are ordered as those of `Heads`.

    Args:
        sources: names of the maps, in order.
        inputs: channels of every map.
        head: channels and number of the layers.
        boxes_per_cell: default boxes at a position, on every map the same.
        num_classes: C, with background.
        kernel: side of the filters.
        activation: of the layers, `relu6` or `relu`.
    """

    def __init__(
        self,
        sources: Sequence[str],
        inputs: int,
        head: SharedHead,
        *,
        boxes_per_cell: int,
        num_classes: int,
        kernel: int,
        activation: str,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.activate = F.relu6 if activation == "relu6" else F.relu
        channels = [inputs, *[head.channels] * head.depth]
        self.tower = nn.ModuleList(
            SharedLayer(before, after, kernel=kernel, bias=False) for before, after in pairwise(channels)
        )
        self.norms = nn.ModuleDict(
            {name: nn.ModuleList(ScaleAndShift(head.channels) for _ in range(head.depth)) for name in sources}
        )
        self.location = SharedLayer(head.channels, 4 * boxes_per_cell, kernel=kernel, bias=True)
        self.confidence = SharedLayer(head.channels, num_classes * boxes_per_cell, kernel=kernel, bias=True)

    def forward(self, maps: Mapping[str, Tensor]) -> Predictions:
        """Raw predictions of all maps, in the order in which the heads were built."""
        offsets, logits = [], []
        for name, norms in self.norms.items():
            x = maps[name]
            for layer, norm in zip(self.tower, norms.children(), strict=True):
                x = self.activate(norm(layer(x)))
            offsets.append(_rows(self.location(x), 4))
            logits.append(_rows(self.confidence(x), self.num_classes))
        return Predictions(torch.cat(offsets, dim=1), torch.cat(logits, dim=1))


def class_layers(heads: Heads | SharedHeads) -> list[nn.Conv2d]:
    """The convolutions that have filters for each class, ordered box * C + class."""
    parts = [heads.confidence] if isinstance(heads, SharedHeads) else heads.confidence.values()
    return [part if isinstance(part, nn.Conv2d) else part.pointwise for part in parts]  # type: ignore[misc]


def _rows(x: Float[Tensor, "B boxes_columns H W"], columns: int) -> Float[Tensor, "B n columns"]:
    """Caffe's Permute (0, 2, 3, 1) and Flatten; a view where the map is channels-last."""
    batch, channels, height, width = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, height * width * (channels // columns), columns)


class GridMap(nn.Module):
    """A map pooled to the grid's cells, then reduced to its channels by 1x1.

    A cell's value is the mean of the positions that it touches (adaptive average pooling, which every engine has).

    Args:
        inputs: channels of the map.
        head: the grid.
        width: multiplies its channels.
        batch_norm: normalise after the 1x1 convolution.
    """

    def __init__(self, inputs: int, head: GridHead, *, width: float, batch_norm: bool) -> None:
        super().__init__()
        self.out_channels = scaled(head.channels, width)
        self.pool = nn.AdaptiveAvgPool2d(head.cells)
        self.cut = ConvBlock(
            inputs, self.out_channels, kernel=1, norm_epsilon=BACKBONE_NORM_EPSILON if batch_norm else None
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D cells cells"]:
        """Pool, then reduce."""
        return self.cut(self.pool(x))  # type: ignore[no-any-return]


def fully_connected_heads(name: str, channels: int, head: GridHead, *, boxes_per_cell: int, num_classes: int) -> Heads:
    """One fully connected layer from the whole grid to the C + 4 numbers of each of its boxes, in rows by y, x, box.

    Args:
        name: of the source map.
        channels: of its grid.
        head: the grid.
        boxes_per_cell: default boxes of a cell.
        num_classes: C, with background.
    """
    boxes = head.cells**2 * boxes_per_cell
    return Heads({name: channels}, [boxes], num_classes=num_classes, kernel=head.cells, padding=0)
