"""`ssd data crop`: large images as tiles to train on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.commands.new_set import NewSet, OnImage, require_new_folder, write_new_set
from singleshot.data.cropping import CroppedSet, crop_set
from singleshot.data.turned_images import LabelsOn
from singleshot.data.whole_set import LabelledSet, read_whole_set
from singleshot.data.writers.new_set import FormatName, image_bytes
from singleshot.decode import decode_image
from singleshot.errors import RequestError
from singleshot.tiles import Tiling

QUALITY = 95


@dataclass(frozen=True)
class CropOptions:
    """How to crop.

    Attributes:
        out: a new folder.
        tiling: side and overlap of the tiles.
        visible: share of a box's area that must lie in a tile for it to be an object there, 0 to 1.
        to: the format to write; None: the set's own.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; None: as `open_data`.

    Raises:
        RequestError: a share that is none.
    """

    out: Path
    tiling: Tiling = field(default_factory=Tiling)
    visible: float = 0.3
    to: FormatName | None = None
    labels_on: LabelsOn | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.visible <= 1:
            raise RequestError(f"--visible is a share of the box, 0 to 1, got {self.visible}")


def crop(data: Path, options: CropOptions, *, on_image: OnImage = lambda _done, _total: None) -> NewSet:
    """Write the tiles of every image as a set. JPEGs stay JPEGs (quality 95), all else becomes PNG.

    Raises:
        RequestError: no such set, or a folder that is not empty.
        DataError: the set has faults that forbid training.
        ImageError: an image cannot be decoded.
    """
    require_new_folder(options.out)
    labelled = read_whole_set(data, labels_on=options.labels_on).with_sizes()
    cropped = crop_set(labelled, options.tiling, visible=options.visible)
    place = _TileWriter(labelled, cropped)
    return write_new_set(cropped.data, options.out, to=options.to, images=place, on_image=on_image)


class _TileWriter:
    """Writes tile number i; the image that was decoded last is kept, for its tiles follow each other."""

    def __init__(self, source: LabelledSet, cropped: CroppedSet) -> None:
        self._source = source
        self._cropped = cropped
        self._decoded: tuple[int, np.ndarray] = (-1, np.zeros((0, 0, 3), np.uint8))

    def __call__(self, number: int, target: Path) -> None:
        index, (left, top, right, bottom) = self._cropped.sources[number]
        path = self._source.annotations.path(index)
        if (right - left, bottom - top) == tuple(self._source.annotations.sizes_wh[index].tolist()):  # the whole image
            target.write_bytes(image_bytes(path))
            return
        if self._decoded[0] != index:
            self._decoded = (index, decode_image(path))
        tile = Image.fromarray(np.ascontiguousarray(self._decoded[1][top:bottom, left:right]))
        if target.suffix == ".png":
            tile.save(target)
        else:
            tile.save(target, "JPEG", quality=QUALITY, subsampling=0)
