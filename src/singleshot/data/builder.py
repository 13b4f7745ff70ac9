"""What a reader of annotations returns, and the builder that every reader fills.

The builder appends to flat arrays: a set of a million boxes needs no Python object for each box.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from singleshot.data.faults import Fault
from singleshot.types import Annotations


@dataclass(frozen=True, eq=False)
class ReadResult:
    """What a reader returns: the ground truth, degenerate boxes included, and the faults of the files.

    Attributes:
        annotations: every image and every object that could be parsed.
        object_numbers: (M,) int32, which object of its image each box is, from 1; malformed objects count.
        faults: what could not be parsed or does not fit together.
        remarks: lines on what was guessed, converted or left out, each with its count.
    """

    annotations: Annotations
    object_numbers: np.ndarray
    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()

    def select(self, images: Sequence[int], faults: Sequence[Fault]) -> ReadResult:
        """Only these images, with these faults."""
        starts = self.annotations.starts
        rows = [self.object_numbers[starts[i] : starts[i + 1]] for i in images]
        numbers = np.concatenate(rows) if rows else self.object_numbers[:0]
        return ReadResult(self.annotations.subset(images), numbers, tuple(faults), self.remarks)


class AnnotationBuilder:
    """Collects images, and objects of the image that was added last; `finish` returns the annotations.

    Class names are numbered as they come; `finish` renumbers them into the order that the reader gives.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self.ids: list[str] = []
        self.class_numbers: dict[str, int] = {}
        self._sizes = array("q")
        self._starts = array("q", [0])
        self._boxes = array("f")
        self._labels = array("q")
        self._flags = array("b")
        self._areas = array("f")
        self._numbers = array("i")

    def add_image(self, file: str, identity: str, *, width: int, height: int) -> None:
        """Add an image; width and height are 0 where the format does not state them."""
        self.files.append(file)
        self.ids.append(identity)
        self._sizes.extend((width, height))
        self._starts.append(len(self._labels))

    def add_box(
        self,
        box_xyxy: Sequence[float],
        name: str,
        *,
        number: int,
        difficult: bool = False,
        crowd: bool = False,
        area: float | None = None,
    ) -> None:
        """Add a ground-truth box to the image that was added last.

        Args:
            box_xyxy: in pixels, as the file states it (degenerate boxes, too).
            name: its class.
            number: which object of its image it is, from 1.
            difficult: see `Annotations`.
            crowd: likewise.
            area: as the file states it; None: the box's area.
        """
        left, top, right, bottom = box_xyxy
        self._boxes.extend((left, top, right, bottom))
        self._labels.append(self.class_numbers.setdefault(name, len(self.class_numbers)))
        self._flags.append(int(difficult) + 2 * int(crowd))
        self._areas.append(max(right - left, 0.0) * max(bottom - top, 0.0) if area is None else area)
        self._numbers.append(number)
        self._starts[-1] = len(self._labels)

    def finish(
        self,
        faults: Sequence[Fault],
        *,
        format_name: str,
        root: Path,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None = None,
        remarks: Sequence[str] = (),
    ) -> ReadResult:
        """The result; labels index `class_names`, which must hold every name that was added."""
        position = {name: label for label, name in enumerate(class_names)}
        renumber = np.array([position[name] for name in self.class_numbers], np.int64)
        labels = np.array(self._labels, np.int64)
        flags = np.array(self._flags, np.int8)
        annotations = Annotations(
            format=format_name,
            root=root,
            files=tuple(self.files),
            ids=tuple(self.ids),
            class_names=tuple(class_names),
            category_ids=tuple(category_ids or range(1, len(class_names) + 1)),
            sizes_wh=np.array(self._sizes, np.int32).reshape(-1, 2),
            starts=np.array(self._starts, np.int64),
            boxes_xyxy=np.array(self._boxes, np.float32).reshape(-1, 4),
            labels=renumber[labels] if len(labels) else labels,
            difficult=(flags & 1).astype(bool),
            crowd=(flags & 2).astype(bool),
            areas=np.array(self._areas, np.float32),
        )
        return ReadResult(annotations, np.array(self._numbers, np.int32), tuple(faults), tuple(remarks))
