"""The page of `ssd boxes`: what boxes buy, coverage by class, size and shape, and the tiling on an image."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import numpy as np

from singleshot.box_search.measure import SIZE_BINS
from singleshot.commands.boxes_study import Study
from singleshot.commands.boxes_tiling import SHAPE_BINS, Tiling
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
"""The curve is drawn up to so many times as many boxes as are given or designed."""
WHEN = ("now", "then")
"""By the boxes as they are, and by the designed ones."""


def write_study(
    path: Path, title: str, study: Study, image: UInt8[np.ndarray, "H W 3"] | None, ground_truth: GroundTruth | None
) -> None:
    """Write the page.

    Args:
        path: where.
        title: its heading.
        study: what was found.
        image: RGB pixels to draw the tilings on; None where none can be read.
        ground_truth: its objects.

    Raises:
        MachineError: no space left on the disk.
    """
    tilings = study.tilings
    parts = [
        HEAD.format(title=escape(title), style=STYLE),
        f"<h1>{escape(title)}</h1>",
        section("Notes", lines(study.remarks)),
    ]
    parts.append(section("What boxes buy: the mean share of a class that is covered", _curve(study)))
    parts.append(section("Objects that a default box covers by half", _classes(tilings)))
    sizes = [(one.coverage.ground_truth_by_size, one.coverage.covered_by_size) for one in tilings]
    parts.append(section("By size, as a share of the image's side", _bins(SIZE_BINS, sizes, as_percent=True)))
    shapes = [(one.shapes, one.covered_shapes) for one in tilings]
    parts.append(section("By shape: width / height as the network sees it", _bins(SHAPE_BINS, shapes)))
    for one, name in zip(tilings, ("The boxes as they are", "The designed boxes"), strict=False):
        parts.append(section(name, _maps(one) + (_drawn(one, image, ground_truth) if image is not None else "")))
    parts.append(f"<footer>singleshot {escape(metadata.version('singleshot'))}</footer></main></body></html>\n")
    write_whole(path, "\n".join(part for part in parts if part).encode("utf-8", errors="replace"))


def _curve(study: Study) -> str:
    """Coverage against the number of boxes of the best designs, and where the given and the chosen boxes lie."""
    if not study.curve:
        return ""
    marked = [(one.coverage.num_default_boxes, one.covered) for one in study.tilings]
    shown = [(one.boxes, one.covered) for one in study.curve if one.boxes <= FARTHEST * max(marked)[0]]
    series = [Series("the best for so many boxes", *_columns(shown), dots=True)]
    names = ("the boxes as they are", "the designed boxes")
    series += [
        Series(name, *_columns([point]), colour=colour, dots=True)
        for point, name, colour in zip(marked, names, (1, 2), strict=False)
    ]
    chart = line_chart(series, x_label="default boxes", label="coverage against boxes", y_range=(0, 1), percent=True)
    rows = "".join(
        f"<tr><td>{one.boxes:,}</td><td>{study.latencies[one.spec]:.2f} ms</td></tr>"
        for one in study.curve
        if one.spec in study.latencies
    )
    table = f'<table class="matrix"><tr><th>boxes</th><th>network</th></tr>{rows}</table>' if rows else ""
    return f'<div class="charts"><div class="card">{chart}{table}</div></div>'


def _columns(points: Sequence[tuple[int, float]]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    rows = np.array(points, np.float64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _classes(tilings: Sequence[Tiling]) -> str:
    first = tilings[0].coverage
    head = "".join(f"<th>covered {when}</th><th>boxes an object</th>" for when in WHEN[: len(tilings)])
    rows = [f"<tr><th>class</th><th>objects</th>{head}</tr>"]
    for label, name in enumerate(first.class_names):
        if not first.ground_truth[label]:
            continue
        cells = "".join(
            f"<td>{percent(float(one.coverage.shares[label]))}</td><td>{one.coverage.positives[label]:.1f}</td>"
            for one in tilings
        )
        rows.append(f"<tr><td>{escape(name)}</td><td>{first.ground_truth[label]:,}</td>{cells}</tr>")
    return f'<div class="card scroll"><table class="matrix">{"".join(rows)}</table></div>'


def _bins(
    edges: tuple[float, ...], counts: Sequence[tuple[np.ndarray, np.ndarray]], *, as_percent: bool = False
) -> str:
    head = "".join(f"<th></th><th>covered {when}</th>" for when in WHEN[: len(counts)])
    rows = [f"<tr><th></th><th>objects</th>{head}</tr>"]
    for place, (low, high) in enumerate(pairwise(edges)):
        if not counts[0][0][place]:
            continue
        ends = [f"{100 * edge:.3g}%" if as_percent else f"{edge:.2g}" for edge in (low, high)]
        name = f"{ends[0]} to {ends[1]}" if np.isfinite(high) else f"above {ends[0]}"
        cells = ""
        for ground_truth, covered in counts:
            share = covered[place] / max(1, ground_truth[place])
            cells += (
                f'<td class="bar"><div><i style="width:{100 * share:.1f}%"></i></div></td><td>{percent(share)}</td>'
            )
        rows.append(f"<tr><td>{name}</td><td>{counts[0][0][place]:,}</td>{cells}</tr>")
    return f'<div class="card scroll"><table class="matrix">{"".join(rows)}</table></div>' if len(rows) > 1 else ""


def _maps(tiling: Tiling) -> str:
    rows = [
        "<tr><th>map</th><th>cells</th><th>sizes, pixels</th><th>squares between</th><th>ratios</th><th>boxes</th></tr>"
    ]
    triples = zip(tiling.spec.sources, tiling.map_sizes_hw, tiling.spec.boxes.maps, strict=True)
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
    total = f"<tr><td>all</td><td></td><td></td><td></td><td></td><td>{tiling.coverage.num_default_boxes:,}</td></tr>"
    return f'<div class="card scroll"><table class="matrix">{"".join(rows)}{total}</table></div>'


def _drawn(tiling: Tiling, image: UInt8[np.ndarray, "H W 3"], ground_truth: GroundTruth | None) -> str:
    """The boxes of the cell in the middle of each map, and its grid, as the network sees the image."""
    factor = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = _resized(image, size)
    height, width = tiling.spec.input_size_hw
    figures = []
    triples = zip(tiling.spec.sources, tiling.map_sizes_hw, tiling.spec.boxes.maps, strict=True)
    for place, (name, grid, boxes) in enumerate(triples):
        centre = np.array([(grid[1] // 2 + 0.5) / grid[1], (grid[0] // 2 + 0.5) / grid[0]])
        sides = cell_sizes(boxes, truncate=tiling.spec.boxes.truncate_sizes) / [width, height]
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
