"""The images of a run: which to learn from, which to validate on."""

from __future__ import annotations

from collections.abc import Sequence

from singleshot.data.classes import join, only_classes, with_classes
from singleshot.data.recognise import default_splits, open_data
from singleshot.data.splitting import hold_out
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
    splits = _one_each(options.train_split, data), _one_each(options.val_split, data)
    partial = options.part is not None
    parts = [_read_one(*each, seed=options.seed, partial=partial) for each in zip(data, *splits, strict=True)]
    train_set, val_sets = join([train for train, _, _ in parts]), [val for _, val, _ in parts if val is not None]
    if options.classes is not None:
        wanted = _wanted(options.classes, train_set.class_names)
        train_set, val_sets = only_classes(train_set, wanted), [only_classes(val, wanted) for val in val_sets]
        if not len(train_set.labels):
            raise DataError(f"not one object of {', '.join(wanted)} in {len(train_set)} images")
    merged = []
    if class_agnostic:
        merged = [f"objects of {len(train_set.class_names)} classes are learnt as one: {OBJECT}"]
        train_set, val_sets = train_set.as_one_class(OBJECT), [val.as_one_class(OBJECT) for val in val_sets]
    if not usable_in_set(train_set).any():
        raise DataError(f"not one of the {len(train_set.labels)} boxes can be learnt from: ssd data check names why")
    notes = [f"training on {len(train_set)} images with {len(train_set.labels)} objects", *merged]
    bad = count_box_faults(train_set)
    if bad:
        counts = ", ".join(f"{count} {kind}" for kind, count in bad.items())
        notes.append(
            f"bad boxes: {counts}; see docs/data.md for what is dropped and what clipped (ssd data check names them)"
        )
    if not val_sets:
        return train_set, None, [*notes, "no validation: best/ is not written"]
    val_set = join([with_classes(val, train_set.class_names) for val in val_sets])
    learnt = set(train_set.labels.tolist())
    unseen = [train_set.class_names[label] for label in sorted({*val_set.labels.tolist()} - learnt)]
    if unseen:
        notes.append(f"not one object to learn {', '.join(unseen)} from, though the validation images hold some")
    held_out = sum(len(val) for _, val, held in parts if held and val is not None)
    notes.append(
        f"validating on {len(val_set)} images" + (f", {held_out} of them held out of training" if held_out else "")
    )
    return train_set, val_set, notes


def _wanted(classes: str, class_names: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(name.strip() for name in classes.split(",")))
    for name in wanted:
        if name not in class_names:
            raise UnknownNameError("class", name, class_names)
    return wanted


def _one_each(split: str | None, data: Sequence[str]) -> list[str | None]:
    """The split of every data set: one name for all, or one a set, separated by commas."""
    names: list[str | None] = [None] if split is None else [name.strip() for name in split.split(",")]
    if len(names) not in {1, len(data)}:
        raise RequestError(f"{split!r} names {len(names)} splits for {len(data)} data sets: give one, or one a set")
    return names if len(names) == len(data) else names * len(data)


def _read_one(
    path: str, train_split: str | None, val_split: str | None, *, seed: int, partial: bool
) -> tuple[Annotations, Annotations | None, bool]:
    """Images to train on and to validate on: the set's own splits, else (then True) a fifth of them, held out."""
    own_train, own_val, _ = default_splits(path)
    annotations = open_data(path, split=train_split or own_train, partial=partial)
    wanted = val_split or (None if train_split else own_val)
    if wanted == NO:
        return annotations, None, False
    if wanted is not None:
        return annotations, open_data(path, split=wanted, partial=partial), False
    return *hold_out(annotations, seed=seed), True
