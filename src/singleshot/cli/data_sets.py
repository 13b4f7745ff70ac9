"""`ssd data convert`, `split`, `merge`, `crop` and `show`: the verbs that write a set, or a page of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from singleshot.commands.new_set import NewSet

Format = Literal["voc", "coco", "yolo", "csv", "labelme", "cvat", "label-studio"]
Images = Literal["copy", "link", "none"]
LabelsOn = Literal["stored", "displayed"]


def convert(
    data: Path,
    *,
    to: Format,
    out: Path,
    images: Images = "copy",
    classes: str | None = None,
    labels_on: LabelsOn | None = None,
    json: Path | None = None,
) -> int:
    """Write a data set in another format, splits, sub-folders and sub-pixel coordinates kept.

    Args:
        data: the data set, of any format that is read.
        to: the format to write.
        out: a new folder.
        images: `copy`; `link`: hard links, which take no space; `none`: labels alone.
        classes: new names of classes, `old=new,old=new`, or a file with one a line; `old=` leaves a class out.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; left out, as stored
            where the annotations state the stored size of all of them.
        json: file for the counts.
    """
    from singleshot.commands.data_convert import ConvertOptions
    from singleshot.commands.data_convert import convert as write_converted
    from singleshot.console import progress, remarks
    from singleshot.files import require_output

    require_output(json, "--json", [data])
    with progress(remarks(), "writing images") as on_image:
        written = write_converted(data, ConvertOptions(out, to, images, classes, labels_on), on_image=on_image)
    return _told(written, json)


def split(
    data: Path,
    *,
    out: Path,
    val: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    group: str | None = None,
    keep_together: Literal["near-duplicates"] | None = None,
    to: Format | None = None,
    images: Images = "copy",
    labels_on: LabelsOn | None = None,
    json: Path | None = None,
) -> int:
    """Split a data set into train, val and test: each has its share of every class.

    Args:
        data: the data set; splits that it has are replaced.
        out: a new folder.
        val: share of the images to validate on.
        test: share of the images to test on.
        seed: another seed gives other splits.
        group: a regular expression: images whose paths match it alike (its first group, else all of it) are never
            parted, such as the frames of one video by `(.*)_[0-9]+`.
        keep_together: `near-duplicates`: images that look nearly the same are never parted, such as one photograph
            twice or neighbouring frames of a clip. Decodes every image.
        to: the format to write; left out, the set's own (VOC where it is not written).
        images: `copy`; `link`: hard links, which take no space; `none`: labels alone.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; left out, as stored
            where the annotations state the stored size of all of them.
        json: file for the counts.
    """
    from singleshot.commands.data_split import SplitOptions
    from singleshot.commands.data_split import split as write_split
    from singleshot.console import progress, remarks, results
    from singleshot.files import require_output

    require_output(json, "--json", [data])
    options = SplitOptions(out, val, test, seed, group, keep_together, to, images, labels_on)
    task = "writing images" if keep_together is None else "comparing and writing images"
    with progress(remarks(), task) as on_image:
        written = write_split(data, options, on_image=on_image)
    for line in written.class_table():
        results().print(line)
    return _told(written, json)


def merge(
    *data: Path,
    out: Path,
    to: Format | None = None,
    images: Images = "copy",
    classes: str | None = None,
    labels_on: LabelsOn | None = None,
    json: Path | None = None,
) -> int:
    """Join data sets, of any formats, into one: classes and splits of one name are united.

    Args:
        data: the data sets.
        out: a new folder.
        to: the format to write; left out, that of the sets where all have the same, else VOC.
        images: `copy`; `link`: hard links, which take no space; `none`: labels alone.
        classes: new names of classes, `old=new,old=new`, or a file with one a line; `old=` leaves a class out.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; left out, as stored
            where the annotations state the stored size of all of them.
        json: file for the counts.
    """
    from singleshot.commands.data_merge import MergeOptions
    from singleshot.commands.data_merge import merge as write_merged
    from singleshot.console import progress, remarks, results
    from singleshot.files import require_output

    require_output(json, "--json", data)
    with progress(remarks(), "writing images") as on_image:
        written = write_merged(data, MergeOptions(out, to, images, classes, labels_on), on_image=on_image)
    for line in written.class_table():
        results().print(line)
    return _told(written, json)


def crop(
    data: Path,
    *,
    out: Path,
    tile: int = 640,
    overlap: float = 0.2,
    visible: float = 0.3,
    to: Format | None = None,
    labels_on: LabelsOn | None = None,
    json: Path | None = None,
) -> int:
    """Cut large images into tiles, so that small objects are learnt at their full size.

    Args:
        data: the data set.
        out: a new folder.
        tile: side of a tile in pixels.
        overlap: share of a tile that its neighbour has, too.
        visible: share of a box that must lie in a tile for it to be an object there.
        to: the format to write; left out, the set's own (VOC where it is not written).
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; left out, as stored
            where the annotations state the stored size of all of them.
        json: file for the counts.
    """
    from singleshot.commands.data_crop import CropOptions
    from singleshot.commands.data_crop import crop as write_tiles
    from singleshot.console import progress, remarks
    from singleshot.files import require_output
    from singleshot.tiles import Tiling

    require_output(json, "--json", [data])
    with progress(remarks(), "writing tiles") as on_image:
        written = write_tiles(data, CropOptions(out, Tiling(tile, overlap), visible, to, labels_on), on_image=on_image)
    return _told(written, json)


def show(data: Path, *, out: Path, split: str | None = None, most: int = 100, labels_on: LabelsOn | None = None) -> int:
    """Write a page of a data set: its images with their boxes, faults marked, to be filtered by class.

    Args:
        data: the data set.
        out: the HTML file.
        split: this split only.
        most: images on the page: those with faults first, at most half of it, then others evenly over the set.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; left out, as stored
            where the annotations state the stored size of all of them.
    """
    from singleshot.commands.data_show import ShowOptions
    from singleshot.commands.data_show import show as write_shown
    from singleshot.console import progress, remarks, results
    from singleshot.errors import RequestError
    from singleshot.files import is_device, require_page

    if out.suffix.lower() not in {".html", ".htm"} and not is_device(out):
        raise RequestError(f"--out is the HTML file of the page, such as {out.name or 'page'}.html; got {out}")
    require_page(out, None, [data])
    with progress(remarks(), "decoding images") as on_image:
        page = write_shown(data, ShowOptions(out, split, most, labels_on), on_image=on_image)
    results().print(f"{out}: {page.shown} of {page.images} images, {len(page.report.faults)} faults")
    return 1 if page.report.faults else 0


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
