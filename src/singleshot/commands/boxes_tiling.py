"""A detector's default boxes, and how they cover a data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from singleshot.box_search.adapt import THRESHOLD, deciding_classes, default_boxes_of
from singleshot.box_search.measure import SIZE_BINS, Coverage, measure
from singleshot.models.ssd import grid_sizes
from singleshot.shapes import Float, Int64
from singleshot.spec import ModelSpec
from singleshot.types import Annotations

SHAPE_BINS = (0.0, 1 / 3, 1 / 2, 2 / 3, 1.5, 2.0, 3.0, float("inf"))
"""Width by height, as the network sees it."""


@dataclass(frozen=True, eq=False)
class Tiling:
    """A set of default boxes, and how it covers the data.

    Attributes:
        spec: the detector that has it.
        map_sizes_hw: of its source maps.
        coverage: a class at a time and by size.
        shapes: ground-truth boxes in each of `SHAPE_BINS`.
        covered_shapes: those of them that are covered.
    """

    spec: ModelSpec
    map_sizes_hw: tuple[tuple[int, int], ...]
    coverage: Coverage
    shapes: Int64[np.ndarray, " bins"]
    covered_shapes: Int64[np.ndarray, " bins"]

    @property
    def covered(self) -> float:
        """Mean covered share of the classes that decide."""
        return float(self.coverage.shares[deciding_classes(self.coverage)].mean())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = self.coverage
        return {
            "boxes": found.num_default_boxes,
            "sources": list(self.spec.sources),
            "maps": [[width, height] for height, width in self.map_sizes_hw],
            "sizes": [list(boxes.min_sizes) for boxes in self.spec.boxes.maps],
            "ratios": [list(boxes.ratios) for boxes in self.spec.boxes.maps],
            "covered": _number(found.share),
            "per_class": {
                name: {
                    "objects": int(found.ground_truth[label]),
                    "covered": _number(found.shares[label]),
                    "boxes_an_object": _number(found.positives[label]),
                }
                for label, name in enumerate(found.class_names)
            },
            "by_size": _bins(SIZE_BINS, found.ground_truth_by_size, found.covered_by_size),
            "by_shape": _bins(SHAPE_BINS, self.shapes, self.covered_shapes),
            "spec": asdict(self.spec),
        }


def measured(spec: ModelSpec, annotations: Annotations) -> Tiling:
    """How a detector's default boxes cover a set."""
    map_sizes_hw = grid_sizes(spec)
    coverage = measure(annotations, default_boxes_of(spec, map_sizes_hw), threshold=THRESHOLD)
    height, width = spec.input_size_hw
    sides = (coverage.boxes_xyxy[:, 2:] - coverage.boxes_xyxy[:, :2]) * [width, height]
    shapes = np.digitize(sides[:, 0] / sides[:, 1], SHAPE_BINS[1:-1])
    hit, count = coverage.best_overlaps >= np.float32(coverage.threshold), len(SHAPE_BINS) - 1
    covered = np.bincount(shapes[hit], minlength=count)
    return Tiling(spec, map_sizes_hw, coverage, np.bincount(shapes, minlength=count), covered)


def _bins(edges: tuple[float, ...], ground_truth: np.ndarray, covered: np.ndarray) -> list[dict[str, Any]]:
    return [
        {"from": low, "to": high if np.isfinite(high) else None, "objects": int(count), "covered": _number(hit / count)}
        for (low, high), count, hit in zip(pairwise(edges), ground_truth, covered, strict=True)
        if count
    ]


def _number(value: float | Float[np.ndarray, ""]) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
