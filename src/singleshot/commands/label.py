"""`ssd label`: a model's detections as labels in a tool's own format, for a person to correct."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from singleshot.boxes import area
from singleshot.commands.learnt_images import learnt_overlap
from singleshot.commands.new_set import Images, require_new_folder
from singleshot.commands.options import LABEL_SCORE
from singleshot.commands.sources import find_sources
from singleshot.data.recognise import holds_labels, read_splits
from singleshot.data.whole_set import LabelledSet, PredictedBoxes, image_places
from singleshot.data.writers.new_set import WRITERS, FormatName, placing, write_set
from singleshot.data.writers.text import write_text
from singleshot.degenerate_boxes import usable_boxes
from singleshot.errors import DataError, ImageError, RequestError
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.evaluate.pre_annotation import LEAST_SCORE, expected_corrections
from singleshot.runtime.detector import Detector
from singleshot.tiles import OVERLAP, tiling_of
from singleshot.types import Annotations, Detections
from singleshot.weights.replace import replaced_folder

ORDER = "order.tsv"
DECIMALS = 2
"""Of a label's pixels: tools show no more."""
OnNote = Callable[[str], None]
OnImage = Callable[[int, int], None]


@dataclass(frozen=True)
class LabelOptions:
    """How to label.

    Attributes:
        out: a new folder.
        format: `cvat`, `label-studio` or `labelme`; also `voc`, `coco`, `yolo` or `csv`.
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        score: detections from this score on become labels.
        all: of a set with labels, its labelled images, too; left out, only images without one labelled object.
        images: `copy`; `link`: hard links, which take no space; `none`: labels alone.
        device: `auto`, `cpu` or `cuda`.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
        max_megapixels: decode images up to this size; left out, 50.
        tile: side of tiles in pixels: images that are larger are searched in tiles, too, for their small objects.
        overlap: share of a tile that its neighbour has, too.

    Raises:
        RequestError: a score, or tiles, that are none.
    """

    out: Path
    format: FormatName
    model: str | None = None
    score: float = LABEL_SCORE
    all: Annotated[bool, Parameter(negative=())] = False
    images: Images = "copy"
    device: str = "auto"
    backbone: str | None = None
    max_megapixels: float | None = None
    tile: int | None = None
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        if not 0 < self.score <= 1:
            raise RequestError(f"--score is above 0 and at most 1, got {self.score:g}")
        tiling_of(self.tile, self.overlap)


@dataclass(frozen=True, eq=False)
class PredictedImage:
    """An image file and its labels; `corrections` is the number of boxes that a person is expected to correct."""

    file: str
    size_wh: tuple[int, int]
    labels: Detections
    corrections: float


@dataclass(frozen=True, eq=False)
class LabelResult:
    """What was written.

    Attributes:
        out: the folder.
        format: its format.
        model: the model's name.
        score: detections from this score on became labels.
        images: those that the model is least sure of first.
        places: path of each below the folder's images, in the same order.
        failed: a line for each file that could not be used.
        remarks: what was left out, renamed or converted.
        learnt_images: how many of the images the model has learnt; None where that is not known.
    """

    out: Path
    format: FormatName
    model: str
    score: float
    images: Sequence[PredictedImage]
    places: Sequence[str]
    failed: Sequence[str] = ()
    remarks: Sequence[str] = field(default=())
    learnt_images: LearntOverlap | None = None

    @property
    def boxes(self) -> int:
        """Number of all labels."""
        return sum(len(image.labels) for image in self.images)

    @property
    def per_class(self) -> dict[str, int]:
        """Labels of each class that has any, in the model's order."""
        names = self.images[0].labels.class_names
        counts = np.bincount(np.concatenate([image.labels.labels for image in self.images]), minlength=len(names))
        return {name: int(count) for name, count in zip(names, counts, strict=True) if count}

    def to_dict(self) -> dict[str, Any]:
        """The content of `ssd label --json`."""
        learnt = {} if self.learnt_images is None else {"learnt_images": self.learnt_images.to_json()}
        return {
            **learnt,
            "out": str(self.out),
            "format": self.format,
            "model": self.model,
            "score": self.score,
            "boxes": self.boxes,
            "per_class": self.per_class,
            "failed": list(self.failed),
            "remarks": list(self.remarks),
            "images": [
                {
                    "file": image.file,
                    "place": place,
                    "boxes": len(image.labels),
                    "expected_corrections": round(image.corrections, 4),
                }
                for image, place in zip(self.images, self.places, strict=True)
            ],
        }


def label_images(
    data: Path,
    options: LabelOptions,
    *,
    on_note: OnNote = lambda _text: None,
    on_image: OnImage = lambda _done, _total: None,
) -> LabelResult:
    """Detect in images and write the detections as labels, those images first that the model is least sure of.

    An image that cannot be used is listed and left out. The folder is written whole or not at all.

    Args:
        data: an image, a folder of images, or a labelled set.
        options: how to label.
        on_note: called with lines for people.
        on_image: called with the number of images done, and of all.

    Raises:
        RequestError: no such images or model, all images have labels, or a folder that is not empty or lies in `data`.
        DataError: the model detects nothing at all.
        ModelError, HashError: the model's folder is not whole.
        MachineError: the disk is full; nothing is left behind.
    """
    require_new_folder(options.out)
    if options.out.resolve().is_relative_to(data.resolve()):
        raise RequestError(f"--out: {options.out} lies in {data}, whose images are read: give a folder outside")
    root, files = unlabelled_images(data, everything=options.all, on_note=on_note)
    detector = Detector.load(
        options.model,
        device=options.device,
        score=min(options.score, LEAST_SCORE),
        backbone=options.backbone,
        max_megapixels=options.max_megapixels,
        tile=options.tile,
        overlap=options.overlap,
    )
    learnt = learnt_overlap(detector.folder, files, on_note=on_note)
    images, failed = _predicted(detector, root, files, options.score, on_image)
    if not images:
        raise RequestError(f"{data}: not one of {len(files)} images can be used: {failed[0]}")
    if not any(len(image.labels) for image in images):
        raise DataError(
            f"{detector.name} detects nothing in {len(images)} images from score {options.score:g} on: nothing is "
            "written; a lower --score writes more"
        )
    labelled = _as_set(images, root, options.format, detector.name)
    with replaced_folder(options.out) as folder:
        place_image = placing(labelled.annotations, options.images)
        written, remarks = write_set(labelled, folder, to=options.format, place_image=place_image)
        write_text(folder / ORDER, _order(images, [f"{WRITERS[options.format].images}/{p}" for p in written.places]))
    remarks = [*labelled.remarks, *remarks]
    return LabelResult(
        options.out, options.format, detector.name, options.score, images, written.places, failed, remarks, learnt
    )


def unlabelled_images(
    data: Path, *, everything: bool = False, on_note: OnNote = lambda _text: None
) -> tuple[Path, list[Path]]:
    """The folder of some images, and those of them that have no labelled object; a note counts those that have.

    Args:
        data: an image, a folder of images, or a labelled set.
        everything: images with labelled objects, too.
        on_note: called with lines for people.

    Raises:
        RequestError: there are no images, or all have labels.
    """
    if not holds_labels(data):
        return (data if data.is_dir() else data.parent), _image_files(data, on_note)
    results = list(read_splits(data).values())
    root = results[0].annotations.root
    annotated, labelled = dict[Path, None](), set[Path]()
    for result in results:
        for index in range(len(result.annotations)):
            annotated[result.annotations.path(index)] = None
            if len(result.annotations.ground_truth(index)):
                labelled.add(result.annotations.path(index).resolve())
    if faults := sum(len(result.faults) for result in results):
        on_note(f"{faults} faults in the labels of {data}, which `ssd data check` lists")
    files = _image_files(data, on_note) if data.is_dir() else list(annotated)
    if everything:
        return root, files
    chosen = [file for file in files if file.resolve() not in labelled]
    if not chosen:
        raise RequestError(f"{data}: all {len(files)} images have labels: --all labels them anew")
    if len(chosen) < len(files):
        on_note(f"{len(files) - len(chosen)} of {len(files)} images have labels and are left out (--all takes them)")
    return root, chosen


def _image_files(data: Path, on_note: OnNote) -> list[Path]:
    """The images of a folder, or the one that is named; a note counts the videos, which have no labels."""
    sources = find_sources([data], say=on_note)
    if not sources.images:
        raise RequestError(f"{data} has no images, only videos: `ssd track` follows their objects")
    if sources.videos:
        on_note(f"{data}: {len(sources.videos)} videos left out: labels are of images")
    return sources.images


def _predicted(
    detector: Detector, root: Path, files: Sequence[Path], score: float, on_image: OnImage
) -> tuple[list[PredictedImage], list[str]]:
    """The images by falling number of expected corrections, and a line for each file that cannot be used."""
    images, failed = list[PredictedImage](), list[str]()
    for item in detector.stream(files):
        if isinstance(item, ImageError):
            failed.append(str(item))
        elif not str(item[0]).isprintable() or "\\" in item[0].as_posix():
            failed.append(f"{str(item[0])!r}: the name holds what not every format can: rename it")
        else:
            path, pixels, detections = item
            labels = detections.above(score)
            labels = replace(labels, boxes=np.round(labels.boxes, DECIMALS))
            labels = labels[usable_boxes(labels.boxes)]
            size_wh = (pixels.shape[1], pixels.shape[0])
            file = path.relative_to(root) if path.is_relative_to(root) else path
            corrections = expected_corrections(detections, score=score)
            images.append(PredictedImage(file.as_posix(), size_wh, labels, corrections))
        on_image(len(images) + len(failed), len(files))
    return sorted(images, key=lambda image: (-image.corrections, image.file)), failed


def _as_set(images: Sequence[PredictedImage], root: Path, format_name: str, model: str) -> LabelledSet:
    """The images, in their order, with their labels as ground truth that a model has predicted."""
    files = tuple(image.file for image in images)
    class_names = images[0].labels.class_names
    boxes = np.concatenate([image.labels.boxes for image in images])
    count = len(boxes)
    annotations = Annotations(
        format=format_name,
        root=root,
        files=files,
        ids=tuple(Path(file).stem for file in files),
        class_names=class_names,
        category_ids=tuple(range(1, len(class_names) + 1)),
        sizes_wh=np.array([image.size_wh for image in images], np.int32),
        starts=np.cumsum([0, *(len(image.labels) for image in images)]).astype(np.int64),
        boxes_xyxy=boxes,
        labels=np.concatenate([image.labels.labels for image in images]),
        difficult=np.zeros(count, bool),
        crowd=np.zeros(count, bool),
        areas=area(boxes),
    )
    places, remarks = image_places(files)
    scores = np.concatenate([image.labels.scores for image in images])
    predicted = PredictedBoxes(model, scores, np.array([image.corrections for image in images]))
    return LabelledSet(annotations, places, {}, remarks, predicted)


def _order(images: Sequence[PredictedImage], places: Sequence[str]) -> str:
    """A table of the images, those that the model is least sure of first."""
    rows = [
        f"{p.lstrip('/')}\t{image.corrections:.3f}\t{len(image.labels)}\n"
        for image, p in zip(images, places, strict=True)
    ]
    return "".join(["image\texpected corrections\tboxes\n", *rows])
