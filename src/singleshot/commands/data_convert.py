"""`ssd data convert`: a labelled set in another format, without loss where the format can hold it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from singleshot.commands.new_set import Images, NewSet, OnImage, require_new_folder, write_new_set
from singleshot.data.classes import relabel
from singleshot.data.turned_images import LabelsOn
from singleshot.data.whole_set import LabelledSet, read_whole_set
from singleshot.data.writers.new_set import FormatName
from singleshot.errors import RequestError, UnknownNameError
from singleshot.files import read_list


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        out: a new folder.
        to: `voc`, `coco`, `yolo`, `csv`, `labelme`, `cvat` or `label-studio`.
        images: `copy`; `link`: hard links, which take no space; `none`: labels alone.
        classes: `old=new,old=new`, or a file with one a line: new names of classes; `old=` leaves a class out.
        labels_on: images that EXIF turns were labelled as they are `stored` or as `displayed`; None: as `open_data`.
    """

    out: Path
    to: FormatName
    images: Images = "copy"
    classes: str | None = None
    labels_on: LabelsOn | None = None


def convert(data: Path, options: ConvertOptions, *, on_image: OnImage = lambda _done, _total: None) -> NewSet:
    """Write a set in another format, splits included.

    Raises:
        RequestError: no such set or class, or a folder that is not empty.
        DataError: the set has faults that forbid training; `ssd data check` lists them.
    """
    require_new_folder(options.out)
    labelled = read_whole_set(data, images_needed=options.images != "none", labels_on=options.labels_on)
    if options.classes is not None:
        labelled = with_renamed_classes(labelled, class_map(options.classes))
    return write_new_set(labelled, options.out, to=options.to, images=options.images, on_image=on_image)


def class_map(text: str) -> dict[str, str | None]:
    """Old name -> new name, None where the class is left out, from `old=new,old=` or a file of such lines.

    Raises:
        RequestError: an entry without `=`, or an old name twice.
    """
    entries = (
        read_list(Path(text)) if Path(text).is_file() else [part.strip() for part in text.split(",") if part.strip()]
    )
    names: dict[str, str | None] = {}
    for entry in entries:
        old, sign, new = (part.strip() for part in entry.partition("="))
        if not sign or not old or old in names:
            raise RequestError(f"--classes: expected old=new, each old name once, got {entry[:80]!r}")
        names[old] = new or None
    return names


def with_renamed_classes(data: LabelledSet, names: dict[str, str | None]) -> LabelledSet:
    """The set with classes renamed, united or left out; a remark counts the objects that are left out.

    Raises:
        UnknownNameError: an old name is none of the set's.
    """
    annotations = data.annotations
    for name in names:
        if name not in annotations.class_names:
            raise UnknownNameError("class", name, annotations.class_names)
    renamed = relabel(annotations, names)
    lost = len(annotations.labels) - len(renamed.labels)
    dropped = ", ".join(old for old, new in names.items() if new is None)
    remarks = [f"{lost} objects of classes left out: {dropped}"] if dropped else []
    return replace(data, annotations=renamed, remarks=(*data.remarks, *remarks))
