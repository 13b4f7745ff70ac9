"""Statistics of a data set: counts, box sizes, aspect ratios; as numbers and as plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from singleshot.degenerate_boxes import box_sides, count_box_faults
from singleshot.files import write_json, write_whole
from singleshot.report.charts import as_png, require_matplotlib
from singleshot.types import Annotations

OLD_KEYS = {
    "layout": "format",
    "pictures": "images",
    "background_pictures": "background_images",
    "boxes_per_picture": "boxes_per_image",
}
"""Names that `stats` gave some numbers before; they are written, too."""
WRITTEN = ("classes.png", "boxes.png", "contact_sheet.png", "stats.json")


def stats(annotations: Annotations) -> dict[str, Any]:
    """Numbers that describe a set.

    `size_pixels` is the square root of a box's area; `size_relative` the same as a fraction of the image (the square
    root of the area's share); `aspect_ratio` is width / height. Each is given by its 0, 5, 25, 50, 75, 95 and 100th
    percentile over the boxes that training uses (no crowd regions). Boxes in images whose size is not annotated have
    no relative size.
    """
    sides, sizes = box_sides(annotations)
    per_image = np.diff(annotations.starts)
    size_pixels = np.sqrt(sides.prod(axis=1))
    known = (sizes > 0).all(axis=1)
    images_of_class = _images_of_class(annotations)
    boxes_of_class = np.bincount(annotations.labels, minlength=len(annotations.class_names))
    numbers = {
        "format": annotations.format,
        "images": len(annotations),
        "boxes": len(annotations.labels),
        "background_images": int((per_image == 0).sum()),
        "difficult": int((annotations.difficult & ~annotations.crowd).sum()),
        "crowd": int(annotations.crowd.sum()),
        "bad_boxes": count_box_faults(annotations),
        "classes": {
            name: {"boxes": int(boxes), "images": int(images), "pictures": int(images)}
            for name, boxes, images in zip(annotations.class_names, boxes_of_class, images_of_class, strict=True)
        },
        "boxes_per_image": _percentiles(per_image),
        "size_pixels": _percentiles(size_pixels),
        "size_relative": _percentiles(size_pixels[known] / np.sqrt(sizes[known].prod(axis=1))),
        "aspect_ratio": _percentiles(sides[:, 0] / sides[:, 1]),
    }
    return numbers | {old: numbers[new] for old, new in OLD_KEYS.items()}


def write_stats(annotations: Annotations, out_dir: Path, *, seed: int = 0) -> dict[str, Any]:
    """Write `stats.json`, `classes.png`, `boxes.png` and `contact_sheet.png`; returns the numbers.

    Args:
        annotations: the set.
        out_dir: folder, created where it does not exist.
        seed: chooses the images of the contact sheet.

    Raises:
        RequestError: matplotlib, of the extra `evaluate`, is not installed.
    """
    require_matplotlib()
    from singleshot.data.stats_plots import box_plots, class_plot, contact_sheet

    numbers = stats(annotations)
    sheet = contact_sheet(annotations, rng=np.random.default_rng(seed))
    figures = {"classes.png": class_plot(numbers), "boxes.png": box_plots(annotations), "contact_sheet.png": sheet}
    for name, figure in figures.items():
        write_whole(out_dir / name, as_png(figure))
    write_json(out_dir / "stats.json", numbers)
    return numbers


def _images_of_class(annotations: Annotations) -> np.ndarray:
    """Number of images with each class."""
    images = np.arange(len(annotations)).repeat(np.diff(annotations.starts))
    pairs = np.unique(np.stack([images, annotations.labels]), axis=1)
    return np.bincount(pairs[1], minlength=len(annotations.class_names))


def _percentiles(values: np.ndarray) -> dict[str, float | None]:
    points = (0, 5, 25, 50, 75, 95, 100)
    quantiles = np.percentile(values, points) if len(values) else [None] * len(points)
    return {
        f"p{point}": None if value is None else round(float(value), 4)
        for point, value in zip(points, quantiles, strict=True)
    }
