"""`ssd data merge`: several labelled sets as one, their classes and splits united."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from singleshot.commands.data_convert import class_map, with_renamed_classes
from singleshot.commands.new_set import Images, NewSet, OnImage, require_new_folder, write_new_set
from singleshot.data.turned_images import LabelsOn
from singleshot.data.whole_set import join_whole_sets, read_whole_set
from singleshot.data.writers.new_set import FormatName


@dataclass(frozen=True)
class MergeOptions:
    """How to merge.

    Attributes:
        out: a new folder.
        to: the format to write; None: that of the sets where all have the same, else VOC.
        images: `copy`, `link` or `none`.
        classes: see `ConvertOptions`; applied to the sets together.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; None: as `open_data`.
    """

    out: Path
    to: FormatName | None = None
    images: Images = "copy"
    classes: str | None = None
    labels_on: LabelsOn | None = None


def merge(data: Sequence[Path], options: MergeOptions, *, on_image: OnImage = lambda _done, _total: None) -> NewSet:
    """Write the sets as one.

    Raises:
        RequestError: no such set, or a folder that is not empty.
        DataError: no set, or one with faults that forbid training.
    """
    require_new_folder(options.out)
    joined = join_whole_sets(
        [read_whole_set(path, images_needed=options.images != "none", labels_on=options.labels_on) for path in data]
    )
    if options.classes is not None:
        joined = with_renamed_classes(joined, class_map(options.classes))
    return write_new_set(joined, options.out, to=options.to, images=options.images, on_image=on_image)
