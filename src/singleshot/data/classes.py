"""Class names: their order, renaming and dropping classes, several sets as one."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from singleshot.errors import DataError
from singleshot.types import Annotations
from singleshot.variants import VOC_CLASSES


def class_order(names: Collection[str]) -> tuple[str, ...]:
    """Names that a format gives in no order: VOC's order where all are VOC's, else alphabetical."""
    if set(names) <= set(VOC_CLASSES):
        return tuple(name for name in VOC_CLASSES if name in names)
    return tuple(sorted(names))


def with_classes(annotations: Annotations, class_names: Sequence[str]) -> Annotations:
    """The same ground-truth boxes, labels numbered by these names.

    Raises:
        DataError: an object's class is not among them.
    """
    used = {annotations.class_names[label] for label in np.unique(annotations.labels)}
    unknown = sorted(used - set(class_names))
    if unknown:
        raise DataError(
            f"{annotations.root} has objects of unknown classes {', '.join(unknown)}; expected {', '.join(class_names)}"
        )
    same = tuple(class_names) == annotations.class_names
    ids = annotations.category_ids if same else tuple(range(1, len(class_names) + 1))
    if annotations.format == "coco" and set(class_names) <= set(annotations.class_names):
        ids = tuple(annotations.category_ids[annotations.class_names.index(name)] for name in class_names)
    position = {name: label for label, name in enumerate(class_names)}
    renumber = np.array([position.get(name, -1) for name in annotations.class_names], np.int64)
    labels = renumber[annotations.labels] if len(annotations.labels) else annotations.labels
    return replace(annotations, class_names=tuple(class_names), category_ids=ids, labels=labels)


def only_classes(annotations: Annotations, class_names: Sequence[str]) -> Annotations:
    """Only the objects of these classes, labels numbered in this order; images without any stay, as background."""
    others = set(annotations.class_names) - set(class_names)
    return with_classes(relabel(annotations, dict.fromkeys(others)), class_names)


def relabel(annotations: Annotations, mapping: Mapping[str, str | None]) -> Annotations:
    """Rename classes; None drops a class and its objects (not the images); a name that is not mapped stays.

    Several classes may get one name. The new names stand in the order of the old.
    """
    renamed = [mapping.get(name, name) for name in annotations.class_names]
    class_names = tuple(dict.fromkeys(name for name in renamed if name is not None))
    position = {name: label for label, name in enumerate(class_names)}
    renumber = np.array([-1 if name is None else position[name] for name in renamed], np.int64)
    labels = renumber[annotations.labels] if len(annotations.labels) else annotations.labels
    keep = labels >= 0
    kept_before = np.concatenate([[0], np.cumsum(keep)])
    return replace(
        annotations,
        class_names=class_names,
        category_ids=tuple(annotations.category_ids[renamed.index(name)] for name in class_names),
        starts=kept_before[annotations.starts].astype(np.int64),
        boxes_xyxy=annotations.boxes_xyxy[keep],
        labels=labels[keep],
        difficult=annotations.difficult[keep],
        crowd=annotations.crowd[keep],
        areas=annotations.areas[keep],
    )


def join(sets: Sequence[Annotations]) -> Annotations:
    """Several sets as one: their images one behind the other, their class names united in order of first appearance.

    The format is the sets' own where they share one, else `joined`. COCO's category ids stay where all sets agree on
    them. Ids stay where no two sets share one, else each is preceded by the number of its set ("2/000012").
    """
    if not sets:
        raise DataError("no data set was given")
    if len(sets) == 1:
        return sets[0]
    class_names = tuple(dict.fromkeys(name for one in sets for name in one.class_names))
    ids = _united_category_ids(sets)
    sets = [with_classes(one, class_names) for one in sets]
    root, files = _common_root(sets)
    offsets = np.cumsum([0, *(len(one.labels) for one in sets)])
    starts = [one.starts[:-1] + offset for one, offset in zip(sets, offsets[:-1], strict=True)]
    clash = sum(len(set(one.ids)) for one in sets) != len({name for one in sets for name in one.ids})
    formats = {annotations.format for annotations in sets}
    return Annotations(
        format=formats.pop() if len(formats) == 1 else "joined",
        root=root,
        files=files,
        ids=tuple(f"{i}/{name}" if clash else name for i, one in enumerate(sets, 1) for name in one.ids),
        class_names=class_names,
        category_ids=tuple(ids[name] for name in class_names) if ids else tuple(range(1, len(class_names) + 1)),
        sizes_wh=np.concatenate([one.sizes_wh for one in sets]),
        starts=np.concatenate([*starts, offsets[-1:]]).astype(np.int64),
        boxes_xyxy=np.concatenate([one.boxes_xyxy for one in sets]),
        labels=np.concatenate([one.labels for one in sets]),
        difficult=np.concatenate([one.difficult for one in sets]),
        crowd=np.concatenate([one.crowd for one in sets]),
        areas=np.concatenate([one.areas for one in sets]),
    )


def _united_category_ids(sets: Sequence[Annotations]) -> dict[str, int]:
    """Category id of every name where all sets are COCO's and agree, else nothing."""
    if any(one.format != "coco" for one in sets):
        return {}
    pairs = {pair for one in sets for pair in zip(one.class_names, one.category_ids, strict=True)}
    by_name = dict(pairs)
    return by_name if len(by_name) == len(pairs) == len(set(by_name.values())) else {}


def _common_root(sets: Sequence[Annotations]) -> tuple[Path, tuple[str, ...]]:
    """A folder above all sets (or none, on several drives), and every image's path relative to it."""
    roots = [one.root.absolute() for one in sets]
    try:
        root = Path(os.path.commonpath(roots))
    except ValueError:
        return Path(), tuple(
            (own / name).as_posix() for own, one in zip(roots, sets, strict=True) for name in one.files
        )
    prefixes = [own.relative_to(root) for own in roots]
    return root, tuple(
        (prefix / name).as_posix() for prefix, one in zip(prefixes, sets, strict=True) for name in one.files
    )
