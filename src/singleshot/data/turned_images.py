"""Bring boxes into the frame of the displayed image where they were drawn on the image as stored.

A phone stores its photographs lying on their side and notes in EXIF how to turn them. We show and learn them turned, as
most programs do; some labelling tools do not, and their boxes are of the image as stored. Whether a set is one of these
shows where it states the sizes: those of images on their side are swapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from singleshot.data.images import ImageHeader
from singleshot.degenerate_boxes import usable_boxes
from singleshot.types import Annotations

LabelsOn = Literal["stored", "displayed"]
STORED: LabelsOn = "stored"
DISPLAYED: LabelsOn = "displayed"


@dataclass(frozen=True)
class _Counts:
    """Images by what they show: stored and displayed speak for the tool, swapped is a mistake of the annotation."""

    stored: list[int]
    displayed: list[int]
    swapped: list[int]


def settle_frames(
    annotations: Annotations,
    headers: Sequence[ImageHeader | str | None],
    *,
    states_sizes: bool,
    labels_on: LabelsOn | None = None,
) -> tuple[Annotations, list[str]]:
    """The same ground truth in the frame of the displayed images, and remarks on what was turned.

    Args:
        annotations: as read.
        headers: of each image; a message or None where it cannot be read.
        states_sizes: the annotations state the sizes of all images by themselves; where not, a swapped size shows that
            they do, for no reader takes one from an image.
        labels_on: the frame of the boxes; None: as stored, where all images on their side state that size, else
            as displayed.
    """
    counts = _count(annotations, headers)
    if not (states_sizes or counts.stored or counts.swapped):
        counts = _Counts([], [], [])
    if labels_on is None and counts.stored and not counts.displayed:
        labels_on = STORED
    remarks, sizes, boxes = list[str](), annotations.sizes_wh.copy(), annotations.boxes_xyxy.copy()
    renumbered = [*counts.swapped, *(counts.stored if labels_on == DISPLAYED else [])]
    for index in renumbered:
        sizes[index] = sizes[index][::-1]
    if renumbered:
        example = annotations.files[renumbered[0]]
        remarks.append(f"{len(renumbered)} images have width and height swapped in the annotation, such as {example}")
    if labels_on == STORED:
        unchanged = set(counts.displayed)
        turned = [
            (index, header)
            for index, header in enumerate(headers)
            if isinstance(header, ImageHeader) and header.orientation != 1 and index not in unchanged
        ]
        for index, header in turned:
            rows = slice(annotations.starts[index], annotations.starts[index + 1])
            fractions = annotations.format == "yolo"  # of the stored image; the reader took them of the displayed one
            boxes[rows] = turn_boxes(boxes[rows], header, fractions=fractions)
            if sizes[index].all():
                sizes[index] = header.size_wh
        if turned:
            index, header = turned[0]
            remarks.append(
                f"{len(turned)} images are turned by EXIF and labelled as stored: their boxes are turned, such as "
                f"{annotations.files[index]} (orientation {header.orientation})"
            )
    return replace(annotations, sizes_wh=sizes, boxes_xyxy=boxes), remarks


def turn_boxes(boxes_xyxy: np.ndarray, header: ImageHeader, *, fractions: bool = False) -> np.ndarray:
    """Boxes of the stored image as boxes of the displayed one (EXIF 2.32, tag 0x0112).

    Args:
        boxes_xyxy: (n, 4) in pixels.
        header: displayed size and orientation.
        fractions: the boxes are fractions times the displayed size.
    """
    width, height = header.size_wh
    left, top, right, bottom = boxes_xyxy.T
    if header.orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
        if fractions:
            left, right, top, bottom = (
                left * width / height,
                right * width / height,
                top * height / width,
                bottom * height / width,
            )
    if header.orientation in {2, 3, 6, 7}:
        left, right = width - right, width - left
    if header.orientation in {3, 4, 7, 8}:
        top, bottom = height - bottom, height - top
    return np.stack([left, top, right, bottom], axis=1).astype(boxes_xyxy.dtype)


def _count(annotations: Annotations, headers: Sequence[ImageHeader | str | None]) -> _Counts:
    counts = _Counts([], [], [])
    for index, header in enumerate(headers):
        if not isinstance(header, ImageHeader) or header.size_wh[0] == header.size_wh[1]:
            continue
        stated = tuple(int(side) for side in annotations.sizes_wh[index])
        on_its_side = header.orientation >= 5
        if stated == header.size_wh and on_its_side:
            counts.displayed.append(index)
        elif stated == header.size_wh[::-1]:
            boxes = annotations.boxes_xyxy[annotations.starts[index] : annotations.starts[index + 1]]
            if on_its_side and (_inside(boxes, stated) or not _inside(boxes, header.size_wh)):
                counts.stored.append(index)
            elif not on_its_side and _inside(boxes, header.size_wh):
                counts.swapped.append(index)
            elif on_its_side:
                counts.displayed.append(index)
                counts.swapped.append(index)
    return counts


def _inside(boxes_xyxy: np.ndarray, size_wh: tuple[int, ...]) -> bool:
    """Whether all usable boxes lie in an image of this size, but for a pixel."""
    usable = boxes_xyxy[usable_boxes(boxes_xyxy)]
    return bool((usable >= -1).all() and (usable <= np.array([*size_wh, *size_wh]) + 1).all())
