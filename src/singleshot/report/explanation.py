"""What `ssd explain` finds in an image, and its page: each map with its grid and default boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.draw import Colour, Mark, class_colour
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.report import template
from singleshot.report.images import Figure, figure, marked
from singleshot.shapes import UInt8
from singleshot.types import Detections

GROUND_TRUTH, LEARNS, MINED = (255, 255, 255), (255, 214, 0), (255, 80, 50)
SHOWN = 6
"""Boxes of a kind drawn on one map."""


@dataclass(frozen=True)
class DefaultBox:
    """One default box of a network.

    Attributes:
        number: its row among all K.
        source: name of its map.
        map_size_hw: rows and columns of the map.
        cell_xy: column and row of the cell.
        shape: what it is in its cell: `square 30`, `square 60 (root)`, `2:1`, `1:3`.
        box_xyxy: pixels of the image, not cut to it.
    """

    number: int
    source: str
    map_size_hw: tuple[int, int]
    cell_xy: tuple[int, int]
    shape: str
    box_xyxy: tuple[float, float, float, float]

    def __str__(self) -> str:
        """For people: `conv8_2 10x10, cell (3, 4), 2:1`."""
        (rows, columns), (x, y) = self.map_size_hw, self.cell_xy
        return f"{self.source} {columns}x{rows}, cell ({x}, {y}), {self.shape}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "number": self.number,
            "source": self.source,
            "map": [self.map_size_hw[1], self.map_size_hw[0]],
            "cell": list(self.cell_xy),
            "shape": self.shape,
            "box": [round(value, 2) for value in self.box_xyxy],
        }


@dataclass(frozen=True)
class Origin:
    """Where a detection came from.

    Attributes:
        default_box: that predicted it.
        iou: of that default box with the detection.
        suppressed: how many other default boxes predicted the same and lost to it in NMS.
    """

    default_box: DefaultBox
    iou: float
    suppressed: int


@dataclass(frozen=True)
class LabelledObject:
    """How a ground-truth box would be learnt.

    Attributes:
        label: class name.
        box_xyxy: pixels of the image.
        best: the default box with the highest IoU.
        iou: of the two.
        default_boxes: those that learn it, the one of the one-to-one assignment among them.
    """

    label: str
    box_xyxy: tuple[float, float, float, float]
    best: DefaultBox
    iou: float
    default_boxes: tuple[DefaultBox, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """An image explained.

    Attributes:
        detections: best first.
        origins: of each detection.
        objects: the ground truth; empty where none was given.
        mined: the default boxes that hard negative mining would take, hardest first, with the loss of each.
        maps: for each source map, its name, default boxes, and how many of the detections came from it.
        iou_threshold: from which IoU boxes learn an object.
        learnt_images: whether the model has learnt the image; None where that is not known.
    """

    detections: Detections
    origins: tuple[Origin, ...]
    objects: tuple[LabelledObject, ...]
    mined: tuple[tuple[DefaultBox, float], ...]
    maps: tuple[tuple[str, int, int], ...]
    iou_threshold: float
    learnt_images: LearntOverlap | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; `truths` and the `overlap`s are earlier names of `ground_truth` and the `iou`s."""
        objects = [
            {
                "label": labelled.label,
                "box": list(labelled.box_xyxy),
                "best_iou": labelled.iou,
                "best_overlap": labelled.iou,
                "learnt_by": [default_box.to_json() for default_box in labelled.default_boxes],
            }
            for labelled in self.objects
        ]
        learnt = {} if self.learnt_images is None else {"learnt_images": self.learnt_images.to_json()}
        return {
            **learnt,
            "detections": [
                {
                    **detection,
                    "default_box": origin.default_box.to_json(),
                    "iou": origin.iou,
                    "overlap": origin.iou,
                    "suppressed": origin.suppressed,
                }
                for detection, origin in zip(self.detections.to_dicts(), self.origins, strict=True)
            ],
            "ground_truth": objects,
            "truths": objects,
            "mined": [{**default_box.to_json(), "loss": loss} for default_box, loss in self.mined],
            "maps": [{"source": name, "boxes": boxes, "detections": count} for name, boxes, count in self.maps],
            "iou_threshold": self.iou_threshold,
            "overlap_threshold": self.iou_threshold,
        }


def write_explanation(path: Path, title: str, image: UInt8[np.ndarray, "H W 3"], explanation: Explanation) -> None:
    """Write the page.

    Raises:
        MachineError: no space left on the disk.
    """
    template.write_page(path, render(title, image, explanation))


def render(title: str, image: UInt8[np.ndarray, "H W 3"], explanation: Explanation) -> str:
    """The page as text."""
    return template.render_page(
        "explanation.html",
        title=title,
        notes=[] if explanation.learnt_images is None else list(explanation.learnt_images.lines()),
        overview=_overview(image, explanation),
        origins=list(_origins(explanation)),
        objects=list(_objects(explanation)),
        iou_threshold=f"{explanation.iou_threshold:g}",
        mined=len(explanation.mined),
        shown=SHOWN,
        maps=[_map(image, explanation, *counted) for counted in explanation.maps],
    )


def _overview(image: UInt8[np.ndarray, "H W 3"], explanation: Explanation) -> Figure:
    """The image with its detections and, dashed, its labelled objects."""
    detections = explanation.detections
    marks = [Mark(labelled.box_xyxy, GROUND_TRUTH, dashed=True) for labelled in explanation.objects]
    for row in reversed(range(len(detections))):
        label = int(detections.labels[row])
        caption = f"{row + 1}: {detections.class_names[label]} {100 * detections.scores[row]:.0f}%"
        marks.append(Mark(detections.boxes[row].tolist(), class_colour(label), caption))
    words = f"detections: {len(detections)}"
    if explanation.objects:
        words += f"; labelled objects (dashed): {len(explanation.objects)}"
    return figure(marked(image, marks), words)


def _origins(explanation: Explanation) -> Iterable[list[str]]:
    """Rows of the table of detections."""
    for row, origin in enumerate(explanation.origins):
        box = origin.default_box
        yield [
            f"{row + 1}: {explanation.detections.names[row]}",
            f"{100 * explanation.detections.scores[row]:.0f}%",
            f"{box.source} {box.map_size_hw[1]}x{box.map_size_hw[0]}",
            f"{box.cell_xy[0]}, {box.cell_xy[1]}",
            box.shape,
            f"{origin.iou:.2f}",
            str(origin.suppressed),
        ]


def _objects(explanation: Explanation) -> Iterable[list[str]]:
    """Rows of the table of labelled objects."""
    for labelled in explanation.objects:
        left, top, right, bottom = labelled.box_xyxy
        size = f"{right - left:.0f}x{bottom - top:.0f}"
        yield [labelled.label, size, str(labelled.best), f"{labelled.iou:.2f}", str(len(labelled.default_boxes))]


def _map(image: UInt8[np.ndarray, "H W 3"], explanation: Explanation, name: str, boxes: int, count: int) -> Figure:
    """The paper's figure 1 for one map: its cells, and the boxes on it that detected, learn or are mined."""
    detections = explanation.detections
    detecting = [
        (origin.default_box, int(label))
        for origin, label in zip(explanation.origins, detections.labels, strict=True)
        if origin.default_box.source == name
    ]
    learning = [box for labelled in explanation.objects for box in labelled.default_boxes if box.source == name]
    mined = [box for box, _ in explanation.mined if box.source == name]
    marks = [*_dashed(mined, MINED), *_dashed(learning, LEARNS)]
    for box, label in detecting[:SHOWN]:
        marks.append(Mark(box.box_xyxy, class_colour(label), detections.class_names[label]))
    drawn = [*(box for box, _ in detecting), *learning, *mined]
    words = f"{name}: {boxes:,} default boxes, {count} detected something"
    if explanation.objects:
        words += f", {len(learning)} learn, {len(mined)} would be mined"
    return figure(marked(image, marks, zoom=1.2, grid_hw=drawn[0].map_size_hw if drawn else None), words)


def _dashed(boxes: Sequence[DefaultBox], colour: Colour) -> list[Mark]:
    return [Mark(box.box_xyxy, colour, dashed=True) for box in boxes[:SHOWN]]
