"""The best IoU of an object over a regular grid of default boxes, without making the boxes: fast enough to search with.

Law: it equals the maximum over all the boxes of the grid. For a box of a given shape, IoU only depends on the common
area, which is the product of the overlaps along x and y; each is greatest at the nearest centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from singleshot.shapes import Float32
from singleshot.spec import MapBoxes
from singleshot.ssd.default_boxes import cell_sizes


@dataclass(frozen=True, eq=False)
class Grid:
    """A source map's centres, as a list of ground-truth boxes sees them.

    Attributes:
        off_xy: distance in x and y of each ground-truth box's centre from the nearest centre of a cell, pixels.
        sizes_wh: width and height of each ground-truth box, pixels.
    """

    off_xy: Float32[np.ndarray, "M 2"]
    sizes_wh: Float32[np.ndarray, "M 2"]

    def best_overlaps(self, boxes: MapBoxes, *, truncate: bool) -> Float32[np.ndarray, " M"]:
        """Best IoU of each ground-truth box with any of these default boxes in any cell."""
        return self.overlaps(cell_sizes(boxes, truncate=truncate)).max(axis=0)  # type: ignore[no-any-return]

    def overlaps(self, shapes_wh: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n M"]:
        """Best IoU of each ground-truth box with a box of each of these widths and heights in any cell."""
        shapes = shapes_wh[:, None]
        reach = np.minimum((self.sizes_wh + shapes) / 2 - self.off_xy, np.minimum(self.sizes_wh, shapes)).clip(min=0)
        common = reach[..., 0] * reach[..., 1]
        union = self.sizes_wh[:, 0] * self.sizes_wh[:, 1] + shapes[..., 0] * shapes[..., 1] - common
        return (common / union).astype(np.float32)  # type: ignore[no-any-return]


def grid(
    boxes_cxcywh: Float32[np.ndarray, "M 4"],
    map_size_hw: tuple[int, int],
    input_size_hw: tuple[int, int],
    *,
    step: float | None,
    offset: float,
) -> Grid:
    """The centres of a map's cells as these ground-truth boxes, in pixels of the network input, see them.

    Args:
        boxes_cxcywh: ground-truth boxes.
        map_size_hw: height and width of the source map.
        input_size_hw: height and width of the network input, pixels.
        step: see `MapBoxes`.
        offset: see `BoxSpec`.
    """
    distances = []
    for axis, (cells, pixels) in enumerate(zip(map_size_hw[::-1], input_size_hw[::-1], strict=True)):
        apart = step or pixels / cells
        cell = np.round(boxes_cxcywh[:, axis] / apart - offset).clip(0, cells - 1)
        distances.append(np.abs((cell + offset) * apart - boxes_cxcywh[:, axis]))
    return Grid(np.stack(distances, axis=1).astype(np.float32), boxes_cxcywh[:, 2:])
