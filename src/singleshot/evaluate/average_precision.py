"""Average precision of one class: the ways to turn a ranked list of true and false positives into a number.

Caffe bbox_util.cpp, ComputeAP. Recall is float32 as there, which matters: a recall of exactly 7/10 or 9/10 lies below
the points 0.7 and 0.9 of the eleven-point version, because float32 rounds it down and the points are doubles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from singleshot.shapes import Bool, Float, Float32

ApVersion = Literal["11point", "MaxIntegral", "Integral"]
AP_VERSIONS: dict[str, ApVersion] = {"voc07": "11point", "voc12": "MaxIntegral", "ilsvrc": "MaxIntegral"}
"""How the protocols of one IoU threshold make an average precision of a curve."""
COCO_RECALLS = np.linspace(0, 1, 101)
"""Where COCO reads a curve."""
Curve = tuple["Float32[np.ndarray, ' n']", "Float32[np.ndarray, ' n']"]


def recall_and_precision(true_positives: Bool[np.ndarray, " n"], *, positives: int) -> Curve:
    """Recall and precision after each detection, best score first.

    Args:
        true_positives: whether each detection is one, else it is a false positive; ignored ones are left out before.
        positives: ground-truth boxes there are to find, at least 1.
    """
    so_far = np.cumsum(true_positives, dtype=np.int64).astype(np.float32)
    shown = np.arange(1, len(true_positives) + 1, dtype=np.float32)
    return so_far / np.float32(positives), so_far / shown


def average_precision(curve: Curve, version: ApVersion) -> float:
    """The area under a curve in [0, 1] by one of Caffe's versions; 0 for an empty curve.

    Args:
        curve: recall and precision, see `recall_and_precision`.
        version: `11point` is VOC2007's, `MaxIntegral` that of VOC2010 and later and of ILSVRC, `Integral` the plain
            sum.
    """
    recall, precision = curve
    if len(recall) == 0:
        return 0.0
    if version == "11point":
        return eleven_points(recall, precision)
    # The envelope: the best precision at this recall or beyond.
    heights = np.maximum.accumulate(precision[::-1])[::-1] if version == "MaxIntegral" else precision
    steps = np.diff(recall.astype(np.float64), prepend=0.0)
    return float(heights @ steps)


def eleven_points(recall: Float32[np.ndarray, " n"], precision: Float32[np.ndarray, " n"]) -> float:
    """Mean over recall r = 0, 0.1, ..., 1 of the best precision at recall >= r (0 where r is never reached)."""
    return at_recalls(recall.astype(np.float64), precision, np.arange(11) / 10)


def at_recalls(
    recall: Float[np.ndarray, " n"], precision: Float[np.ndarray, " n"], points: Float[np.ndarray, " p"]
) -> float:
    """Mean over the points of the best precision at that recall or beyond (0 where it is never reached)."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1].astype(np.float64)
    return float(np.append(envelope, 0.0)[np.searchsorted(recall, points, side="left")].mean())


def mean_of_present(per_class: Mapping[Any, float | None]) -> float | None:
    """Mean over the classes that have ground truth; None where none has (Caffe counts an absent class as 0)."""
    present = [ap for ap in per_class.values() if ap is not None]
    return math.fsum(present) / len(present) if present else None
