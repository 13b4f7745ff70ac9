"""ILSVRC DET's evaluation: like VOC2012's, but small objects may be met less exactly, and a taken one is passed over.

A detection takes, of the objects of its image and class that are not taken yet, the one that it overlaps most among
those whose threshold it meets: min(0.5, w h / ((w + 10) (h + 10))), which allows five pixels on every side (Russakovsky
et al. 2015, section 4.3). Widths, heights and overlaps count both edge pixels, as the development kit does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from singleshot.evaluate.evaluation import Evaluation
from singleshot.evaluate.flat import Flat, flat_detections, flat_ground_truth
from singleshot.evaluate.voc import HIT, MISS, box_overlaps, evaluation_of, ranked, unusable
from singleshot.shapes import Bool, Float, Int8
from singleshot.types import Annotations, Detections

TOLERANCE = 10
"""Pixels by which an object's box may be larger in each direction."""


def evaluate_ilsvrc(annotations: Annotations, detections: Sequence[Detections]) -> Evaluation:
    """Evaluate a set's detections by ILSVRC's rules; difficult and crowd ground-truth boxes are not there.

    Raises:
        DataError: see `flat_detections`.
    """
    ground_truth = flat_ground_truth(annotations)
    found, scores, foreign = flat_detections(annotations, detections)
    ignored = annotations.difficult | annotations.crowd | unusable(ground_truth)
    verdicts = judge_ilsvrc(found, scores, ground_truth, ignored)
    return evaluation_of(
        annotations.class_names,
        ground_truth,
        ignored,
        found,
        scores,
        verdicts,
        protocol="ilsvrc",
        version="MaxIntegral",
        iou_threshold=0.5,
        foreign=foreign,
    )


def thresholds(boxes_xyxy: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, " m"]:
    """The overlap that finds each object; 0.5 from about 24 pixels a side on.

    >>> thresholds(np.array([[0.0, 0, 9, 9], [0, 0, 99, 99]])).round(3).tolist()
    [0.25, 0.5]
    """
    width, height = boxes_xyxy[:, 2] - boxes_xyxy[:, 0] + 1, boxes_xyxy[:, 3] - boxes_xyxy[:, 1] + 1
    found: np.ndarray = np.minimum(0.5, width * height / ((width + TOLERANCE) * (height + TOLERANCE)))
    return found


def judge_ilsvrc(
    found: Flat, scores: Float[np.ndarray, " n"], ground_truth: Flat, ignored: Bool[np.ndarray, " m"]
) -> Int8[np.ndarray, " n"]:
    """`HIT` or `MISS` of every detection; ignored ground-truth boxes are not there."""
    verdicts = np.full(len(found), MISS, np.int8)
    wanted = np.flatnonzero(~ignored)
    least = thresholds(ground_truth.boxes_xyxy[wanted].astype(np.float64))
    classes = 1 + max(found.labels.max(initial=0), ground_truth.labels.max(initial=0))
    mine = found.images * classes + found.labels
    theirs = ground_truth.images[wanted] * classes + ground_truth.labels[wanted]
    by_group = np.argsort(theirs, kind="stable")
    starts, ends = (np.searchsorted(theirs[by_group], mine, side=side) for side in ("left", "right"))
    free = np.ones(len(wanted), bool)
    for row in ranked(np.flatnonzero(ends > starts), scores):
        rows = by_group[starts[row] : ends[row]]
        overlaps = box_overlaps(
            np.repeat(found.boxes_xyxy[row][None], len(rows), axis=0),
            ground_truth.boxes_xyxy[wanted[rows]],
            plus_one=True,
        )
        overlaps = np.where(free[rows] & (overlaps >= least[rows]), overlaps, -1)
        best = int(overlaps.argmax())
        if overlaps[best] >= 0:
            free[rows[best]] = False
            verdicts[row] = HIT
    return verdicts
