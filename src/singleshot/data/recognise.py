"""Recognise the format of a data set and open it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from singleshot.data.annotation_cache import AnnotationCache
from singleshot.data.builder import ReadResult
from singleshot.data.classes import join, with_classes
from singleshot.data.coco import coco_files, read_coco
from singleshot.data.csv_table import csv_files, read_csv
from singleshot.data.faults import MISSING, refuse
from singleshot.data.ilsvrc import ANNOTATIONS as ILSVRC_ANNOTATIONS
from singleshot.data.ilsvrc import ilsvrc_splits, is_ilsvrc, read_ilsvrc
from singleshot.data.images import header_faults
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
    """Names of the splits to train, validate and test on; None where the set has no such split."""

    train: str | None
    val: str | None
    test: str | None


class Format(NamedTuple):
    """How sets of one format are read.

    Attributes:
        read: the ground truth of a split, or of the whole set (None), with the faults met on the way.
        split_names: found without reading the ground truth.
        states_sizes: the annotations state every image's size, so images may be missing (`open_data`'s `partial`).
    """

    read: Callable[[Path, str | None], ReadResult]
    split_names: Callable[[Path], list[str]]
    states_sizes: bool


def _read_all_coco(path: Path, split: str | None) -> ReadResult:
    """One split of a COCO set, or all its json files as one set."""
    if split is not None or len(coco_files(path)) == 1:
        return read_coco(path, split=split)
    parts = [read_coco(path, split=name) for name in coco_files(path)]
    return ReadResult(
        join([part.annotations for part in parts]),
        np.concatenate([part.object_numbers for part in parts]),
        tuple(fault for part in parts for fault in part.faults),
        tuple(dict.fromkeys(remark for part in parts for remark in part.remarks)),
    )


FORMATS = {
    "voc": Format(lambda path, split: read_voc(path, split=split), lambda path: list(voc_splits(path)), True),
    "ilsvrc": Format(lambda path, split: read_ilsvrc(path, split=split), ilsvrc_splits, True),
    "coco": Format(_read_all_coco, lambda path: [] if path.is_file() else list(coco_files(path)), True),
    "yolo": Format(
        lambda path, split: read_yolo(path, split=split),
        lambda path: [name for name in yolo_set(path).sources if name],
        False,
    ),
    "csv": Format(
        lambda path, split: read_csv(path, split=split),
        lambda path: [] if path.is_file() else list(csv_files(path)),
        False,
    ),
}


def open_data(
    path: Path | str,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    headers: bool = True,
    partial: bool = False,
) -> Annotations:
    """Recognise the format and read the ground truth of a split, or of all images.

    Args:
        path: a VOC, ILSVRC DET, COCO, YOLO or CSV set.
        split: its name; None: every image of the set.
        class_names: number the labels by these names; None: the set's own.
        headers: read every image's header, and refuse files that are no image or not of the annotated size.
        partial: images may be missing (this machine holds a part of them). Only for VOC, ILSVRC and COCO, whose
            annotations state the sizes.

    Where the environment variable SINGLESHOT_CACHE names a folder, a COCO or CSV file that was read and checked before
    comes from the cache there (`data.annotation_cache`).

    Raises:
        RequestError: no such path or split; no format, or several, recognised there; `partial` with another format.
        DataError: the set is empty, has faults that forbid training, or has objects of unknown classes.
    """
    path = Path(path)
    format_name = recognise(path)
    cache = AnnotationCache.of(path, format_name, split)
    annotations = None if cache is None else cache.load()
    if annotations is None:
        annotations = _open(path, format_name, split, headers=headers, partial=partial)
        if cache is not None and headers and not partial:
            cache.store(annotations)
    return annotations if class_names is None else with_classes(annotations, class_names)


def _open(path: Path, format_name: str, split: str | None, *, headers: bool, partial: bool) -> Annotations:
    if partial and not FORMATS[format_name].states_sizes:
        raise RequestError(
            f"{path}: of a {format_name} set all images must be here; only VOC, ILSVRC and COCO sets can be partial"
        )
    result = _read(path, format_name, split)
    annotations = result.annotations
    where = f"{path}, split {split}" if split else str(path)
    refuse([fault for fault in result.faults if not partial or fault.kind != MISSING], where=where)
    refuse(header_faults(annotations, missing_too=not partial) if headers else (), where=where)
    if len(annotations) == 0:
        raise DataError(f"{where}: the set is empty: no images")
    if len(annotations.labels) == 0:
        raise DataError(f"{where}: {len(annotations)} images, but not one labelled object")
    return annotations


def recognise(path: Path) -> str:
    """The format: `voc`, `ilsvrc`, `coco`, `yolo` or `csv`.

    Raises:
        RequestError: no such path; no format, or several, recognised (the files that speak for each are named).
    """
    if not path.exists():
        raise RequestError(f"{path}: no such file or folder")
    if path.is_file():
        if path.suffix.lower() not in _SUFFIXES:
            raise RequestError(f"{path}: not a data set; expected {_EXPECTED}")
        return _SUFFIXES[path.suffix.lower()]
    markers = _markers(path)
    if len(markers) == 1:
        return next(iter(markers))
    if markers:
        listed = " and ".join(f"{marker} ({name})" for name, marker in markers.items())
        raise RequestError(f"{path}: mixed formats, found {listed}; keep one, or name the .json, .yaml or .csv itself")
    inside = [child.name for child in sorted(path.iterdir()) if child.is_dir() and _markers(child)]
    hint = f"; did you mean {' or '.join(str(path / name) for name in inside[:3])}?" if inside else _near_miss(path)
    raise RequestError(f"{path}: no data set found; expected {_EXPECTED}{hint}")


def _near_miss(folder: Path) -> str:
    """Advice where a folder holds annotations in the wrong place or shape."""
    if any(folder.glob("*.xml")):
        return "; there are .xml files: put them into Annotations/ and the images into JPEGImages/"
    if file := next(folder.glob("*.json"), None):
        return f"; if {file} is in COCO's format, give that file in place of the folder"
    if file := next(folder.glob("*.csv"), None):
        return f"; the header of {file.name} has to be file,x1,y1,x2,y2,label"
    return ""


def splits(path: Path | str) -> dict[str, int]:
    """The names of a set's splits and the number of images of each; empty where the set has no splits."""
    path = Path(path)
    format_name = recognise(path)
    if format_name == "voc":
        return voc_splits(path)
    if format_name == "yolo":
        dataset = yolo_set(path)
        return {name: len(yolo_images(dataset, name)) for name in dataset.sources if name}
    return {name: len(_read(path, format_name, name).annotations) for name in FORMATS[format_name].split_names(path)}


def default_splits(path: Path | str) -> DefaultSplits:
    """The splits to train, validate and test on, by their names: the first of `train`, `train...`, and so on.

    `trainval` is trained on only where no other `train...` exists. A set with splits but none to train on has None
    there, and is then taken whole.
    """
    path = Path(path)
    names = FORMATS[recognise(path)].split_names(path)

    def first(prefix: str) -> str | None:
        candidates = [name for name in names if name.lower().startswith(prefix) and "trainval" not in name.lower()]
        return min(candidates, key=lambda name: (len(name), name), default=None)

    trainval = next((name for name in names if "trainval" in name.lower()), None)
    return DefaultSplits(first("train") or trainval, first("val"), first("test"))


def read_splits(path: Path | str, *, split: str | None = None) -> dict[str, ReadResult]:
    """Every split with its faults, for checking; images in no split are under the name ""."""
    path = Path(path)
    format_name = recognise(path)
    if split is not None:
        return {split: _read(path, format_name, split)}
    if format_name == "voc":
        return read_voc_splits(path)
    names = FORMATS[format_name].split_names(path)
    return {name: _read(path, format_name, name) for name in names} or {"": _read(path, format_name, None)}


def _read(path: Path, format_name: str, split: str | None) -> ReadResult:
    return FORMATS[format_name].read(path, split)


def _markers(folder: Path) -> dict[str, str]:
    """Format -> the file or folder that speaks for it."""
    markers = {}
    if any((folder / "Annotations").glob("*.xml")):
        markers["voc"] = "Annotations/*.xml"
    elif (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir():
        markers["voc"] = "Annotations/ and JPEGImages/"
    if is_ilsvrc(folder):
        markers["ilsvrc"] = ILSVRC_ANNOTATIONS
    if files := coco_files(folder):
        markers["coco"] = next(iter(files.values())).relative_to(folder).as_posix()
    if (yaml := yaml_file(folder)) is not None:
        markers["yolo"] = yaml.name
    elif (folder / "images").is_dir() and (folder / "labels").is_dir():
        markers["yolo"] = "images/ and labels/"
    if not markers and (tables := csv_files(folder)):  # TensorFlow's tutorials leave tables beside the XML files
        markers["csv"] = next(iter(tables.values())).name
    return markers
