"""Charts of a diagnosis as inline SVG: stacked shares, parts with their errors, a table of confusions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from singleshot.shapes import Float, Int64

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 20, 10, 34
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
KIND_COLOURS = (2, 0, 4, 1, 3)
"""Of the page: correct, localisation, similar, other, background."""


def stacked_chart(
    shares: Float[np.ndarray, "D k"],
    names: Sequence[str],
    colours: Sequence[int],
    x_texts: Sequence[str],
    *,
    x_label: str,
    label: str,
    lines: Sequence[tuple[str, Float[np.ndarray, " D"], bool]] = (),
) -> str:
    """Shares that add up to 1 at each of D places, evenly spaced, one above the other.

    Args:
        shares: at each place, from the bottom up.
        names: of the shares, for the legend.
        colours: of the page, one a share.
        x_texts: below each place; empty for none.
        x_label: below the axis.
        label: what the chart shows, for people who hear the page.
        lines: name, values of 0..1 and whether dashed, drawn above.
    """
    x = LEFT + np.linspace(0, PLOT_WIDTH, len(shares))
    tops = np.cumsum(np.nan_to_num(shares), axis=1)
    bottoms = np.concatenate([np.zeros((len(shares), 1)), tops[:, :-1]], axis=1)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for column, colour in enumerate(colours):
        above = [(left, _y(value)) for left, value in zip(x, tops[:, column], strict=True)]
        below = [(left, _y(value)) for left, value in zip(x, bottoms[:, column], strict=True)]
        parts.append(f'<polygon class="share c{colour}" points="{_points([*above, *below[::-1]])}"/>')
    for value in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(value):.1f}" y2="{_y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{_y(value) + 4:.1f}" text-anchor="end">{100 * value:.0f}%</text>')
    for _, values, dashed in lines:
        points = _points([(left, _y(value)) for left, value in zip(x, values, strict=True)])
        parts.append(f'<polyline class="recall{" dashed" * dashed}" points="{points}"/>')
    for left, text in zip(x, x_texts, strict=True):
        parts.append(f'<text x="{left:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{escape(text)}</text>')
    parts.append(f'<text x="{LEFT + PLOT_WIDTH / 2}" y="{HEIGHT - 3}" text-anchor="middle">{escape(x_label)}</text>')
    keys = [f'<i class="block c{colour}"></i>{escape(name)}' for name, colour in zip(names, colours, strict=True)]
    keys += [f'<i class="stroke{" dashed" * dashed}"></i>{escape(name)}' for name, _, dashed in lines]
    legend = "".join(f"<span>{key}</span>" for key in keys)
    return "".join(parts) + f'</svg><p class="legend">{legend}</p>'


def parts_chart(
    names: Sequence[str],
    values: Float[np.ndarray, " n"],
    errors: Float[np.ndarray, " n"],
    whole: float,
    *,
    label: str,
) -> str:
    """A dot with its error for each part, joined, and a dashed line at the whole; 0 to 1, small."""
    x = 26 + np.linspace(12, 162, len(values))

    def y(value: float) -> float:
        return 8 + 110 * (1 - float(np.clip(value, 0, 1)))

    parts = [f'<svg viewBox="0 0 208 142" role="img" aria-label="{escape(label)}">']
    for value in (0, 0.5, 1):
        parts.append(f'<line class="grid" x1="26" x2="204" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="22" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    parts.append(f'<line class="whole" x1="26" x2="204" y1="{y(whole):.1f}" y2="{y(whole):.1f}"/>')
    parts.append(f'<polyline class="line c0" points="{_points([(a, y(v)) for a, v in zip(x, values, strict=True)])}"/>')
    for left, name, value, error in zip(x, names, values, errors, strict=True):
        parts.append(
            f'<line class="line c0" x1="{left:.1f}" x2="{left:.1f}" y1="{y(value - error):.1f}" '
            f'y2="{y(value + error):.1f}"/><circle class="dot c0" cx="{left:.1f}" cy="{y(value):.1f}" r="3"/>'
            f'<text x="{left:.1f}" y="136" text-anchor="middle">{escape(name)}</text>'
        )
    return "".join(parts) + "</svg>"


def confusion_table(objects: Sequence[str], detected: Sequence[str], counts: Int64[np.ndarray, "R1 C1"]) -> str:
    """Objects down and nothing last, detections across and missed last; a cell is the darker, the larger its share."""
    head = "".join(f"<th>{escape(name)}</th>" for name in (*detected, "missed"))
    rows = [f"<tr><th>object \\ detected</th>{head}</tr>"]
    sums = np.maximum(1, counts.sum(axis=1))
    for row, name in enumerate((*objects, "nothing there")):
        cells = []
        for column, count in enumerate(counts[row]):
            right = column < len(detected) and detected[column] == name
            colour = "18,133,90" if right else "196,50,10"
            shade = f"background:rgba({colour},{0.75 * count / sums[row]:.2f})"
            cells.append(f'<td style="{shade}">{count:,}</td>' if count else "<td></td>")
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return f'<div class="card scroll"><table class="matrix">{"".join(rows)}</table></div>'


def _y(value: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - float(value))


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
