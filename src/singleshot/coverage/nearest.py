"""The best IoU of a truth over a regular grid of default boxes, without making the boxes: fast enough to search with.

Law: it equals the maximum over all the boxes of the grid. For a box of a given shape, IoU only depends on the common
area, which is the product of the overlaps along x and y; each is greatest at the nearest centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from singleshot.default_boxes import cell_sizes

if TYPE_CHECKING:
    from jaxtyping import Float32

    from singleshot.spec import MapBoxes


@dataclass(frozen=True, eq=False)
class Grid:
    """A source map's centres, as a list of truths sees them.

    Attributes:
        off_xy: distance in x and y of each truth's centre from the nearest centre of a cell, pixels.
        sizes_wh: width and height of each truth, pixels.
    """

    off_xy: Float32[np.ndarray, "M 2"]
    sizes_wh: Float32[np.ndarray, "M 2"]

    def best_overlaps(self, boxes: MapBoxes, *, truncate: bool) -> Float32[np.ndarray, " M"]:
        """Best IoU of each truth with any of these default boxes in any cell."""
        shapes = cell_sizes(boxes, truncate=truncate)[None]
        sizes, off = self.sizes_wh[:, None], self.off_xy[:, None]
        reach = np.minimum((sizes + shapes) / 2 - off, np.minimum(sizes, shapes)).clip(min=0)
        common = reach[..., 0] * reach[..., 1]
        union = sizes[..., 0] * sizes[..., 1] + shapes[..., 0] * shapes[..., 1] - common
        return (common / union).max(axis=1)  # type: ignore[no-any-return]


def grid(
    boxes_cxcywh: Float32[np.ndarray, "M 4"],
    map_size_hw: tuple[int, int],
    input_size_hw: tuple[int, int],
    *,
    step: float | None,
    offset: float,
) -> Grid:
    """The centres of a map's cells as these truths, in pixels of the network input, see them.

    Args:
        boxes_cxcywh: truths.
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
