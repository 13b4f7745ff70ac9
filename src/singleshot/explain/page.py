"""The page of `ssd explain`: the image, and each map with its grid and the default boxes that matter on it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.draw import Mark, class_colour, draw_marks
from singleshot.explain.trace import Explanation
from singleshot.files import write_whole
from singleshot.report.gallery import LONGEST_SIDE, shown_as_it_is
from singleshot.report.grid import with_grid
from singleshot.report.page import HEAD, section
from singleshot.report.style import STYLE
from singleshot.shapes import UInt8

GROUND_TRUTH, LEARNS, MINED = (255, 255, 255), (255, 214, 0), (255, 80, 50)
SHOWN = 6
"""Boxes of a kind drawn on one map."""


def write_explanation(path: Path, title: str, image: UInt8[np.ndarray, "H W 3"], found: Explanation) -> None:
    """Write the page.

    Raises:
        MachineError: no space left on the disk.
    """
    write_whole(path, render(title, image, found).encode("utf-8", errors="replace"))


def render(title: str, image: UInt8[np.ndarray, "H W 3"], found: Explanation) -> str:
    """The page as text."""
    parts = [HEAD.format(title=escape(title), style=STYLE), f"<h1>{escape(title)}</h1>"]
    factor = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.LANCZOS))
    parts.append(section("What was found", _overview(small, factor, found)))
    parts.append(section("Where it came from", _sources(found)))
    parts.append(section("How the objects would be learnt", _learnt(found)))
    parts.append(section("Each map", _maps(small, factor, found)))
    parts.append(f"<footer>singleshot {escape(metadata.version('singleshot'))}</footer></main></body></html>\n")
    return "\n".join(part for part in parts if part)


def _overview(image: UInt8[np.ndarray, "h w 3"], factor: float, found: Explanation) -> str:
    marks = [_mark(one.box_xyxy, factor, GROUND_TRUTH, "", dashed=True) for one in found.learnt]
    for row in reversed(range(len(found.detections))):
        label = int(found.detections.labels[row])
        caption = f"{row + 1}: {found.detections.class_names[label]} {100 * found.detections.scores[row]:.0f}%"
        marks.append(_mark(found.detections.boxes[row].tolist(), factor, class_colour(label), caption))
    words = f"detections: {len(found.detections)}"
    if found.learnt:
        words += f"; labelled objects (dashed): {len(found.learnt)}"
    return f'<div style="max-width:760px">{shown_as_it_is(draw_marks(image, marks), words)}</div>'


def _sources(found: Explanation) -> str:
    if not len(found.detections):
        return '<p class="quiet">Nothing was found.</p>'
    head = "".join(
        f"<th>{name}</th>" for name in ("", "score", "map", "cell", "shape", "overlap with it", "others that said so")
    )
    rows = [f"<tr>{head}</tr>"]
    for row, source in enumerate(found.sources):
        place = source.place
        cells = (
            f"{row + 1}: {found.detections.names[row]}",
            f"{100 * found.detections.scores[row]:.0f}%",
            f"{place.source} {place.map_size_hw[1]}x{place.map_size_hw[0]}",
            f"{place.cell_xy[0]}, {place.cell_xy[1]}",
            place.shape,
            f"{source.overlap:.2f}",
            str(source.suppressed),
        )
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    words = (
        "Each detection moves and stretches one default box, which stands on a cell (column, row) of a map. Others "
        "that said so are boxes that lost to it in NMS."
    )
    return f'<p class="quiet">{words}</p><div class="card scroll"><table>{"".join(rows)}</table></div>'


def _learnt(found: Explanation) -> str:
    if not found.learnt:
        return ""
    rows = [
        "<tr><th>object</th><th>pixels</th><th>best default box</th><th>overlap</th><th>boxes that learn it</th></tr>"
    ]
    for one in found.learnt:
        width, height = one.box_xyxy[2] - one.box_xyxy[0], one.box_xyxy[3] - one.box_xyxy[1]
        cells = (one.label, f"{width:.0f}x{height:.0f}", str(one.best), f"{one.overlap:.2f}", str(len(one.places)))
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    words = (
        f"Boxes learn from an overlap of {found.overlap_threshold:g} on, and the best pair in any case. Beside them "
        f"{len(found.mined)} boxes of background would be mined."
    )
    return f'<p class="quiet">{words}</p><div class="card scroll"><table>{"".join(rows)}</table></div>'


def _maps(image: UInt8[np.ndarray, "h w 3"], factor: float, found: Explanation) -> str:
    """The paper's figure 1 for each map: its cells, and the boxes on it that found, learn or are mined."""
    figures = []
    for name, boxes, count in found.maps:
        detected = [
            (source.place, int(found.detections.labels[row]))
            for row, source in enumerate(found.sources)
            if source.place.source == name
        ]
        learning = [place for one in found.learnt for place in one.places if place.source == name]
        mined = [place for place, _ in found.mined if place.source == name]
        some = [*(place for place, _ in detected), *learning, *mined]
        drawn = with_grid(image, some[0].map_size_hw) if some else image
        marks = [_mark(place.box_xyxy, factor, MINED, "", dashed=True) for place in mined[:SHOWN]]
        marks += [_mark(place.box_xyxy, factor, LEARNS, "", dashed=True) for place in learning[:SHOWN]]
        marks += [
            _mark(place.box_xyxy, factor, class_colour(label), found.detections.class_names[label])
            for place, label in detected[:SHOWN]
        ]
        words = f"{name}: {boxes:,} default boxes, {count} found something"
        if found.learnt:
            words += f", {len(learning)} learn, {len(mined)} would be mined"
        figures.append(shown_as_it_is(draw_marks(drawn, marks, zoom=1.2), words))
    legend = (
        '<p class="quiet">Default boxes, not detections. Lines: boxes that found something. Dashed yellow: boxes that '
        f"learn an object. Dashed red: the hardest of background. At most {SHOWN} of each.</p>"
    )
    return f'{legend}<div class="gallery">{"".join(figures)}</div>'


def _mark(
    box: Sequence[float], factor: float, colour: tuple[int, int, int], caption: str, *, dashed: bool = False
) -> Mark:
    return Mark([value * factor for value in box], colour, caption, dashed)
