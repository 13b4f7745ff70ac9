"""Charts, drawn by matplotlib: inline SVG for pages, which takes the page's colours, and PNG files."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup, escape

from singleshot.errors import RequestError
from singleshot.shapes import Float

if TYPE_CHECKING:  # an extra: pages without charts, and detection, do without it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1f6feb", "#d9480f", "#12855a", "#9334e6", "#b7791f", "#0e7490")
INK, QUIET, RULE = "#16191f", "#667085", "#e3e6eb"
VARIABLES = {colour: f"var(--c{i})" for i, colour in enumerate(COLOURS)} | {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    RULE: "var(--rule)",
}
"""CSS variables of the page that stand for the colours, so that charts are light or dark with it."""
MAX_POINTS = 500
LINE_CHART = (560, 250)  # pixels


@dataclass(frozen=True, eq=False)
class Series:
    """One line of a chart.

    Attributes:
        name: for the legend; empty for none.
        x: ascending.
        y: values; those that are not finite are left out.
        colour: index into `COLOURS`.
        faint: a thin line in the background, such as raw values behind their smoothed ones.
        dots: mark each point.
    """

    name: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    colour: int = 0
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Axis:
    """How one axis of a chart is drawn.

    Attributes:
        label: unit or meaning, in words.
        limits: lowest and highest value; from the data where None.
        percent: write fractions as percent.
        log: logarithmic; values are above 0.
    """

    label: str = ""
    limits: tuple[float, float] | None = None
    percent: bool = False
    log: bool = False


def require_matplotlib() -> None:
    """Check, before any work, that charts can be drawn.

    Raises:
        RequestError: matplotlib, of the extra `evaluate`, is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise RequestError("charts need matplotlib: pip install 'singleshot[evaluate]'")


# ------------------------------------------------------------------------------------------------------- inline SVG


def line_chart(series: Sequence[Series], x: Axis, y: Axis, *, label: str) -> Markup:
    """Lines, later ones on top, with their legend.

    Args:
        series: the lines.
        x: its axis.
        y: its axis; without limits from the data, without the highest 1% of a long series, so that the first steps of a
            training do not flatten the rest.
        label: what the chart shows, for people who hear the page.
    """
    lines = [line for line in map(_thinned, series) if len(line.x)]
    if not lines:
        return Markup('<p class="quiet">Nothing to draw yet.</p>')
    figure, axes = _page_figure(*LINE_CHART, margins=(54, 20, 12, 36))
    for line in lines:
        _draw(axes, line)
    axes.set_xlabel(x.label)
    _scale_x(axes, x, min(float(line.x[0]) for line in lines), max(float(line.x[-1]) for line in lines))
    ticks = _ticks(*(y.limits or _data_range(lines)))
    axes.set_yticks(ticks, [f"{100 * tick:.4g}%" if y.percent else f"{tick:.4g}" for tick in ticks])
    axes.set_ylim(ticks[0], ticks[-1])
    return _svg(figure, label) + _legend([(f"swatch c{line.colour}", line.name) for line in lines if line.name])


def curve_chart(curves: Sequence[Series], *, label: str, filled: bool = True) -> Markup:
    """A small square of the unit interval: precision (y) against recall (x); `filled` below what is not faint."""
    figure, axes = _page_figure(208, 158, margins=(4, 4, 4, 4))
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), xticklabels=[], yticklabels=[])
    axes.grid(visible=True, axis="both", color=RULE, linewidth=1)
    for curve in map(_thinned, curves):
        if filled and len(curve.x) and not curve.faint:
            axes.fill_between(curve.x, curve.y, color=COLOURS[curve.colour], alpha=0.1, linewidth=0)
        axes.plot(curve.x, curve.y, color=COLOURS[curve.colour], linewidth=1 if curve.faint else 2)
    return _svg(figure, label)


def stacked_chart(
    shares: Sequence[Series], ticks: Sequence[str], *, x_label: str, label: str, lines: Sequence[Series] = ()
) -> Markup:
    """Shares that add up to 1 at evenly spaced places, one above the other, from the bottom up.

    Args:
        shares: one a kind.
        ticks: text below each place.
        x_label: below the axis.
        label: what the chart shows, for people who hear the page.
        lines: values of 0..1 drawn above; those that are `faint` are dashed.
    """
    figure, axes = _page_figure(*LINE_CHART, margins=(46, 20, 10, 34))
    values = [np.nan_to_num(share.y) for share in shares]
    axes.stackplot(shares[0].x, *values, colors=[COLOURS[share.colour] for share in shares], alpha=0.75, linewidth=0)
    for line in lines:
        axes.plot(line.x, line.y, color=INK, linewidth=2, linestyle=_dashes(line))
    axes.set_xticks(shares[0].x, ticks)
    axes.set_xlim(shares[0].x[0], shares[0].x[-1])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_ylim(0, 1)
    axes.set_xlabel(x_label)
    keys = [(f"block c{share.colour}", share.name) for share in shares]
    keys += [("stroke dashed" if line.faint else "stroke", line.name) for line in lines]
    return _svg(figure, label) + _legend(keys)


def parts_chart(
    names: Sequence[str],
    values: Float[np.ndarray, " n"],
    errors: Float[np.ndarray, " n"],
    *,
    whole: float,
    label: str,
) -> Markup:
    """A dot with its error bar for each part, joined, and a dashed line at the whole; 0 to 1, small."""
    figure, axes = _page_figure(208, 142, margins=(26, 4, 8, 24))
    places = np.arange(len(values))
    axes.axhline(whole, color=QUIET, linewidth=1, linestyle=(0, (5, 4)))
    axes.errorbar(places, values, yerr=errors, color=COLOURS[0], linewidth=2, marker="o", markersize=6)
    axes.set_xticks(places, names)
    axes.set(xlim=(-0.35, len(values) - 0.65), ylim=(0, 1), yticks=(0, 0.5, 1), yticklabels=["0", "0.5", "1"])
    return _svg(figure, label)


def smoothed(values: Float[np.ndarray, " n"], *, window: float | None = None) -> Float[np.ndarray, " n"]:
    """Exponential mean over about `window` values (a fortieth of them where None), unbiased at the start."""
    keep = 1 - 2 / (max(window or len(values) / 40, 1) + 1)
    result = np.empty(len(values))
    mean = weight = 0.0
    for i, value in enumerate(values):
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        result[i] = mean / weight
    return result


def _page_figure(width: float, height: float, *, margins: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """A figure of so many pixels with one plot inside its margins (left, right, top, bottom)."""
    from matplotlib.figure import Figure

    left, right, top, bottom = margins
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    place = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(place)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=11.5, colors=QUIET, pad=6)
    axes.xaxis.label.set(color=QUIET, size=11.5)
    axes.grid(visible=True, axis="y", color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: Axes, line: Series) -> None:
    """The line's points; a dot each where wanted, and where there is one point only."""
    dots = line.dots or len(line.x) == 1
    axes.plot(
        line.x,
        line.y,
        color=COLOURS[line.colour],
        linewidth=1 if line.faint else 2,
        alpha=0.3 if line.faint else None,
        marker="o" if dots else None,
        markersize=6,
        markeredgewidth=0,
        clip_on=not dots,  # dots at the ends stay whole
    )


def _scale_x(axes: Axes, x: Axis, first: float, last: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if x.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        first = 0 if 0 <= first < last / 5 else first
    if first < last:
        axes.set_xlim(x.limits or (first, last))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.6g}"))


def _ticks(low: float, high: float) -> Float[np.ndarray, " n"]:
    """About five round numbers whose ends embrace the range."""
    from matplotlib.ticker import MaxNLocator

    low, high = (low, high) if high > low else (low - 0.5, low + 0.5)
    return np.asarray(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high))


def _data_range(lines: Sequence[Series]) -> tuple[float, float]:
    """From 0, or the lowest value where that is negative, to the highest that matters."""
    top = max(float(np.quantile(line.y, 0.99) if len(line.y) >= 50 else line.y.max()) for line in lines)
    return min(0.0, *(float(line.y.min()) for line in lines)), top


def _thinned(line: Series) -> Series:
    """Finite points only, and no more than can be seen: means of neighbours, the last point kept."""
    good = np.isfinite(line.x) & np.isfinite(line.y)
    x, y = line.x[good], line.y[good]
    if len(x) > MAX_POINTS:
        starts = np.linspace(0, len(x) - 1, MAX_POINTS).astype(int)
        counts = np.diff(np.append(starts, len(x)))
        x, y = np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts
    return replace(line, x=x, y=y)


def _dashes(line: Series) -> str | tuple[int, tuple[int, int]]:
    return (0, (5, 4)) if line.faint else "solid"


def _svg(figure: Figure, label: str) -> Markup:
    """The figure as an element of the page: no prolog, no metadata, no fonts of its own, the page's colours."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "singleshot"}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawing = buffer.getvalue().partition("<svg")[2].partition(">")[2]
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'font-size: [^;"]*; |font-family: [^;"]*; | id="\w+_\d+"| id="matplotlib\.\w+"', "", drawing)
    drawing = re.sub(r" transform=\"rotate\(-0 [^\"]*\"", "", drawing)
    drawing = re.sub(r"#[0-9a-f]{6}", lambda found: VARIABLES.get(found[0], found[0]), drawing)
    width, height = figure.get_size_inches() * 72
    opening = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
    return Markup(opening + re.sub(r"\s+", " ", drawing))  # noqa: S704 (matplotlib escapes texts)


def _legend(keys: Sequence[tuple[str, str]]) -> Markup:
    """Names with their keys (CSS classes); nothing where there are none."""
    spans = Markup("").join(Markup('<span><i class="{}"></i>{}</span>').format(key, name) for key, name in keys)
    return Markup('<p class="legend">{}</p>').format(spans) if keys else Markup("")


# -------------------------------------------------------------------------------------------------------- PNG files


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, on white, that touches no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")


def plot_in(figure: Figure, title: str, place: tuple[int, int, int] = (1, 1, 1)) -> Axes:
    """A titled plot at a place of the figure (rows, columns, number)."""
    axes = figure.add_subplot(*place)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.grid(visible=True, color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    return axes


def plain(text: str) -> str:
    """Text that matplotlib shall not read as mathematics."""
    return text.replace("$", r"\$")


def as_png(figure: Figure) -> bytes:
    """The figure's file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
