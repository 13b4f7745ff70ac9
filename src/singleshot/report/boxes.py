"""The page of `ssd boxes`: what boxes buy, recall by class, size and shape, and the default boxes on an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from singleshot.box_search.recall import LEAST_OBJECTS, DefaultBoxRecall, RecallBin
from singleshot.box_search.study import BoxStudy, MeasuredBoxes
from singleshot.console import percent
from singleshot.draw import Mark, class_colour
from singleshot.report import template
from singleshot.report.charts import Axis, Series, line_chart
from singleshot.report.images import Figure, figure, marked
from singleshot.shapes import UInt8
from singleshot.ssd.default_boxes import cell_sizes
from singleshot.types import GroundTruth

FARTHEST = 4
"""The curve is drawn up to so many times as many boxes as the compared sets have."""
WHEN = ("present boxes", "better boxes")
NAMES = ("The present boxes", "The better boxes")
GROUND_TRUTH = (255, 255, 255)


def write_study(
    path: Path, title: str, study: BoxStudy, image: UInt8[np.ndarray, "H W 3"] | None, ground_truth: GroundTruth | None
) -> None:
    """Write the page.

    Args:
        path: where.
        title: its heading.
        study: what was found.
        image: RGB pixels to draw the default boxes on; None where none can be read.
        ground_truth: its objects.

    Raises:
        MachineError: no space left on the disk.
    """
    compared = study.compared
    objects = [] if ground_truth is None else ground_truth.boxes_xyxy.tolist()
    page = template.render_page(
        "boxes.html",
        title=title,
        remarks=study.remarks,
        curve=_curve(study) if study.curve else None,
        averaged=_averaged(study.given.recall),
        times=[
            (f"{box_set.num_boxes:,}", f"{study.milliseconds[box_set.spec]:.2f} ms")
            for box_set in study.curve
            if box_set.spec in study.milliseconds
        ],
        when=WHEN[: len(compared)],
        classes=_classes(compared),
        sizes=_bins([boxes.recall.by_size() for boxes in compared], as_percent=True),
        shapes=_bins([boxes.recall.by_shape(boxes.spec.input_size_hw) for boxes in compared]),
        sets=[
            (name, _maps(boxes), [] if image is None else _drawn(boxes, image, objects))
            for name, boxes in zip(NAMES, compared, strict=False)
        ],
    )
    template.write_page(path, page)


def _averaged(recall: DefaultBoxRecall) -> str:
    """The classes that the curve is the mean of, in words."""
    if len(recall.deciding) == np.count_nonzero(recall.counts):
        return "all classes"
    return f"the {len(recall.deciding)} classes of {LEAST_OBJECTS} objects or more"


def _curve(study: BoxStudy) -> Markup:
    """Recall against the number of boxes of the best sets, and where the present and the better boxes lie."""
    marked = [(boxes.recall.num_default_boxes, boxes.recall.mean) for boxes in study.compared]
    most = FARTHEST * max(marked)[0]
    points = [(box_set.num_boxes, box_set.recalls.mean()) for box_set in study.curve if box_set.num_boxes <= most]
    table = np.array(points, float).reshape(-1, 2)
    series = [Series("the best for so many boxes", table[:, 0], table[:, 1], dots=True)]
    for (count, recall), name, colour in zip(marked, NAMES, (1, 2), strict=False):
        name = name[0].lower() + name[1:]
        series.append(Series(name, np.array([float(count)]), np.array([recall]), colour=colour, dots=True))
    y = Axis(limits=(0, 1), percent=True)
    return line_chart(series, Axis("default boxes"), y, label="recall against boxes")


def _classes(compared: Sequence[MeasuredBoxes]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the recall of each class."""
    recalls = [boxes.recall for boxes in compared]
    head = ["class", "objects"]
    for when in WHEN[: len(compared)]:
        head += [f"recall, {when}", "boxes per object"]
    rows = []
    for label in np.flatnonzero(recalls[0].counts):
        row = [recalls[0].class_names[label], f"{recalls[0].counts[label]:,}"]
        for recall in recalls:
            row += [percent(float(recall.per_class[label])), f"{recall.fitting_per_object[label]:.1f}"]
        rows.append(row)
    return head, rows


def _bins(compared: Sequence[Sequence[RecallBin]], *, as_percent: bool = False) -> list[dict[str, Any]]:
    """Name, objects and recalls of each bin that has objects."""
    rows = []
    for bins in zip(*compared, strict=True):
        if bins[0].objects:
            low, high = (f"{100 * edge:.3g}%" if as_percent else f"{edge:.2g}" for edge in (bins[0].low, bins[0].high))
            name = f"{low} to {high}" if np.isfinite(bins[0].high) else f"above {low}"
            recalls = [entry.recall for entry in bins]
            rows.append({"name": name, "objects": f"{bins[0].objects:,}", "recalls": recalls})
    return rows


def _maps(measured: MeasuredBoxes) -> list[list[str]]:
    """Rows of the table of source maps, and their sum."""
    rows = []
    triples = zip(measured.spec.sources, measured.map_sizes_hw, measured.spec.boxes.maps, strict=True)
    for name, (height, width), boxes in triples:
        sizes = ", ".join(f"{size:g}" for size in boxes.sizes)
        pairs = zip(boxes.min_sizes, boxes.max_sizes, strict=False)
        squares = ", ".join(f"{(small * large) ** 0.5:.0f}" for small, large in pairs)
        given = dict.fromkeys(round(width / height, 3) for width, height in boxes.sizes_wh)
        ratios = ", ".join(f"{ratio:.2g}" for ratio in given or (1, *boxes.ratios))
        count = height * width * boxes.boxes_per_cell
        rows.append([name, f"{width}x{height}", sizes, squares, ratios, f"{count:,}"])
    return [*rows, ["all", "", "", "", "", f"{measured.recall.num_default_boxes:,}"]]


def _drawn(
    measured: MeasuredBoxes, image: UInt8[np.ndarray, "H W 3"], objects: Sequence[Sequence[float]]
) -> list[Figure]:
    """For each map its grid, the boxes of its middle cell, and the objects, on the image."""
    size_wh = np.array([image.shape[1], image.shape[0]])
    input_wh = np.array(measured.spec.input_size_hw[::-1])
    figures = []
    triples = zip(measured.spec.sources, measured.map_sizes_hw, measured.spec.boxes.maps, strict=True)
    for place, (name, (rows, columns), boxes) in enumerate(triples):
        centre = np.array([(columns // 2 + 0.5) / columns, (rows // 2 + 0.5) / rows])
        sides = cell_sizes(boxes, truncate=measured.spec.boxes.truncate_sizes) / input_wh
        corners = np.concatenate([centre - sides / 2, centre + sides / 2], axis=1) * np.tile(size_wh, 2)
        marks = [Mark(box, GROUND_TRUTH, dashed=True) for box in objects]
        marks += [Mark(box, class_colour(place)) for box in corners.tolist()]
        drawn = marked(image, marks, grid_hw=(rows, columns))
        figures.append(figure(drawn, f"{name}, {columns}x{rows}: the boxes of one cell"))
    return figures
