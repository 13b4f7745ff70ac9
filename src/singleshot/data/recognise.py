"""Recognise the format of a data set and open it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from singleshot.data.annotation_cache import AnnotationCache
from singleshot.data.builder import ReadResult
from singleshot.data.classes import join, with_classes
from singleshot.data.coco import coco_files, read_coco
from singleshot.data.create_ml import create_ml_files, read_create_ml
from singleshot.data.csv_table import GTSDB, csv_files, csv_splits, read_csv, read_csv_splits
from singleshot.data.cvat import cvat_files, cvat_splits, is_cvat, read_cvat
from singleshot.data.faults import MISSING, refuse
from singleshot.data.hugging_face import hugging_face_files, is_hugging_face, read_hugging_face
from singleshot.data.ilsvrc import ANNOTATIONS as ILSVRC_ANNOTATIONS
from singleshot.data.ilsvrc import ilsvrc_splits, is_ilsvrc, read_ilsvrc
from singleshot.data.images import header_faults, read_headers
from singleshot.data.json_kinds import json_kind
from singleshot.data.label_studio import label_studio_files, read_label_studio
from singleshot.data.labelme import is_labelme, labelme_splits, read_labelme
from singleshot.data.leave_out import without_faulty
from singleshot.data.listing import folders_in
from singleshot.data.turned_images import LabelsOn, settle_frames
from singleshot.data.via import is_via, read_via, via_files
from singleshot.data.voc import read_voc, read_voc_splits, voc_splits
from singleshot.data.voc_layout import IMAGES, voc_marker
from singleshot.data.yolo import read_yolo
from singleshot.data.yolo_layout import yolo_marker, yolo_set
from singleshot.errors import DataError, RequestError
from singleshot.files import not_there
from singleshot.types import Annotations

__all__ = ["FORMATS", "DefaultSplits", "default_splits", "join", "open_data", "read_splits", "recognise", "splits"]


NOT_READ = {
    "*/ann/*.json": "Supervisely",
    "*.manifest": "SageMaker Ground Truth",
    "vott-json-export/*.json": "VoTT",
    "label_2/*.txt": "KITTI",
    "labelTxt/*.txt": "DOTA",
    "*/*/Label/*.txt": "the OIDv4 toolkit",
}
"""Files by which sets of other kinds are known."""
MOST_FOLDERS = 20
"""Folders that are looked into for a set, where the one that was given is none."""


class DefaultSplits(NamedTuple):
    """Names of the splits to train, validate and test on; None where the set has no such split."""

    train: str | None
    val: str | None
    test: str | None


class Format(NamedTuple):
    """How sets of one format are recognised and read.

    Attributes:
        recognise: of an existing file or folder, the file or folder inside that speaks for the format, such as
            `data.yaml`; of a file itself, its name; None where nothing does. It reads names, and a few first bytes.
        split_names: found without reading the ground truth.
        read: the ground truth of a split, or of the whole set (None), with faults and remarks.
        expected: how messages describe a set of this format.
        states_sizes: the annotations state every image's size, so images may be missing (`open_data`'s `partial`).
        file_per_image: each image has a file of annotations of its own.
        yields: counts only where no other format is recognised; elsewhere it is left aside, which a remark says.
        read_splits: every split by its name, and images in no split under ""; None: `read` for each of `split_names`.
    """

    recognise: Callable[[Path], str | None]
    split_names: Callable[[Path], list[str]]
    read: Callable[[Path, str | None], ReadResult]
    expected: str
    states_sizes: bool = False
    file_per_image: bool = False
    yields: bool = False
    read_splits: Callable[[Path], dict[str, ReadResult]] | None = None


def _recognise_ilsvrc(path: Path) -> str | None:
    return ILSVRC_ANNOTATIONS if is_ilsvrc(path) else None


def _recognise_coco(path: Path) -> str | None:
    if path.is_file():
        return path.name if path.suffix.lower() == ".json" else None
    return next((file.relative_to(path).as_posix() for file in coco_files(path).values()), None)


def _recognise_csv(path: Path) -> str | None:
    if path.is_file():
        return path.name if path.suffix.lower() in {".csv", ".tsv"} or path.name == GTSDB else None
    return next((file.name for file in csv_files(path).values()), None)


def _tool_format(
    files: Callable[[Path], dict[str, Path]],
    read: Callable[..., ReadResult],
    is_file_of_it: Callable[[Path], bool],
    expected: str,
    split_names: Callable[[Path], list[str]] | None = None,
) -> Format:
    """A labelling tool's format: a file, or the file of each split, as `files` finds them."""

    def recognise_it(path: Path) -> str | None:
        if path.is_file():
            return path.name if is_file_of_it(path) else None
        return next((file.relative_to(path).as_posix() for file in files(path).values()), None)

    return Format(
        recognise_it,
        split_names or (lambda path: [name for name in files(path) if name]),
        lambda path, split: read(path, split=split),
        expected,
    )


def _recognise_labelme(path: Path) -> str | None:
    if path.is_file():
        return path.name if json_kind(path) == "labelme" else None
    return "labelme's json files" if is_labelme(path) else None


def _read_all_coco(path: Path, split: str | None) -> ReadResult:
    """One split of a COCO set, or all its json files as one set."""
    if split is not None or len(coco_files(path)) == 1:
        return read_coco(path, split=split)
    return join_results([read_coco(path, split=name) for name in coco_files(path)])


def join_results(parts: Sequence[ReadResult]) -> ReadResult:
    """What was read from several files of one set, as one."""
    return ReadResult(
        join([part.annotations for part in parts]),
        np.concatenate([part.object_numbers for part in parts]),
        tuple(fault for part in parts for fault in part.faults),
        tuple(dict.fromkeys(remark for part in parts for remark in part.remarks)),
    )


FORMATS = {
    "voc": Format(
        voc_marker,
        lambda path: list(voc_splits(path)),
        lambda path, split: read_voc(path, split=split),
        "VOC (Annotations/*.xml, or .xml files beside the images)",
        states_sizes=True,
        read_splits=read_voc_splits,
        file_per_image=True,
    ),
    "ilsvrc": Format(
        _recognise_ilsvrc,
        ilsvrc_splits,
        lambda path, split: read_ilsvrc(path, split=split),
        "ILSVRC (Annotations/DET, ImageSets/DET)",
        states_sizes=True,
        file_per_image=True,
    ),
    "cvat": _tool_format(cvat_files, read_cvat, is_cvat, "CVAT for images (annotations.xml)", cvat_splits),
    "label_studio": _tool_format(
        label_studio_files,
        read_label_studio,
        lambda file: json_kind(file) == "label_studio",
        "Label Studio (a json of tasks)",
    ),
    "labelme": Format(
        _recognise_labelme,
        labelme_splits,
        lambda path, split: read_labelme(path, split=split),
        "labelme (a json an image)",
        yields=True,
        file_per_image=True,
    ),
    "create_ml": _tool_format(
        create_ml_files, read_create_ml, lambda file: json_kind(file) == "create_ml", "Create ML (a json)"
    ),
    "via": _tool_format(via_files, read_via, is_via, "VGG Image Annotator (a json or a csv)"),
    "hugging_face": _tool_format(
        hugging_face_files, read_hugging_face, is_hugging_face, "Hugging Face (metadata.jsonl)"
    ),
    "coco": Format(
        _recognise_coco,
        lambda path: [] if path.is_file() else list(coco_files(path)),
        _read_all_coco,
        "COCO (annotations/instances_*.json)",
        states_sizes=True,
    ),
    "yolo": Format(
        yolo_marker,
        lambda path: [name for name in yolo_set(path).sources if name],
        lambda path, split: read_yolo(path, split=split),
        "YOLO (data.yaml, images/ and labels/, or label files beside the images)",
        file_per_image=True,
    ),
    "csv": Format(
        _recognise_csv,
        csv_splits,
        lambda path, split: read_csv(path, split=split),
        "CSV (file,x1,y1,x2,y2,label)",
        read_splits=read_csv_splits,
        yields=True,
    ),
}
"""Format -> how its sets are recognised and read. Of a file the first that recognises it counts."""


def open_data(
    path: Path | str,
    *,
    split: str | None = None,
    class_names: Sequence[str] | None = None,
    headers: bool = True,
    partial: bool = False,
    images_needed: bool = True,
    labels_on: LabelsOn | None = None,
    leave_out_faulty: bool = False,
) -> Annotations:
    """Recognise the format and read the ground truth of a split, or of all images.

    Args:
        path: a VOC, ILSVRC DET, COCO, YOLO or CSV set.
        split: its name; None: every image of the set.
        class_names: number the labels by these names; None: the set's own.
        headers: refuse files that are no image or not of the annotated size; False: the images' headers tell only which
            are turned by EXIF.
        partial: images may be missing (this machine holds a part of them). Only for VOC, ILSVRC and COCO, whose
            annotations state the sizes.
        images_needed: False: an image may be missing where the annotations state its size; a remark counts them.
        labels_on: `stored` where boxes were drawn on images without regard to their EXIF orientation, `displayed` where
            with it; None: see `turned_images`. It needs `headers`.
        leave_out_faulty: leave images with faults out instead of refusing the set; a remark counts and names them.

    Where the environment variable SINGLESHOT_CACHE names a folder, a COCO or CSV file that was read and checked before
    comes from the cache there (`data.annotation_cache`).

    Raises:
        RequestError: no such path or split; no format, or several, recognised there; `partial` with another format.
        DataError: the set is empty, has faults that forbid training, or has objects of unknown classes.
    """
    path = Path(path)
    format_name = recognise(path)
    cache = AnnotationCache.of(path, format_name, split)
    annotations = None if cache is None or labels_on is not None else cache.load()
    if annotations is None:
        annotations = _open(
            path,
            format_name,
            split,
            headers=headers,
            partial=partial,
            images_needed=images_needed,
            labels_on=labels_on,
            leave_out_faulty=leave_out_faulty,
        )
        if (
            cache is not None
            and headers
            and not partial
            and images_needed
            and labels_on is None
            and not leave_out_faulty
        ):
            cache.store(annotations)
    return annotations if class_names is None else with_classes(annotations, class_names)


def _open(
    path: Path,
    format_name: str,
    split: str | None,
    *,
    headers: bool,
    partial: bool,
    images_needed: bool,
    labels_on: LabelsOn | None,
    leave_out_faulty: bool,
) -> Annotations:
    if partial and not FORMATS[format_name].states_sizes:
        raise RequestError(
            f"{path}: of a {format_name} set all images must be here; only VOC, ILSVRC and COCO sets can be partial"
        )
    result = _read(path, split)
    if not images_needed:
        result = _without_missing(result, all_sized=FORMATS[format_name].states_sizes)
    annotations, remarks = result.annotations, list(result.remarks)
    where = f"{path}, split {split}" if split else str(path)
    faults = [fault for fault in result.faults if not partial or fault.kind != MISSING]
    file_per_image = FORMATS[format_name].file_per_image
    if leave_out_faulty:
        annotations, faults, left_out = without_faulty(annotations, faults, file_per_image=file_per_image)
        remarks += left_out
    refuse(faults, where=where)
    seen = read_headers(annotations, missing_too=images_needed and not partial)
    states_sizes = FORMATS[format_name].states_sizes
    annotations, turned = settle_frames(annotations, seen, states_sizes=states_sizes, labels_on=labels_on)
    remarks += turned
    if headers:
        faults = header_faults(annotations, seen)
        if leave_out_faulty:
            annotations, faults, left_out = without_faulty(annotations, faults, file_per_image=file_per_image)
            remarks += left_out
        refuse(faults, where=where)
    if len(annotations) == 0:
        raise DataError("; ".join([f"{where}: the set is empty: no images", *remarks]))
    if len(annotations.labels) == 0:
        raise DataError("; ".join([f"{where}: {len(annotations)} images, but not one labelled object", *remarks]))
    return replace(annotations, remarks=tuple(remarks))


def _without_missing(result: ReadResult, *, all_sized: bool) -> ReadResult:
    """Without the faults of missing images whose sizes are stated; a remark says how many there are."""
    annotations = result.annotations
    sized = {file for file, size in zip(annotations.files, annotations.sizes_wh, strict=True) if size.all()}
    faults = [fault for fault in result.faults if fault.kind != MISSING or not (all_sized or fault.file in sized)]
    missing = len(result.faults) - len(faults)
    remarks = [f"{missing} images are not here: the annotations state their sizes"] if missing else []
    return replace(result, faults=tuple(faults), remarks=(*result.remarks, *remarks))


def holds_labels(path: Path) -> bool:
    """Whether a file, or anything in a folder, speaks for a format; a folder of images alone does not."""
    return path.exists() and any(form.recognise(path) is not None for form in FORMATS.values())


def recognise(path: Path) -> str:
    """The format, a key of `FORMATS`.

    Raises:
        RequestError: no such path; no format, or several, recognised (the files that speak for each are named).
    """
    return _recognise(path)[0]


def _recognise(path: Path) -> tuple[str, tuple[str, ...]]:
    """The format, and remarks on what else lies there and is left aside. Raises as `recognise`."""
    if not path.exists():
        raise RequestError(f"{not_there(path)}: no such file or folder")
    expected = ", ".join(form.expected for form in FORMATS.values())
    if path.is_file():
        name = next((name for name, form in FORMATS.items() if form.recognise(path)), None)
        if name is None:
            raise RequestError(f"{path}: not a data set; expected {expected}")
        return name, ()
    markers = _markers(path)
    first = [name for name in markers if not FORMATS[name].yields] or list(markers)
    if first == ["voc", "yolo"] and not markers["yolo"].endswith((".yaml", ".yml")) and (path / IMAGES).is_dir():
        first = ["voc"]  # darknet's labels/ were made of the XML files
    if len(first) == 1:
        aside = tuple(
            f"{marker} is left aside: the set is read as {first[0]} ({markers[first[0]]})"
            for name, marker in markers.items()
            if name not in first
        )
        return first[0], aside
    if markers:
        listed = " and ".join(f"{markers[name]} ({name})" for name in first)
        raise RequestError(f"{path}: mixed formats, found {listed}; keep one, or name the .json, .yaml or .csv itself")
    if inside := _sets_inside(path):
        raise RequestError(f"{path}: no data set found; did you mean {' or '.join(map(str, inside))}?")
    raise RequestError(f"{path}: no data set found; expected {expected}{_near_miss(path)}")


def _markers(folder: Path) -> dict[str, str]:
    """Format -> the file or folder that speaks for it."""
    return {name: marker for name, form in FORMATS.items() if (marker := form.recognise(folder)) is not None}


def _sets_inside(folder: Path) -> list[Path]:
    """The first three sets in a folder, else in the folders in it: a zip unpacks to a folder in a folder."""
    children = folders_in(folder)[:MOST_FOLDERS]
    inside = [child for child in children if _markers(child)]
    return (
        inside or [deeper for child in children for deeper in folders_in(child)[:MOST_FOLDERS] if _markers(deeper)]
    )[:3]


def _near_miss(folder: Path) -> str:
    """Advice where a folder holds annotations in the wrong place or shape, or of a kind that is not read."""
    for pattern, tool in NOT_READ.items():
        if file := next(folder.glob(pattern), None):
            return f"; {file} is of {tool}, which is not read: export or convert the set to COCO, VOC or YOLO"
    if any(folder.glob("*.xml")):
        return "; there are .xml files: put them into Annotations/ and the images into JPEGImages/"
    if file := next(folder.glob("*.json"), None):
        return f"; if {file} is in COCO's format, give that file in place of the folder"
    if file := next(folder.glob("*.csv"), None):
        return f"; the header of {file.name} has to be file,x1,y1,x2,y2,label"
    return ""


def splits(path: Path | str) -> dict[str, int]:
    """The names of a set's splits and the number of images of each; empty where the set has no splits."""
    return {name: len(result.annotations) for name, result in read_splits(path).items() if name}


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
    if split is not None:
        return {split: _read(path, split)}
    name, remarks = _recognise(path)
    form = FORMATS[name]
    if form.read_splits is None:
        return {name: _read(path, name) for name in form.split_names(path)} or {"": _read(path, None)}
    return {name: _with_remarks(result, remarks) for name, result in form.read_splits(path).items()}


def _read(path: Path, split: str | None) -> ReadResult:
    name, remarks = _recognise(path)
    return _with_remarks(FORMATS[name].read(path, split), remarks)


def _with_remarks(result: ReadResult, remarks: Sequence[str]) -> ReadResult:
    return replace(result, remarks=(*result.remarks, *remarks))


def read_upright(
    path: Path | str, *, split: str | None = None, labels_on: LabelsOn | None = None
) -> dict[str, ReadResult]:
    """`read_splits` with the boxes in the frame of the displayed images, as `open_data` gives them."""
    path = Path(path)
    states_sizes = FORMATS[recognise(path)].states_sizes
    results = read_splits(path, split=split)
    for name, result in results.items():
        headers = read_headers(result.annotations)
        settled, remarks = settle_frames(result.annotations, headers, states_sizes=states_sizes, labels_on=labels_on)
        results[name] = replace(result, annotations=settled, remarks=(*result.remarks, *remarks))
    return results
