"""The page of `ssd data show`: images of a set with their boxes, and the faults that `ssd data check` finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from singleshot.draw import Colour, Mark, class_colour
from singleshot.report import template
from singleshot.report.images import Figure, OpenImage, figure_of_file, marked

FAULTY: Colour = (255, 60, 40)
CLASSES_TO_CHOOSE = 60
"""Filters on a page; those of the most frequent classes."""


class ShownBox(NamedTuple):
    """A box to draw: pixels, class number, its name, and what is wrong with it ("" for nothing)."""

    box_xyxy: Sequence[float]
    label: int
    name: str
    fault: str = ""


@dataclass(frozen=True)
class ShownImage:
    """An image of the page.

    Attributes:
        path: the file.
        title: its name in the set.
        splits: the splits that it is in.
        boxes: its ground truth.
        faults: what is wrong with the image or its annotation, a line each.
    """

    path: Path
    title: str
    splits: tuple[str, ...]
    boxes: tuple[ShownBox, ...]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSetContent:
    """What the page shows.

    Attributes:
        title: of the page.
        summary: lines on the whole set.
        images: those that are shown.
        boxes_of_class: boxes of the whole set by class name, in the order of the labels.
        faults: number of faults of the whole set by kind.
        elsewhere: faults of no image on the page, a line each.
    """

    title: str
    summary: tuple[str, ...]
    images: tuple[ShownImage, ...]
    boxes_of_class: Mapping[str, int]
    faults: Mapping[str, int] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()


def render(content: DataSetContent, open_image: OpenImage) -> str:
    """The page as text."""
    names = sorted(content.boxes_of_class, key=lambda name: -content.boxes_of_class[name])[:CLASSES_TO_CHOOSE]
    keys = {name: f"k{number}" for number, name in enumerate(names)}
    items = [(_keys(image, keys), _figure(image, open_image)) for image in content.images]
    choices = [("all", "all", len(items))]
    choices += [("faulty", "with faults", sum("faulty" in of_image for of_image, _ in items))]
    choices += [(keys[name], name, sum(keys[name] in of_image for of_image, _ in items)) for name in names]
    return template.render_page(
        "data_set.html",
        title=content.title,
        summary=content.summary,
        choices=choices,
        items=items,
        classes=[(name, f"{content.boxes_of_class[name]:,}") for name in names],
        faults=[(kind, f"{count:,}") for kind, count in content.faults.items()],
        elsewhere=content.elsewhere,
    )


def _keys(image: ShownImage, keys: Mapping[str, str]) -> list[str]:
    """The filters that leave an image on the page."""
    names = dict.fromkeys(box.name for box in image.boxes)
    faulty = bool(image.faults) or any(box.fault for box in image.boxes)
    return [keys[name] for name in names if name in keys] + ["faulty"] * faulty


def _figure(image: ShownImage, open_image: OpenImage) -> Figure:
    marks = []
    for box in image.boxes:
        colour = FAULTY if box.fault else class_colour(box.label)
        caption = f"{box.name}: {box.fault}" if box.fault else box.name
        marks.append(Mark(box.box_xyxy, colour, caption, dashed=bool(box.fault)))
    count = len(image.boxes)
    parts = [", ".join(image.splits), "1 box" if count == 1 else f"{count} boxes", *image.faults]

    def draw(pixels: np.ndarray) -> np.ndarray:
        return marked(pixels, marks, zoom=1.2)

    return figure_of_file(image.path, open_image, draw, "; ".join(part for part in parts if part), title=image.title)
