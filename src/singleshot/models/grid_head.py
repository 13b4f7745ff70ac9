"""The YOLO-like relative's way from a map to boxes: everywhere, from everything (Liu et al. 2016, related work).

The map is pooled to a few cells and cut to a few channels, and one fully connected layer gives the boxes of all cells:
each sees the whole image, where SSD's convolutional predictors see 3x3 positions. The layer is a convolution whose
filter is as large as the map, `Heads` without padding, so that whatever treats heads treats it, too.
"""

from __future__ import annotations

from torch import Tensor, nn

from singleshot.models.heads import Heads
from singleshot.models.layers import BASE_NORM_EPSILON, ConvBlock, scaled
from singleshot.shapes import Float
from singleshot.spec import GridHead


class GridMap(nn.Module):
    """A map pooled to the grid's cells, then cut to its channels by 1x1.

    A cell's value is the mean of the positions that it touches: of the kinds of pooling to a given size, the one that
    every engine knows.

    Args:
        inputs: channels of the map.
        head: the grid.
        width: multiplies its channels.
        batch_norm: normalise the cut.
    """

    def __init__(self, inputs: int, head: GridHead, *, width: float, batch_norm: bool) -> None:
        super().__init__()
        self.out_channels = scaled(head.channels, width)
        self.pool = nn.AdaptiveAvgPool2d(head.cells)
        self.cut = ConvBlock(
            inputs, self.out_channels, kernel=1, norm_epsilon=BASE_NORM_EPSILON if batch_norm else None
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D cells cells"]:
        """Pool, then cut."""
        return self.cut(self.pool(x))  # type: ignore[no-any-return]


def fully_connected_heads(name: str, channels: int, head: GridHead, *, boxes_per_cell: int, num_classes: int) -> Heads:
    """One fully connected layer from the whole grid to the (C + 4) numbers of every box on it, in rows by y, x, box.

    Args:
        name: of the source map.
        channels: of its grid.
        head: the grid.
        boxes_per_cell: default boxes of a cell.
        num_classes: C, with background.
    """
    boxes = head.cells**2 * boxes_per_cell
    return Heads({name: channels}, [boxes], num_classes=num_classes, kernel=head.cells, padding=0)
