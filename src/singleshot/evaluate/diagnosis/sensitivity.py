"""How much a detector depends on an object's size and shape (Hoiem et al. 2012, section 3; figure 4 of the SSD paper).

Objects of each class are cut by area into extra small (a tenth), small (a fifth), medium (two fifths), large (a fifth)
and extra large (a tenth), and by width / height into extra tall .. extra wide likewise. The AP of each part counts only
its own objects; precision is normalised, as if every part and every class had the same number of objects:
P_N = R N / (R N + F), with recall R, false positives F and N the mean number of objects of a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.diagnosis.error_types import positives
from singleshot.evaluate.matching import FALSE_POSITIVE, TRUE_POSITIVE, MatchedDetections
from singleshot.shapes import Float, Int64

SIZES = ("XS", "S", "M", "L", "XL")
SHAPES = ("XT", "T", "M", "W", "XW")
CUTS = (0.1, 0.3, 0.7, 0.9)
FEWEST = 10
"""A class with fewer objects is not cut: a part would hold none or one."""


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Normalised AP of the parts of each class.

    Attributes:
        of: `size` or `shape`.
        parts: names of the five parts.
        class_names: of the classes that were cut.
        objects: how many each part has, (l, 5).
        values: normalised AP, (l, 5).
        errors: its standard error, (l, 5).
        whole: normalised AP of each whole class, (l,).
        edges: where the parts are cut, (l, 4): area as a fraction of the image, or width / height.
    """

    of: str
    parts: tuple[str, ...]
    class_names: tuple[str, ...]
    objects: Int64[np.ndarray, "l 5"]
    values: Float[np.ndarray, "l 5"]
    errors: Float[np.ndarray, "l 5"]
    whole: Float[np.ndarray, " l"]
    edges: Float[np.ndarray, "l 4"]

    @property
    def means(self) -> Float[np.ndarray, " 5"]:
        """Mean over the classes; NaN without any."""
        return self.values.mean(axis=0) if len(self.values) else np.full(5, np.nan)


def sensitivities(matched: MatchedDetections) -> tuple[Sensitivity, Sensitivity]:
    """To size and to shape."""
    boxes = matched.ground_truth.boxes_xyxy.astype(np.float64)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    images = matched.annotations.sizes_wh[matched.ground_truth.images].astype(np.float64)
    area = np.where((images > 0).all(axis=1), images.prod(axis=1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (
            _sensitivity(matched, "size", SIZES, width * height / area, by=width * height),
            _sensitivity(matched, "shape", SHAPES, width / height, by=width / height),
        )


def _sensitivity(
    matched: MatchedDetections,
    name: str,
    parts: tuple[str, ...],
    shown: Float[np.ndarray, " M"],
    *,
    by: Float[np.ndarray, " M"],
) -> Sensitivity:
    """Cut by the quantiles of `by`; the edges are given in `shown`."""
    of_class = [positives(matched, label) for label in range(len(matched.class_names))]
    labels = [label for label, rows in enumerate(of_class) if len(rows) >= FEWEST]
    usual = float(np.mean([len(rows) for rows in of_class if len(rows)] or [1]))
    objects, values, errors = (np.zeros((len(labels), 5)) for _ in range(3))
    whole, edges = np.zeros(len(labels)), np.zeros((len(labels), 4))
    for row, label in enumerate(labels):
        boxes = of_class[label]
        places = np.searchsorted(np.quantile(by[boxes], CUTS), by[boxes], side="left")
        edges[row] = np.quantile(shown[boxes], CUTS)
        whole[row], _ = _normalised_ap(matched, label, boxes, usual)
        for part in range(5):
            of_part = boxes[places == part]
            objects[row, part] = len(of_part)
            values[row, part], errors[row, part] = _normalised_ap(matched, label, of_part, usual)
    names = tuple(matched.class_names[label] for label in labels)
    return Sensitivity(name, parts, names, objects.astype(np.int64), values, errors, whole, edges)


def _normalised_ap(
    matched: MatchedDetections, label: int, boxes: Int64[np.ndarray, " P"], usual: float
) -> tuple[float, float]:
    """Normalised AP of some of a class's objects, and its standard error over them.

    A true positive of another object of the class does not count. AP is the mean over the objects of the normalised
    precision at which each is found (the envelope; 0 where it is not).
    """
    if not len(boxes):
        return 0.0, 0.0
    rows = matched.of_class(label)
    outcomes, chosen = matched.outcomes[rows], matched.matches.ground_truth[0, rows]
    counted = (outcomes == FALSE_POSITIVE) | ((outcomes == TRUE_POSITIVE) & np.isin(chosen, boxes))
    correct = outcomes[counted] == TRUE_POSITIVE
    recall, wrong = np.cumsum(correct) / len(boxes), np.cumsum(~correct)
    precision = recall * usual / np.maximum(recall * usual + wrong, 1e-12)
    envelope = np.maximum.accumulate(precision[::-1])[::-1] if len(precision) else precision
    at_objects = np.zeros(len(boxes))
    at_objects[: int(correct.sum())] = envelope[correct]
    error = float(at_objects.std(ddof=1) / np.sqrt(len(boxes))) if len(boxes) > 1 else 0.0
    return float(at_objects.mean()), error
