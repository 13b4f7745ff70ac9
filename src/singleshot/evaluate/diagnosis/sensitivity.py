"""How much a detector depends on an object's size and shape (Hoiem et al. 2012, section 3; figure 4 of the SSD paper).

Objects of each class are cut by area into extra small (a tenth), small (a fifth), medium (two fifths), large (a fifth)
and extra large (a tenth), and by width / height into extra tall .. extra wide likewise. The AP of each part counts only
its own objects; precision is normalised, as if every part and every class had the same number of objects:
P_N = R N / (R N + F), with recall R, false detections F and N the mean number of objects of a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.diagnosis.judged_set import JudgedSet
from singleshot.evaluate.voc import HIT, MISS, ranked
from singleshot.shapes import Bool, Float, Int64

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


def sensitivities(judged: JudgedSet) -> tuple[Sensitivity, Sensitivity]:
    """To size and to shape."""
    boxes = judged.ground_truth.boxes_xyxy.astype(np.float64)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    images = judged.annotations.sizes_wh[judged.ground_truth.images].astype(np.float64)
    area = np.where((images > 0).all(axis=1), images.prod(axis=1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (
            _sensitivity(judged, "size", SIZES, width * height / area, by=width * height),
            _sensitivity(judged, "shape", SHAPES, width / height, by=width / height),
        )


def _sensitivity(
    judged: JudgedSet,
    name: str,
    parts: tuple[str, ...],
    shown: Float[np.ndarray, " M"],
    *,
    by: Float[np.ndarray, " M"],
) -> Sensitivity:
    """Cut by the quantiles of `by`; the edges are told in `shown`."""
    labels = [label for label in range(len(judged.class_names)) if len(judged.positives(label)) >= FEWEST]
    present = [count for label in range(len(judged.class_names)) if (count := len(judged.positives(label)))]
    usual = float(np.mean(present)) if present else 1.0
    objects, values, errors = (np.zeros((len(labels), 5)) for _ in range(3))
    whole, edges = np.zeros(len(labels)), np.zeros((len(labels), 4))
    for row, label in enumerate(labels):
        mine = judged.positives(label)
        places = np.searchsorted(np.quantile(by[mine], CUTS), by[mine], side="left")
        edges[row] = np.quantile(shown[mine], CUTS)
        whole[row], _ = _normalised_ap(judged, label, np.ones(len(mine), bool), usual)
        for part in range(5):
            wanted = places == part
            objects[row, part] = np.count_nonzero(wanted)
            values[row, part], errors[row, part] = _normalised_ap(judged, label, wanted, usual)
    names = tuple(judged.class_names[label] for label in labels)
    return Sensitivity(name, parts, names, objects.astype(np.int64), values, errors, whole, edges)


def _normalised_ap(judged: JudgedSet, label: int, wanted: Bool[np.ndarray, " P"], usual: float) -> tuple[float, float]:
    """Normalised AP of some of a class's objects, and its standard error over them.

    What hits another object of the class is neither right nor wrong. AP is the mean over the objects of the normalised
    precision at which each is found (the envelope; 0 where it is not).
    """
    of_part = np.zeros(len(judged.ground_truth), bool)
    of_part[judged.positives(label)[wanted]] = True
    positives = int(np.count_nonzero(wanted))
    if not positives:
        return 0.0, 0.0
    mine = np.flatnonzero(judged.found.labels == label)
    hits = judged.verdicts[mine] == HIT
    counted = (judged.verdicts[mine] == MISS) | (hits & of_part[judged.hit_ground_truth[mine]])
    mine = ranked(mine[counted], judged.scores)
    right = judged.verdicts[mine] == HIT
    recall, wrong = np.cumsum(right) / positives, np.cumsum(~right)
    precision = recall * usual / np.maximum(recall * usual + wrong, 1e-12)
    envelope = np.maximum.accumulate(precision[::-1])[::-1] if len(precision) else precision
    at_objects = np.zeros(positives)
    at_objects[: int(right.sum())] = envelope[right]
    error = float(at_objects.std(ddof=1) / np.sqrt(positives)) if positives > 1 else 0.0
    return float(at_objects.mean()), error
