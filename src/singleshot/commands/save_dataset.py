"""A `torch.utils.data.Dataset` of one's own as a data set on the disk, which every verb reads and `ssd train` takes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from singleshot.commands.new_set import require_new_folder
from singleshot.data.builder import AnnotationBuilder
from singleshot.data.whole_set import LabelledSet
from singleshot.data.writers.new_set import WRITERS
from singleshot.errors import DataError, ImageError
from singleshot.runtime.image_source import as_array
from singleshot.shapes import Float32, Int64
from singleshot.types import Annotations
from singleshot.weights.replace import replaced_folder


class OwnDataset(Protocol):
    """What is needed of a dataset: a length, and items (image, target), as torchvision's detectors take them."""

    def __len__(self) -> int:
        """How many items it has."""

    def __getitem__(self, index: int, /) -> Any:
        """An image of any kind that a `Detector` takes, and a mapping with `boxes` and `labels`."""


def save_dataset(
    datasets: Mapping[str, OwnDataset] | OwnDataset,
    out: Path | str,
    *,
    class_names: Sequence[str],
    first_label: int = 0,
) -> tuple[str, ...]:
    """Write a dataset as a COCO set with PNG images, each item once, as it is given.

    Args:
        datasets: one, or several by the name of their split: `{"train": ..., "val": ...}`. A target's `boxes` are left,
            top, right, bottom in pixels of its image, (n, 4), its `labels` n whole numbers.
        out: a folder, empty or not there.
        class_names: in the order of the labels.
        first_label: the number of the first class: 1 where 0 stands for the background, as in torchvision.

    Returns:
        Remarks on what was converted, on boxes without area, and on classes without objects.

    Raises:
        RequestError: the folder is not empty.
        DataError: an item that is no image with boxes and labels, or nothing labelled; it says which.
        ImageError: an image of a kind that is not taken.
        MachineError: the disk is full; nothing is left behind.
    """
    folder = Path(out)
    require_new_folder(folder)
    splits = dict(datasets) if isinstance(datasets, Mapping) else {"": datasets}
    builder, members = AnnotationBuilder(), dict[str, tuple[int, ...]]()
    floats = 0
    with replaced_folder(folder) as place:
        for split, dataset in splits.items():
            first = len(builder.files)
            for index in range(len(dataset)):
                where = f"item {index} of {split or 'the dataset'}"
                image, boxes, labels, converted = _item(dataset[index], where, len(class_names), first_label)
                floats += converted
                file = f"{split}/{index:06}.png" if split else f"{index:06}.png"
                target = place / WRITERS["coco"].images / file
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(target)
                builder.add_image(file, file.removesuffix(".png"), width=image.shape[1], height=image.shape[0])
                for number, (box, label) in enumerate(zip(boxes.tolist(), labels.tolist(), strict=True), 1):
                    builder.add_box(box, class_names[label], number=number)
            if split:
                members[split] = tuple(range(first, len(builder.files)))
        result = builder.finish([], format_name="coco", root=folder, class_names=class_names)
        if not len(result.annotations.labels):
            raise DataError(f"{len(builder.files)} items, but not one labelled object: nothing is written")
        WRITERS["coco"].write(LabelledSet(result.annotations, tuple(builder.files), members), place)
    return _remarks(result.annotations, floats)


def _item(
    item: Any, where: str, classes: int, first_label: int
) -> tuple[np.ndarray, Float32[np.ndarray, "n 4"], Int64[np.ndarray, " n"], bool]:
    """Pixels, boxes and labels from 0 of an item, and whether its image had floats."""
    expected = f"{where}: expected (image, {{'boxes': (n, 4), 'labels': (n,)}})"
    if not isinstance(item, tuple | list) or len(item) != 2:
        parts = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise DataError(f"{expected}, got a {type(item).__name__}{parts}")
    image, target = item
    try:
        boxes = np.asarray(target["boxes"], np.float32).reshape(-1, 4)
        numbers = np.asarray(target["labels"]).reshape(-1)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{expected}, got {error}") from None
    if len(boxes) != len(numbers):
        raise DataError(f"{where}: {len(boxes)} boxes, but {len(numbers)} labels")
    if not np.isfinite(boxes).all():
        raise DataError(f"{where}: a coordinate is no finite number")
    labels = numbers.astype(np.int64) - first_label
    if len(labels) and (labels != numbers - first_label).any():
        raise DataError(f"{where}: labels are whole numbers, got {numbers.tolist()[:5]}")
    wrong = [int(label) + first_label for label in labels if not 0 <= label < classes]
    if wrong:
        from_one = " (first_label=1 where labels count from 1)" if wrong[0] == classes and not first_label else ""
        raise DataError(
            f"{where}: the label {wrong[0]} is none of {classes} classes, {first_label} to "
            f"{first_label + classes - 1}{from_one}"
        )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            pixels = as_array(image)
        except ImageError as error:
            raise ImageError(f"{where}: {error}") from None
    return pixels, boxes, labels, any("float" in str(warning.message) for warning in warned)


def _remarks(annotations: Annotations, floats: int) -> tuple[str, ...]:
    counts = np.bincount(annotations.labels, minlength=len(annotations.class_names))
    remarks = [f"{floats} images of floats in 0..1 were multiplied by 255"] if floats else []
    inverted = int((annotations.boxes_xyxy[:, 2:] <= annotations.boxes_xyxy[:, :2]).any(axis=1).sum())
    remarks += [f"boxes without area: {inverted}; expected left, top, right, bottom in pixels"] if inverted else []
    empty = [name for name, count in zip(annotations.class_names, counts, strict=True) if not count]
    remarks += [f"classes without an object: {', '.join(empty)}"] if empty else []
    return tuple(remarks)
