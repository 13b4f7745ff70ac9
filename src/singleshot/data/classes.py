"""Order, rename, drop and unite classes; join several sets."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from singleshot.errors import DataError
from singleshot.types import BOX_ARRAYS, Annotations
from singleshot.variants import VOC_CLASSES


def class_order(names: Collection[str]) -> tuple[str, ...]:
    """An order for the class names of a format that has none: VOC's where all are VOC's, else alphabetical."""
    if set(names) <= set(VOC_CLASSES):
        return tuple(name for name in VOC_CLASSES if name in names)
    return tuple(sorted(names))


def with_classes(annotations: Annotations, class_names: Sequence[str]) -> Annotations:
    """The same ground truth with labels that index these names.

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
    """Only the objects of these classes; labels index these names. Images without objects stay, as background."""
    dropped = dict.fromkeys(set(annotations.class_names) - set(class_names))
    return with_classes(relabel(annotations, dropped), class_names)


def relabel(annotations: Annotations, mapping: Mapping[str, str | None]) -> Annotations:
    """Rename classes by old name -> new name; None drops a class and its objects (the images stay).

    Names that are not mapped stay. Several classes may get the same name. The order of the names is kept.
    """
    renamed = [mapping.get(name, name) for name in annotations.class_names]
    class_names = tuple(dict.fromkeys(name for name in renamed if name is not None))
    position = {name: label for label, name in enumerate(class_names)}
    renumber = np.array([-1 if name is None else position[name] for name in renamed], np.int64)
    labels = renumber[annotations.labels] if len(annotations.labels) else annotations.labels
    keep = labels >= 0
    starts = np.concatenate([[0], np.cumsum(keep)])[annotations.starts].astype(np.int64)
    annotations = replace(annotations, labels=labels)
    return replace(
        annotations,
        class_names=class_names,
        category_ids=tuple(annotations.category_ids[renamed.index(name)] for name in class_names),
        starts=starts,
        **{name: getattr(annotations, name)[keep] for name in BOX_ARRAYS},
    )


def join(sets: Sequence[Annotations]) -> Annotations:
    """Several sets as one, image after image; class names are united in the order of their first appearance.

    The format is that of the sets where all have the same, else `joined`. COCO's category ids are kept where all sets
    agree on them. Image ids are kept where no two sets share one, else the set's number precedes them ("2/000012").

    Raises:
        DataError: no sets.
    """
    if not sets:
        raise DataError("no data set was given")
    if len(sets) == 1:
        return sets[0]
    class_names = tuple(dict.fromkeys(name for data in sets for name in data.class_names))
    category_ids = _united_category_ids(sets)
    sets = [with_classes(data, class_names) for data in sets]
    root, files = _common_root(sets)
    ids = [name for data in sets for name in data.ids]
    if len(set(ids)) < sum(len(set(data.ids)) for data in sets):
        ids = [f"{number}/{name}" for number, data in enumerate(sets, 1) for name in data.ids]
    offsets = np.cumsum([0, *(len(data.labels) for data in sets)])
    starts = [data.starts[:-1] + offset for data, offset in zip(sets, offsets[:-1], strict=True)]
    formats = {data.format for data in sets}
    return Annotations(
        format=formats.pop() if len(formats) == 1 else "joined",
        root=root,
        files=files,
        ids=tuple(ids),
        class_names=class_names,
        category_ids=tuple(category_ids.get(name, number) for number, name in enumerate(class_names, 1)),
        sizes_wh=np.concatenate([data.sizes_wh for data in sets]),
        starts=np.concatenate([*starts, offsets[-1:]]).astype(np.int64),
        remarks=tuple(f"{data.root}: {remark}" for data in sets for remark in data.remarks),
        **{name: np.concatenate([getattr(data, name) for data in sets]) for name in BOX_ARRAYS},
    )


def _united_category_ids(sets: Sequence[Annotations]) -> dict[str, int]:
    """COCO's category id of every name; empty where a set is not COCO's or two sets disagree."""
    if any(data.format != "coco" for data in sets):
        return {}
    pairs = {pair for data in sets for pair in zip(data.class_names, data.category_ids, strict=True)}
    by_name = dict(pairs)
    return by_name if len(by_name) == len(pairs) == len(set(by_name.values())) else {}


def _common_root(sets: Sequence[Annotations]) -> tuple[Path, tuple[str, ...]]:
    """The deepest folder above all sets, and every image's path relative to it; absolute paths for several drives."""
    roots = [data.root.absolute() for data in sets]
    try:
        root = Path(os.path.commonpath(roots))
        prefixes = [path.relative_to(root) for path in roots]
    except ValueError:
        root, prefixes = Path(), roots
    return root, tuple(
        (prefix / name).as_posix() for prefix, data in zip(prefixes, sets, strict=True) for name in data.files
    )
