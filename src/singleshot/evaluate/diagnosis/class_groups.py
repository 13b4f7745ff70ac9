"""Which classes are easily taken for each other: Hoiem's groups for VOC, COCO's supercategories, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from singleshot.errors import RequestError, UnknownNameError
from singleshot.shapes import Bool

# Hoiem et al. 2012, section 2.1: vehicles; animals, persons among them; furniture; and what flies.
VOC_GROUPS = (
    ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    ("chair", "diningtable", "sofa"),
    ("aeroplane", "bird"),
)
# COCO's supercategories; a person is one by itself.
COCO_GROUPS = (
    ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    (
        "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard",
        "surfboard", "tennis racket",
    ),
    ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    (
        "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake",
    ),
    ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    ("microwave", "oven", "toaster", "sink", "refrigerator"),
    ("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)  # fmt: skip


def parse_groups(text: str, class_names: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups as a user writes them: `car,bus;cat,dog`.

    Raises:
        UnknownNameError: a class that the set does not have.
        RequestError: a group of one.
    """
    groups = [tuple(name.strip() for name in group.split(",")) for group in text.split(";") if group.strip()]
    for group in groups:
        for name in group:
            if name not in class_names:
                raise UnknownNameError("class", name, class_names)
        if len(set(group)) < 2:
            raise RequestError(f"a group of similar classes is two or more, such as car,bus;cat,dog, got {group[0]!r}")
    if not groups:
        raise RequestError("no group of similar classes: give some such as car,bus;cat,dog, or leave --similar out")
    return groups


def groups_of(class_names: Sequence[str]) -> list[tuple[str, ...]]:
    """The known groups, as far as a set has their classes; of a set with other classes none.

    A group that is part of another, as most of COCO's are where the classes are VOC's, adds nothing and is left out.
    """
    there = [tuple(name for name in class_names if name in group) for group in (*VOC_GROUPS, *COCO_GROUPS)]
    different = dict.fromkeys(group for group in there if len(group) > 1)
    return [group for group in different if not any(set(group) < set(other) for other in different)]


def similarity(class_names: Sequence[str], groups: Sequence[Sequence[str]]) -> Bool[np.ndarray, "L L"]:
    """Whether two classes are in one group; no class is similar to itself."""
    similar = np.zeros((len(class_names), len(class_names)), bool)
    for group in groups:
        rows = [class_names.index(name) for name in group]
        similar[np.ix_(rows, rows)] = True
    np.fill_diagonal(similar, val=False)
    return similar
