"""`ssd data convert`, `split`, `merge`, `crop` and `show`: the verbs that write a set, or a page of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from singleshot.commands.new_set import NewSet

Format = Literal["voc", "coco", "yolo", "csv", "labelme"]
Images = Literal["copy", "link", "none"]


def convert(
    data: Path, *, to: Format, out: Path, images: Images = "copy", classes: str | None = None, json: Path | None = None
) -> int:
    """Write a data set in another format, splits, sub-folders and sub-pixel coordinates kept.

    Args:
        data: the data set, of any format that is read.
        to: the format to write.
        out: a new folder.
        images: `copy`; `link`: hard links, which take no space; `none`: labels alone.
        classes: new names of classes, `old=new,old=new`, or a file with one a line; `old=` leaves a class out.
        json: file for the counts.
    """
    from singleshot.commands.data_convert import ConvertOptions
    from singleshot.commands.data_convert import convert as write_converted
    from singleshot.console import progress, remarks
    from singleshot.files import require_output

    require_output(json, "--json", [data])
    with progress(remarks(), "writing images") as on_image:
        written = write_converted(data, ConvertOptions(out, to, images, classes), on_image=on_image)
    return _told(written, json)


def _told(written: NewSet, json: Path | None) -> int:
    """Print what was written, and write the counts."""
    from singleshot.console import remarks, results
    from singleshot.files import write_json

    for remark in written.remarks:
        remarks().print(remark)
    parts = ", ".join(f"{name} {count}" for name, count in written.splits.items())
    results().print(
        f"{written.out}: {written.images} images, {written.boxes} boxes, {written.format}"
        + (f" ({parts})" if parts else "")
    )
    write_json(json, written.to_dict())
    return 0
