"""The images of a run: which to learn from, which to validate on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from singleshot.data.classes import join, only_classes, with_classes
from singleshot.data.recognise import default_splits, open_data
from singleshot.data.splitting import HELD_OUT, hold_out
from singleshot.degenerate_boxes import count_box_faults, usable_in_set
from singleshot.errors import DataError, RequestError, UnknownNameError
from singleshot.spec import OBJECT
from singleshot.train.options import TrainOptions
from singleshot.types import Annotations

NO = "none"


def read_sets(
    data: Sequence[str], options: TrainOptions, *, class_agnostic: bool = False
) -> tuple[Annotations, Annotations | None, list[str]]:
    """Images to learn from and to validate on (None for none), and lines on them for people.

    Args:
        data: sets, joined.
        options: splits, classes and seed.
        class_agnostic: the model does not tell classes apart: all objects get the class `object`.

    Raises:
        RequestError, UnknownNameError, DataError: there is no such set, split or class, or nothing in it.
    """
    parts = _read(data, options)
    train_set, val_sets = join([part.train for part in parts]), [part.val for part in parts if part.val is not None]
    if options.classes is not None:
        names = _chosen_classes(options.classes, train_set.class_names)
        train_set, val_sets = only_classes(train_set, names), [only_classes(val, names) for val in val_sets]
        if not len(train_set.labels):
            raise DataError(f"no object of {', '.join(names)} in {len(train_set)} images")
    merged = []
    if class_agnostic:
        merged = [f"objects of {len(train_set.class_names)} classes are learnt as one: {OBJECT}"]
        train_set, val_sets = train_set.as_one_class(OBJECT), [val.as_one_class(OBJECT) for val in val_sets]
    if not usable_in_set(train_set).any():
        raise DataError(f"none of the {len(train_set.labels)} boxes can be learnt from: ssd data check names why")
    remarks = dict.fromkeys([*train_set.remarks, *(remark for val in val_sets for remark in val.remarks)])
    notes = [f"training on {len(train_set)} images with {len(train_set.labels)} objects", *remarks, *merged]
    if faults := count_box_faults(train_set):
        counts = ", ".join(f"{count} {kind}" for kind, count in faults.items())
        notes.append(f"bad boxes: {counts}; docs/data.md says what is dropped and clipped, ssd data check names them")
    if not val_sets:
        return train_set, None, [*notes, "no validation: best/ is not written"]
    val_set = join([with_classes(val, train_set.class_names) for val in val_sets])
    if not usable_in_set(val_set).any():
        reason = f"none of the {len(val_set)} validation images holds an object: no validation, best/ is not written"
        return train_set, None, [*notes, f"{reason} (--val-split {HELD_OUT} takes a fifth of the training images)"]
    unseen = sorted(set(val_set.labels.tolist()) - set(train_set.labels.tolist()))
    if unseen:
        names = tuple(train_set.class_names[label] for label in unseen)
        notes.append(f"no training object of {', '.join(names)}, though the validation images hold some")
    held_out = sum(len(part.val) for part in parts if part.val is not None and part.held_out)
    part = "" if held_out == len(val_set) else f"{held_out} of them "
    notes.append(f"validating on {len(val_set)} images" + (f", {part}held out of training" if held_out else ""))
    return train_set, val_set, notes


class _Part(NamedTuple):
    """What one data set contributes; `held_out` where the set has no validation split of its own."""

    train: Annotations
    val: Annotations | None
    held_out: bool


def _read(data: Sequence[str], options: TrainOptions) -> list[_Part]:
    train_splits, val_splits = _one_per_set(options.train_split, data), _one_per_set(options.val_split, data)
    return [
        _read_one(path, train_split, val_split, options)
        for path, train_split, val_split in zip(data, train_splits, val_splits, strict=True)
    ]


def _read_one(path: str, train_split: str | None, val_split: str | None, options: TrainOptions) -> _Part:
    """The set's own splits where none are named; without a validation split a fifth of the images is held out."""
    own_train, own_val, _ = default_splits(path)
    read = partial(
        open_data,
        path,
        partial=options.part is not None,
        labels_on=options.labels_on,
        leave_out_faulty=options.leave_out_faulty,
    )
    annotations = read(split=train_split or own_train)
    val_split = val_split or (HELD_OUT if train_split or own_val is None else own_val)
    if val_split == HELD_OUT:
        train, val = hold_out(annotations, seed=options.seed)
        return _Part(train, val, held_out=True)
    val_set = None if val_split == NO else read(split=val_split)
    return _Part(annotations, val_set, held_out=False)


def _one_per_set(split: str | None, data: Sequence[str]) -> list[str | None]:
    """The split of every data set: one name for all, or one a set, separated by commas."""
    names: list[str | None] = [None] if split is None else [name.strip() for name in split.split(",")]
    if len(names) not in {1, len(data)}:
        raise RequestError(f"{split!r} names {len(names)} splits for {len(data)} data sets: give one, or one a set")
    return names if len(names) == len(data) else names * len(data)


def _chosen_classes(classes: str, class_names: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(name.strip() for name in classes.split(",")))
    for name in chosen:
        if name not in class_names:
            raise UnknownNameError("class", name, class_names)
    return chosen
