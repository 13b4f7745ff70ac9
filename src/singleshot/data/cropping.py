"""Cut the images of a set into tiles, and the boxes with them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace

import numpy as np

from singleshot.boxes import area
from singleshot.data.whole_set import LabelledSet, image_places
from singleshot.shapes import Float32
from singleshot.tiles import Tile, Tiling
from singleshot.types import BOX_ARRAYS

JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True, eq=False)
class CroppedSet:
    """A set of tiles.

    Attributes:
        data: the tiles as images, with the boxes that are visible in them.
        sources: of each tile, the image of the original set and the tile; the whole image is a tile, too.
    """

    data: LabelledSet
    sources: list[tuple[int, Tile]]


def crop_set(data: LabelledSet, tiling: Tiling, *, visible: float) -> CroppedSet:
    """The tiles of every image.

    Boxes are cut at the border of the tile. A box of which less than `visible` (a share of its area, 0..1) lies in a
    tile is no object of that tile. The sizes of all images are known.
    """
    annotations = data.annotations
    sources: list[tuple[int, Tile]] = []
    places, rows, boxes, shares = [], [], [], []
    tiles_of: list[list[int]] = []
    seen = np.zeros(len(annotations.labels), bool)
    for index, place in enumerate(data.places):
        width, height = annotations.sizes_wh[index].tolist()
        tiles = tiling.tiles(width, height)
        first = int(annotations.starts[index])
        of_image = annotations.ground_truth(index).boxes_xyxy
        tiles_of.append(list(range(len(sources), len(sources) + len(tiles))))
        for tile in tiles:
            cut, share = cut_boxes(of_image, tile)
            kept = np.flatnonzero((share > 0) & (share >= visible))
            seen[first + kept] = True
            sources.append((index, tile))
            places.append(place if len(tiles) == 1 else _tile_name(place, tile))
            rows.append(first + kept)
            boxes.append(cut[kept])
            shares.append(share[kept])
    unique, renamed = image_places(places)  # an image may be called as a tile of another
    order = np.concatenate(rows)
    arrays = {name: getattr(annotations, name)[order] for name in BOX_ARRAYS}
    arrays["boxes_xyxy"] = np.concatenate(boxes)
    arrays["areas"] = (arrays["areas"] * np.concatenate(shares)).astype(np.float32)
    cropped = replace(
        annotations,
        files=unique,
        ids=tuple(posixpath.splitext(place)[0] for place in unique),
        sizes_wh=np.array([(tile[2] - tile[0], tile[3] - tile[1]) for _, tile in sources], np.int32),
        starts=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        **arrays,
    )
    splits = {
        name: tuple(tile for index in indices for tile in tiles_of[index]) for name, indices in data.splits.items()
    }
    lost = int((~seen).sum())
    remarks = [f"{len(data)} images in {len(places)} tiles", *renamed]
    remarks += [f"{lost} objects are in no tile: less than {visible:.0%} of them is visible in any"] if lost else []
    return CroppedSet(LabelledSet(cropped, unique, splits, (*data.remarks, *remarks)), sources)


def cut_boxes(
    boxes_xyxy: Float32[np.ndarray, "R 4"], tile: Tile
) -> tuple[Float32[np.ndarray, "R 4"], Float32[np.ndarray, " R"]]:
    """Boxes in pixels of the tile, cut at its border, and the share of each box's area that lies in it."""
    left, top, right, bottom = tile
    cut = boxes_xyxy.clip([left, top, left, top], [right, bottom, right, bottom]).astype(np.float32)
    whole = area(boxes_xyxy)
    share = np.divide(area(cut), whole, out=np.zeros_like(whole), where=whole > 0)
    return cut - np.array([left, top, left, top], np.float32), share


def _tile_name(place: str, tile: Tile) -> str:
    """`a.jpg` -> `a_x640_y0.jpg`; what is no JPEG becomes PNG."""
    stem, suffix = posixpath.splitext(place)
    return f"{stem}_x{tile[0]}_y{tile[1]}{suffix if suffix.lower() in JPEG else '.png'}"
