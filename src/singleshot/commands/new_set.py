"""A new labelled set on the disk: what `ssd data convert`, `split`, `merge` and `crop` have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers.new_set import WRITERS, FormatName, PlaceImage, placing, write_set
from singleshot.errors import DataError, RequestError
from singleshot.weights.replace import replaced_folder, require_replaceable

OnImage = Callable[[int, int], None]
Images = Literal["copy", "link", "none"]


@dataclass(frozen=True)
class NewSet:
    """What was written.

    Attributes:
        out: the folder.
        format: its format.
        images: their number.
        boxes: their number.
        splits: number of images of each.
        per_class: number of boxes of each class, in all and by split.
        remarks: what was guessed, converted, renamed or left out.
    """

    out: Path
    format: str
    images: int
    boxes: int
    splits: dict[str, int]
    per_class: dict[str, dict[str, int]]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` writes them."""
        return {
            "out": str(self.out),
            "format": self.format,
            "images": self.images,
            "boxes": self.boxes,
            "splits": self.splits,
            "per_class": self.per_class,
            "remarks": list(self.remarks),
        }

    def class_table(self) -> list[str]:
        """A line for each class: its boxes, in all and in each split."""
        names = ["class", *self.per_class]
        width = max(map(len, names))
        parts = ["all", *self.splits]
        lines = [f"{'boxes':{width}}" + "".join(f"{part:>12}" for part in parts)]
        for name, counts in self.per_class.items():
            lines.append(f"{name:{width}}" + "".join(f"{counts[part]:>12,}" for part in parts))
        return lines


def require_new_folder(out: Path) -> None:
    """Refuse a folder that holds anything: a set is never written over another.

    Raises:
        RequestError: it is not empty, or cannot be written to.
    """
    if out.is_dir() and next(out.iterdir(), None) is not None:
        raise RequestError(f"--out: {out} is not empty: give a new folder")
    require_replaceable(out)


def write_new_set(
    data: LabelledSet,
    out: Path,
    *,
    to: FormatName | None,
    images: Images | PlaceImage = "copy",
    on_image: OnImage = lambda _done, _total: None,
) -> NewSet:
    """Write a set to a new folder, whole or not at all.

    Args:
        data: the set.
        out: the folder, empty or not there.
        to: the format; None: that of the set, VOC where we do not write it.
        images: copied, linked, left out (`none`), or as a function places them.
        on_image: called with the number of images placed, and of all.

    Raises:
        RequestError: the folder is not empty.
        DataError: no object is left, or the format cannot hold a name.
        MachineError: the disk is full; nothing is left behind.
    """
    require_new_folder(out)
    if not len(data.annotations.labels):
        raise DataError(f"{data.annotations.root}: not one labelled object is left: nothing is written")
    chosen = to or _own_format(data)
    place_image = images if callable(images) else placing(data.annotations, images)
    with replaced_folder(out) as folder:
        written, remarks = write_set(data, folder, to=chosen, place_image=place_image, on_image=on_image)
    return NewSet(
        out,
        chosen,
        len(written),
        len(written.annotations.labels),
        {name: len(indices) for name, indices in written.splits.items()},
        _per_class(written),
        (*data.remarks, *remarks),
    )


def _own_format(data: LabelledSet) -> FormatName:
    """The format that the set was read from, VOC where we do not write it."""
    names: list[FormatName] = [name for name in WRITERS if name == data.annotations.format.replace("_", "-")]
    return names[0] if names else "voc"


def _per_class(data: LabelledSet) -> dict[str, dict[str, int]]:
    """Boxes of each class: of all images under `all`, and of each split."""
    annotations = data.annotations
    images = np.arange(len(annotations)).repeat(np.diff(annotations.starts))
    counts = {"all": _counts(annotations.labels, len(annotations.class_names))}
    for name, indices in data.splits.items():
        chosen = annotations.labels[np.isin(images, indices)]
        counts[name] = _counts(chosen, len(annotations.class_names))
    return {
        class_name: {part: of_part[label] for part, of_part in counts.items()}
        for label, class_name in enumerate(annotations.class_names)
    }


def _counts(labels: np.ndarray, classes: int) -> list[int]:
    return [int(count) for count in np.bincount(labels, minlength=classes)]
