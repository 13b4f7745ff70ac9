"""Plots of a data set's statistics and a contact sheet of its images, as matplotlib figures without global state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from singleshot.decode import decode_image
from singleshot.degenerate_boxes import box_sides
from singleshot.errors import ImageError
from singleshot.report.charts import INK, plain, plot_in
from singleshot.report.charts import figure as figure_of
from singleshot.types import Annotations

BAR = "#3b6fb6"
# Twelve colours that differ in hue and lightness; classes beyond take them again.
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#f032e6", "#9a6324", "#808000", "#000075",
           "#00a5e0", "#800000")  # fmt: skip
LARGEST_LEGEND = 24  # classes
LARGEST_PLOT = 40  # classes; the rarest are summed up


def class_plot(stats: dict[str, Any]) -> Figure:
    """Number of boxes of each class, the most frequent first, from the numbers of `stats`."""
    counts = sorted(((numbers["boxes"], name) for name, numbers in stats["classes"].items()), key=lambda pair: -pair[0])
    rest = counts[LARGEST_PLOT:]
    counts = counts[:LARGEST_PLOT]
    if rest:
        counts.append((sum(count for count, _ in rest), f"{len(rest)} other classes"))
    figure = figure_of(8, 1.2 + 0.28 * max(len(counts), 1))
    axes = plot_in(figure, f"{stats['boxes']:,} boxes on {stats['images']:,} images")
    rows = np.arange(len(counts))
    axes.barh(rows, [count for count, _ in counts], color=BAR, height=0.72)
    axes.set_yticks(rows, [plain(name) for _, name in counts])
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlabel("boxes")
    axes.grid(visible=False, axis="y")
    largest = max((count for count, _ in counts), default=0)
    for row, (count, _) in enumerate(counts):
        axes.text(count + largest * 0.01, row, f"{count:,}", va="center", fontsize=8, color=INK)
    axes.set_xlim(0, max(largest * 1.12, 1))
    return figure


def box_plots(annotations: Annotations) -> Figure:
    """Four plots: width against height, size, aspect ratio, boxes per image."""
    sides, sizes = box_sides(annotations)
    figure = figure_of(11, 8)
    cloud = plot_in(figure, "Width and height", (2, 2, 1))
    known = (sizes > 0).all(axis=1)
    relative = bool(known.any())
    shown = sides[known] / sizes[known] if relative else sides
    cloud.scatter(shown[:, 0], shown[:, 1], s=6, alpha=_alpha(len(shown)), color=BAR, linewidths=0, rasterized=True)
    unit = "fraction of the image" if relative else "pixels"
    cloud.set_xlabel(f"width, {unit}")
    cloud.set_ylabel(f"height, {unit}")
    if relative:
        cloud.set_xlim(0, 1.02)
        cloud.set_ylim(0, 1.02)
    _logarithmic(plot_in(figure, "Size", (2, 2, 2)), np.sqrt(sides.prod(axis=1)), "square root of the area, pixels")
    ratios = plot_in(figure, "Aspect ratio", (2, 2, 3))
    _logarithmic(ratios, sides[:, 0] / sides[:, 1], "width / height", lines=(1 / 3, 1 / 2, 1, 2, 3))
    _counts(plot_in(figure, "Boxes per image", (2, 2, 4)), np.diff(annotations.starts))
    return figure


def contact_sheet(annotations: Annotations, *, rng: np.random.Generator, columns: int = 5, rows: int = 4) -> Figure:
    """Random images with their ground truth; difficult and crowd boxes are dashed."""
    chosen = rng.permutation(len(annotations))[: columns * rows]
    rows = max(1, -(-len(chosen) // columns))
    figure = figure_of(columns * 3.2, rows * 2.75)
    labels = sorted({int(label) for index in chosen for label in annotations.ground_truth(int(index)).labels})
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}
    for place, index in enumerate(chosen, 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_axis_off()
        axes.set_title(plain(_short(annotations.files[index].rpartition("/")[2])), fontsize=8, color=INK, pad=3)
        try:
            image = decode_image(annotations.path(int(index)))
        except ImageError:
            axes.text(0.5, 0.5, "cannot be read", ha="center", va="center", color=COLOURS[0])
            continue
        axes.imshow(image, interpolation="antialiased")
        _draw_boxes(axes, annotations, int(index), image.shape[:2], colours)
    if labels:
        names = [plain(_short(annotations.class_names[label])) for label in labels[:LARGEST_LEGEND]]
        handles = [Rectangle((0, 0), 1, 1, color=colours[label]) for label in labels[:LARGEST_LEGEND]]
        figure.legend(handles, names, loc="outside lower center", ncols=8, fontsize=8, frameon=False)
    return figure


def _draw_boxes(
    axes: Axes, annotations: Annotations, index: int, size_hw: tuple[int, ...], colours: Mapping[int, str]
) -> None:
    ground_truth = annotations.ground_truth(index)
    text = len(ground_truth) <= 12  # more names than that hide the image
    for box, label, dashed in zip(
        ground_truth.boxes_xyxy, ground_truth.labels, ground_truth.difficult | ground_truth.crowd, strict=True
    ):
        if not np.isfinite(box).all():
            continue
        left, top, right, bottom = (float(value) for value in box)
        colour = colours[int(label)]
        style = (0, (3, 2)) if dashed else "solid"
        axes.add_patch(
            Rectangle(
                (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.2, linestyle=style
            )
        )
        if text:
            name = plain(_short(annotations.class_names[int(label)]))
            at = {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"}
            axes.text(max(left, 0), max(top, 0), name, fontsize=5.5, color="white", va="top", bbox=at, clip_on=True)
    axes.set_xlim(-0.5, size_hw[1] - 0.5)
    axes.set_ylim(size_hw[0] - 0.5, -0.5)


def _logarithmic(axes: Axes, values: np.ndarray, label: str, lines: tuple[float, ...] = ()) -> None:
    """A histogram with a logarithmic axis."""
    axes.set_xlabel(label)
    axes.set_ylabel("boxes")
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low / 2, high * 2
    axes.hist(values, bins=list(np.geomspace(low, high, 41)), color=BAR)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
    for line in lines:
        axes.axvline(line, color=COLOURS[3], linewidth=0.9, linestyle=(0, (3, 2)))


def _counts(axes: Axes, values: np.ndarray) -> None:
    axes.set_xlabel("boxes")
    axes.set_ylabel("images")
    if len(values):
        step = max(1, int(values.max()) // 40)
        axes.hist(values, bins=list(np.arange(-0.5, values.max() + step + 0.5, step)), color=BAR)


def _alpha(count: int) -> float:
    return float(np.clip(300 / max(count, 1), 0.15, 0.6))


def _short(name: str, length: int = 28) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
