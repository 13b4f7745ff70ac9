"""Open a data set of any format that we read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from singleshot.data.classes import join, with_classes
from singleshot.data.coco import coco_files, read_coco
from singleshot.data.csv_table import csv_files, read_csv
from singleshot.data.faults import MISSING, Reading, refuse
from singleshot.data.headers import header_faults
from singleshot.data.ilsvrc import ANNOTATIONS as ILSVRC_ANNOTATIONS
from singleshot.data.ilsvrc import ilsvrc_splits, is_ilsvrc, read_ilsvrc
from singleshot.data.kept import Kept
from singleshot.data.voc import read_voc, read_voc_splits, voc_splits
from singleshot.data.yolo import read_yolo, yaml_file, yolo_images, yolo_set
from singleshot.errors import DataError, RequestError
from singleshot.types import Annotations

__all__ = ["DefaultSplits", "default_splits", "join", "open_data", "read_splits", "recognise", "splits"]

_SUFFIXES = {".json": "coco", ".yaml": "yolo", ".yml": "yolo", ".csv": "csv"}
_EXPECTED = (
    "VOC (Annotations/*.xml), ILSVRC (Annotations/DET, ImageSets/DET), COCO (annotations/instances_*.json), "
    "YOLO (data.yaml, or images/ and labels/) "
    "or CSV (file,x1,y1,x2,y2,label)"
)


class DefaultSplits(NamedTuple):
    """The splits to train, validate and test on; None where the set has none such."""

    train: str | None
    val: str | None
    test: str | None


def open_data(
    path: Path | str,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    headers: bool = True,
    partial: bool = False,
) -> Annotations:
    """Recognise the format and read the ground-truth boxes of a split, or of all images.

    Args:
        path: a VOC, ILSVRC DET, COCO, YOLO or CSV set.
        split: its name; left out, every image of the set.
        class_names: number the labels by these names; left out, the set's own.
        headers: also refuse images that are none, or not of the size that the annotation states (reads every header).
        partial: images may be missing: this machine holds a part of them. VOC, ILSVRC and COCO, whose annotations
            tell the sizes.

    A COCO or CSV file that was read before is not read and checked again where `SINGLESHOT_CACHE` names a folder to
    keep its annotations in; see `data.kept`.

    Raises:
        RequestError: no such path or split, or no format, or several formats, recognised there; a part of another
            format.
        DataError: the set is empty, has faults that forbid training, or objects of unknown classes.
    """
    path = Path(path)
    layout = recognise(path)
    kept = Kept.of(path, layout, split)
    annotations = None if kept is None else kept.load()
    if annotations is None:
        annotations = _open(path, layout, split, headers=headers, partial=partial)
        if kept is not None and headers and not partial:
            kept.store(annotations)
    return annotations if class_names is None else with_classes(annotations, class_names)


def _open(path: Path, layout: str, split: str | None, *, headers: bool, partial: bool) -> Annotations:
    if partial and layout not in {"voc", "ilsvrc", "coco"}:
        raise RequestError(f"{path}: of a {layout} set all images must be here; of VOC, ILSVRC and COCO a part will do")
    reading = _read(path, layout, split)
    annotations = reading.annotations
    where = f"{path}, split {split}" if split else str(path)
    refuse([fault for fault in reading.faults if not partial or fault.kind != MISSING], where=where)
    refuse(header_faults(annotations, missing_too=not partial) if headers else (), where=where)
    if len(annotations) == 0:
        raise DataError(f"{where}: the set is empty: no images")
    if len(annotations.labels) == 0:
        raise DataError(f"{where}: {len(annotations)} images, but not one labelled object")
    return annotations


def recognise(path: Path) -> str:
    """The format: `voc`, `ilsvrc`, `coco`, `yolo` or `csv`.

    Raises:
        RequestError: no such path; nothing, or several formats, recognised (the markers found are named).
    """
    if not path.exists():
        raise RequestError(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix.lower() not in _SUFFIXES:
            raise RequestError(f"{path}: not a data set; expected {_EXPECTED}")
        return _SUFFIXES[path.suffix.lower()]
    found = _markers(path)
    if len(found) == 1:
        return next(iter(found))
    if found:
        markers = " and ".join(f"{marker} ({layout})" for layout, marker in found.items())
        raise RequestError(f"{path}: mixed formats, found {markers}; keep one, or name the .json, .yaml or .csv itself")
    inside = [child.name for child in sorted(path.iterdir()) if child.is_dir() and _markers(child)]
    hint = f"; did you mean {' or '.join(str(path / name) for name in inside[:3])}?" if inside else _near_miss(path)
    raise RequestError(f"{path}: no data set found; expected {_EXPECTED}{hint}")


def _near_miss(folder: Path) -> str:
    """What else lies there that some tool wrote as annotations, and what to do with it."""
    if any(folder.glob("*.xml")):
        return "; there are .xml files: put them into Annotations/ and the images into JPEGImages/"
    if found := next(folder.glob("*.json"), None):
        return f"; if {found} is COCO's, name it itself"
    if found := next(folder.glob("*.csv"), None):
        return f"; {found.name} has other columns"
    return ""


def splits(path: Path | str) -> dict[str, int]:
    """The names of a set's splits and how many images each has; empty where it has none."""
    path = Path(path)
    layout = recognise(path)
    if layout == "voc":
        return voc_splits(path)
    if layout == "yolo":
        place = yolo_set(path)
        return {name: len(yolo_images(place, name)) for name in place.sources if name}
    return {name: len(_read(path, layout, name).annotations) for name in _split_names(path, layout)}


def default_splits(path: Path | str) -> DefaultSplits:
    """The splits meant for training, validation and testing, by their names.

    The first of `train`, `train...` (but `trainval` only where there is no other), of `val`, `val...`, and of `test`,
    `test...`; a set with splits but none to train on has None there, and is then taken whole.
    """
    path = Path(path)
    names = _split_names(path, recognise(path))

    def first(prefix: str) -> str | None:
        fitting = sorted(
            (name for name in names if name.lower().startswith(prefix)), key=lambda name: (len(name), name)
        )
        return next((name for name in fitting if "trainval" not in name.lower()), None)

    trainval = next((name for name in names if "trainval" in name.lower()), None)
    return DefaultSplits(first("train") or trainval, first("val"), first("test"))


def read_splits(path: Path | str, *, split: str | None = None) -> dict[str, Reading]:
    """Every split with its faults, for checking; images in no split stand under the name ""."""
    path = Path(path)
    layout = recognise(path)
    if split is not None:
        return {split: _read(path, layout, split)}
    if layout == "voc":
        return read_voc_splits(path)
    names = _split_names(path, layout)
    return {name: _read(path, layout, name) for name in names} if names else {"": _read(path, layout, None)}


def _markers(folder: Path) -> dict[str, str]:
    """What in a folder speaks for which format."""
    found = {}
    if any((folder / "Annotations").glob("*.xml")):
        found["voc"] = "Annotations/*.xml"
    elif (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir():
        found["voc"] = "Annotations/ and JPEGImages/"
    if is_ilsvrc(folder):
        found["ilsvrc"] = ILSVRC_ANNOTATIONS
    files = coco_files(folder)
    if files:
        found["coco"] = next(iter(files.values())).relative_to(folder).as_posix()
    if (yaml := yaml_file(folder)) is not None:
        found["yolo"] = yaml.name
    elif (folder / "images").is_dir() and (folder / "labels").is_dir():
        found["yolo"] = "images/ and labels/"
    tables = csv_files(folder)
    if tables:
        found["csv"] = next(iter(tables.values())).name
    return found


def _split_names(path: Path, layout: str) -> list[str]:
    """Names only, without reading the ground-truth boxes; a lone CSV or json is a whole, not a split."""
    if layout == "voc":
        return list(voc_splits(path))
    if layout == "ilsvrc":
        return ilsvrc_splits(path)
    if layout == "yolo":
        return [name for name in yolo_set(path).sources if name]
    if path.is_file():
        return []
    return list(coco_files(path) if layout == "coco" else csv_files(path))


def _read(path: Path, layout: str, split: str | None) -> Reading:
    if layout == "voc":
        return read_voc(path, split=split)
    if layout == "ilsvrc":
        return read_ilsvrc(path, split=split)
    if layout == "yolo":
        return read_yolo(path, split=split)
    if layout == "csv":
        return read_csv(path, split=split)
    if split is not None or len(coco_files(path)) == 1:
        return read_coco(path, split=split)
    parts = [read_coco(path, split=name) for name in coco_files(path)]
    return _together(parts)


def _together(parts: Sequence[Reading]) -> Reading:
    return Reading(
        join([part.annotations for part in parts]),
        np.concatenate([part.numbers for part in parts]),
        tuple(fault for part in parts for fault in part.faults),
    )
