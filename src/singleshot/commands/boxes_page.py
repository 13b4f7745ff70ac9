"""The page of `ssd boxes`: what boxes buy, recall by class, size and shape, and the default boxes on an image."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import metadata
from pathlib import Path

import numpy as np

from singleshot.box_search.recall import RecallBin
from singleshot.box_search.study import BoxStudy, MeasuredBoxes
from singleshot.draw import Mark, class_colour, draw_marks
from singleshot.files import write_whole
from singleshot.report.chart import Series, line_chart
from singleshot.report.gallery import LONGEST_SIDE, shown_as_it_is
from singleshot.report.grid import with_grid
from singleshot.report.page import HEAD, section
from singleshot.report.sections import lines, percent
from singleshot.report.style import STYLE
from singleshot.shapes import Float, UInt8
from singleshot.ssd.default_boxes import cell_sizes
from singleshot.types import GroundTruth

FARTHEST = 4
"""The curve is drawn up to so many times as many boxes as the compared sets have."""
WHEN = ("now", "then")
"""By the present boxes, and by the better ones."""
NAMES = ("The boxes as they are", "The better boxes")


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
    parts = [
        HEAD.format(title=escape(title), style=STYLE),
        f"<h1>{escape(title)}</h1>",
        section("Notes", lines(study.remarks)),
    ]
    parts.append(section("What boxes buy: the mean recall of the classes", _curve(study)))
    parts.append(section("Recall: objects that a default box fits with an IoU of 0.5", _classes(compared)))
    sizes = [boxes.recall.by_size() for boxes in compared]
    parts.append(section("By size, as a share of the image's side", _bins(sizes, as_percent=True)))
    shapes = [boxes.recall.by_shape(boxes.spec.input_size_hw) for boxes in compared]
    parts.append(section("By shape: width / height as the network sees it", _bins(shapes)))
    for boxes, name in zip(compared, NAMES, strict=False):
        parts.append(section(name, _maps(boxes) + (_drawn(boxes, image, ground_truth) if image is not None else "")))
    parts.append(f"<footer>singleshot {escape(metadata.version('singleshot'))}</footer></main></body></html>\n")
    write_whole(path, "\n".join(part for part in parts if part).encode("utf-8", errors="replace"))


def _curve(study: BoxStudy) -> str:
    """Recall against the number of boxes of the best sets, and where the present and the better boxes lie."""
    if not study.curve:
        return ""
    marked = [(boxes.recall.num_default_boxes, boxes.recall.mean) for boxes in study.compared]
    shown = [
        (box_set.num_boxes, float(box_set.recalls.mean()))
        for box_set in study.curve
        if box_set.num_boxes <= FARTHEST * max(marked)[0]
    ]
    series = [Series("the best for so many boxes", *_columns(shown), dots=True)]
    series += [
        Series(name[0].lower() + name[1:], *_columns([point]), colour=colour, dots=True)
        for point, name, colour in zip(marked, NAMES, (1, 2), strict=False)
    ]
    chart = line_chart(series, x_label="default boxes", label="recall against boxes", y_range=(0, 1), percent=True)
    rows = "".join(
        f"<tr><td>{box_set.num_boxes:,}</td><td>{study.milliseconds[box_set.spec]:.2f} ms</td></tr>"
        for box_set in study.curve
        if box_set.spec in study.milliseconds
    )
    table = f'<table class="matrix"><tr><th>boxes</th><th>network</th></tr>{rows}</table>' if rows else ""
    return f'<div class="charts"><div class="card">{chart}{table}</div></div>'


def _columns(points: Sequence[tuple[int, float]]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    rows = np.array(points, np.float64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _classes(compared: Sequence[MeasuredBoxes]) -> str:
    recalls = [boxes.recall for boxes in compared]
    head = "".join(f"<th>recall {when}</th><th>boxes per object</th>" for when in WHEN[: len(compared)])
    rows = [f"<tr><th>class</th><th>objects</th>{head}</tr>"]
    for label in np.flatnonzero(recalls[0].counts):
        cells = "".join(
            f"<td>{percent(float(recall.per_class[label]))}</td><td>{recall.fitting_per_object[label]:.1f}</td>"
            for recall in recalls
        )
        name, count = escape(recalls[0].class_names[label]), recalls[0].counts[label]
        rows.append(f"<tr><td>{name}</td><td>{count:,}</td>{cells}</tr>")
    return f'<div class="card scroll"><table class="matrix">{"".join(rows)}</table></div>'


def _bins(compared: Sequence[Sequence[RecallBin]], *, as_percent: bool = False) -> str:
    head = "".join(f"<th></th><th>recall {when}</th>" for when in WHEN[: len(compared)])
    rows = [f"<tr><th></th><th>objects</th>{head}</tr>"]
    for bins in zip(*compared, strict=True):
        if not bins[0].objects:
            continue
        ends = [f"{100 * edge:.3g}%" if as_percent else f"{edge:.2g}" for edge in (bins[0].low, bins[0].high)]
        name = f"{ends[0]} to {ends[1]}" if np.isfinite(bins[0].high) else f"above {ends[0]}"
        cells = "".join(
            f'<td class="bar"><div><i style="width:{100 * entry.recall:.1f}%"></i></div></td>'
            f"<td>{percent(entry.recall)}</td>"
            for entry in bins
        )
        rows.append(f"<tr><td>{name}</td><td>{bins[0].objects:,}</td>{cells}</tr>")
    return f'<div class="card scroll"><table class="matrix">{"".join(rows)}</table></div>' if len(rows) > 1 else ""


def _maps(measured: MeasuredBoxes) -> str:
    rows = [
        "<tr><th>map</th><th>cells</th><th>sizes, pixels</th><th>squares between</th><th>ratios</th><th>boxes</th></tr>"
    ]
    triples = zip(measured.spec.sources, measured.map_sizes_hw, measured.spec.boxes.maps, strict=True)
    for name, (height, width), boxes in triples:
        sizes = ", ".join(f"{size:g}" for size in boxes.min_sizes)
        pairs = zip(boxes.min_sizes, boxes.max_sizes, strict=False)
        squares = ", ".join(f"{(small * large) ** 0.5:.0f}" for small, large in pairs)
        ratios = ", ".join(f"{ratio:.2g}" for ratio in (1, *boxes.ratios))
        count = height * width * boxes.boxes_per_cell
        rows.append(
            f"<tr><td>{escape(name)}</td><td>{width}x{height}</td><td>{sizes}</td><td>{squares}</td>"
            f"<td>{ratios}</td><td>{count:,}</td></tr>"
        )
    total = f"<tr><td>all</td><td></td><td></td><td></td><td></td><td>{measured.recall.num_default_boxes:,}</td></tr>"
    return f'<div class="card scroll"><table class="matrix">{"".join(rows)}{total}</table></div>'


def _drawn(measured: MeasuredBoxes, image: UInt8[np.ndarray, "H W 3"], ground_truth: GroundTruth | None) -> str:
    """The boxes of the cell in the middle of each map, and its grid, as the network sees the image."""
    factor = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = _resized(image, size)
    height, width = measured.spec.input_size_hw
    figures = []
    triples = zip(measured.spec.sources, measured.map_sizes_hw, measured.spec.boxes.maps, strict=True)
    for place, (name, grid, boxes) in enumerate(triples):
        centre = np.array([(grid[1] // 2 + 0.5) / grid[1], (grid[0] // 2 + 0.5) / grid[0]])
        sides = cell_sizes(boxes, truncate=measured.spec.boxes.truncate_sizes) / [width, height]
        marks = [Mark((box * factor).tolist(), (255, 255, 255), "", dashed=True) for box in _boxes(ground_truth)]
        for side in sides:
            box = np.concatenate([centre - side / 2, centre + side / 2]) * np.tile(size, 2)
            marks.append(Mark(box.tolist(), class_colour(place)))
        drawn = draw_marks(with_grid(small, grid), marks, zoom=1.0)
        figures.append(shown_as_it_is(drawn, f"{name}, {grid[1]}x{grid[0]}: the boxes of one cell"))
    return f'<div class="gallery" style="margin-top:14px">{"".join(figures)}</div>'


def _boxes(ground_truth: GroundTruth | None) -> np.ndarray:
    return np.zeros((0, 4)) if ground_truth is None else ground_truth.boxes_xyxy


def _resized(image: UInt8[np.ndarray, "H W 3"], size_wh: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size_wh, Image.Resampling.LANCZOS))
