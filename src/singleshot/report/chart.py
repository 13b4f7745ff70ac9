"""Line charts as inline SVG: small, sharp at any size, light or dark with the page, and no library to install.

Colours are the page's CSS variables `--c0` ... `--c5`; every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from singleshot.shapes import Float

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 36
EDGE = 18  # half a label's width: the last one stays whole
MAX_POINTS = 500


@dataclass(frozen=True, eq=False)
class Series:
    """One line.

    Attributes:
        name: for the legend; none where empty.
        x: ascending.
        y: values; those that are not finite are left out.
        colour: index of the page's colour.
        faint: a thin line in the background, such as raw values behind their smoothed ones.
        dots: mark each point.
    """

    name: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    colour: int = 0
    faint: bool = False
    dots: bool = False


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    label: str,
    y_range: tuple[float, float] | None = None,
    percent: bool = False,
    log_x: bool = False,
) -> str:
    """An SVG with grid, ticks and lines, and its legend.

    Args:
        series: lines, later ones on top.
        x_label: unit of x, below the axis.
        label: what the chart shows, for people who hear the page.
        y_range: lowest and highest value; from the data where None, without the highest 1% of a long series, so that
            the first steps of a training do not flatten the rest.
        percent: write fractions as percent.
        log_x: x, which is above 0, on a logarithmic axis with a tick at each power of ten.
    """
    lines = [_thinned(replace(line, x=np.log10(line.x)) if log_x else line) for line in series]
    lines = [line for line in lines if len(line.x)]
    if not lines:
        return '<p class="quiet">Nothing to draw yet.</p>'
    first, last = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    x_range = _spread(0 if 0 <= first < last / 5 else first, last)
    y_ticks = ticks(*(y_range or _data_range(lines)))
    low, high = y_ticks[0], y_ticks[-1]
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place_x(x: float) -> float:
        return (x - x_range[0]) / (x_range[1] - x_range[0]) * width

    def place_y(y: float) -> float:
        return (1 - (y - low) / (high - low)) * height

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for y in y_ticks:
        at = TOP + place_y(y)
        text = f"{100 * y:.4g}%" if percent else f"{y:.4g}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    x_ticks = range(math.ceil(x_range[0]), math.floor(x_range[1]) + 1) if log_x else ticks(*x_range)
    for x in (tick for tick in x_ticks if x_range[0] <= tick <= x_range[1]):
        at = LEFT + place_x(x)
        parts.append(
            f'<text x="{min(at, WIDTH - EDGE):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
            f"{10**x if log_x else x:,.6g}</text>"
        )
    parts.append(f'<text x="{LEFT + width / 2}" y="{HEIGHT - 3}" text-anchor="middle">{escape(x_label)}</text>')
    # A nested svg cuts what leaves the plot; its margin keeps the dots at the ends whole.
    size = f"{width + 8} {height + 8}"
    place = f'x="{LEFT - 4}" y="{TOP - 4}" width="{width + 8}" height="{height + 8}"'
    parts.append(f'<svg {place} viewBox="-4 -4 {size}">')
    parts += [_line(line, place_x, place_y) for line in lines]
    parts.append("</svg></svg>")
    return "".join(parts) + _legend(lines)


def curve_chart(curves: Sequence[Series], *, label: str) -> str:
    """A small square of the unit interval: precision (y) against recall (x)."""
    parts = [f'<svg viewBox="-4 -4 208 158" role="img" aria-label="{escape(label)}">']
    parts.append('<path class="grid" d="M0 0H200V150H0ZM0 75H200M100 0V150" fill="none"/>')
    for curve in map(_thinned, curves):
        points = " ".join(f"{200 * x:.1f},{150 * (1 - y):.1f}" for x, y in zip(curve.x, curve.y, strict=True))
        if points and not curve.faint:
            last = 200 * curve.x[-1]
            parts.append(f'<polygon class="area c{curve.colour}" points="0,150 {points} {last:.1f},150"/>')
        parts.append(f'<polyline class="line c{curve.colour}{" faint" * curve.faint}" points="{points}"/>')
    return "".join(parts) + "</svg>"


def smoothed(values: Float[np.ndarray, " n"], *, window: float | None = None) -> Float[np.ndarray, " n"]:
    """Exponential mean over about `window` values (a fortieth of them where None), unbiased at the start."""
    keep = 1 - 2 / (max(window or len(values) / 40, 1) + 1)
    result = np.empty(len(values))
    mean = weight = 0.0
    for i, value in enumerate(values):
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        result[i] = mean / weight
    return result


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers (1, 2 or 5 times a power of ten apart) whose ends embrace the range."""
    low, high = _spread(low, high)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _spread(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty."""
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _data_range(lines: Sequence[Series]) -> tuple[float, float]:
    """From 0, or the lowest value where that is negative, to the highest that matters."""
    top = max(float(np.quantile(line.y, 0.99) if len(line.y) >= 50 else line.y.max()) for line in lines)
    return min(0.0, *(float(line.y.min()) for line in lines)), top


def _thinned(line: Series) -> Series:
    """Finite points only, and at most so many as can be seen: means of neighbours, the last one kept."""
    good = np.isfinite(line.x) & np.isfinite(line.y)
    x, y = line.x[good], line.y[good]
    if len(x) > MAX_POINTS:
        starts = np.linspace(0, len(x) - 1, MAX_POINTS).astype(int)
        counts = np.diff(np.append(starts, len(x)))
        x, y = np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts
    return Series(line.name, x, y, line.colour, line.faint, line.dots)


def _line(line: Series, place_x: Callable[[float], float], place_y: Callable[[float], float]) -> str:
    """The line's points; a dot each where wanted, and where there is but one."""
    places = [(place_x(x), place_y(y)) for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = f'<polyline class="line c{line.colour}{" faint" * line.faint}" points="{points}"/>'
    if line.dots or len(places) == 1:
        drawn += "".join(f'<circle class="dot c{line.colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places)
    return drawn


def _legend(lines: Sequence[Series]) -> str:
    """The lines' names with their colours; nothing where there are none."""
    entries = [f'<span><i class="swatch c{line.colour}"></i>{escape(line.name)}</span>' for line in lines if line.name]
    return f'<p class="legend">{"".join(entries)}</p>' if entries else ""
