"""COCO's verdict on each detection at its ten overlaps, which `faster-coco-eval` keeps to itself.

pycocotools' cocoeval.py, evaluateImg: an image and class at a time, best score first, each detection takes the object
that it overlaps most among those not taken yet (ties: the last); one that finds none may lie on a crowd region, which
swallows any number, and then does not count. At most 100 detections of an image and class count.
"""

from __future__ import annotations

import numpy as np

from singleshot.evaluate.flat import Flat
from singleshot.evaluate.voc import HIT, IGNORED, MISS, ranked
from singleshot.shapes import Bool, Float, Int8

OVERLAPS = np.linspace(0.5, 0.95, 10)
MOST_DETECTIONS = 100


def judge_coco(
    found: Flat, scores: Float[np.ndarray, " n"], ground_truth: Flat, crowd: Bool[np.ndarray, " m"]
) -> Int8[np.ndarray, "10 n"]:
    """`HIT`, `MISS` or `IGNORED` for every detection at each of `OVERLAPS`."""
    verdicts = np.full((len(OVERLAPS), len(found)), IGNORED, np.int8)
    classes = 1 + max(found.labels.max(initial=0), ground_truth.labels.max(initial=0))
    groups = [flat.images * classes + flat.labels for flat in (found, ground_truth)]
    orders = [np.argsort(group, kind="stable") for group in groups]
    for group in np.unique(groups[0]):
        mine, theirs = (order[slice(*np.searchsorted(of, [group, group + 1], sorter=order))]
                        for order, of in zip(orders, groups, strict=True))  # fmt: skip
        mine = ranked(mine, scores)[:MOST_DETECTIONS]
        regular, many = theirs[~crowd[theirs]], theirs[crowd[theirs]]
        verdicts[:, mine] = _judge_one(
            _overlaps(found.boxes_xyxy[mine], ground_truth.boxes_xyxy[regular], crowd=False),
            _overlaps(found.boxes_xyxy[mine], ground_truth.boxes_xyxy[many], crowd=True),
        )
    return verdicts


def _judge_one(regular: Float[np.ndarray, "d r"], crowd: Float[np.ndarray, "d c"]) -> Int8[np.ndarray, "10 d"]:
    """The detections of one image and class, best first."""
    verdicts = np.full((len(OVERLAPS), len(regular)), MISS, np.int8)
    free = np.ones((len(OVERLAPS), regular.shape[1]), bool)
    last = regular.shape[1] - 1
    for row, overlaps in enumerate(regular):
        if regular.shape[1]:
            left = np.where(free, overlaps, -1.0)
            best = last - left[:, ::-1].argmax(axis=1)
            hit = np.flatnonzero(left[np.arange(len(OVERLAPS)), best] >= OVERLAPS)
            free[hit, best[hit]] = False
            verdicts[hit, row] = HIT
        swallowed = (crowd[row].max(initial=-1.0) >= OVERLAPS) & (verdicts[:, row] == MISS)
        verdicts[swallowed, row] = IGNORED
    return verdicts


def _overlaps(
    found: Float[np.ndarray, "d 4"], ground_truth: Float[np.ndarray, "t 4"], *, crowd: bool
) -> Float[np.ndarray, "d t"]:
    """IoU, in doubles as there; with a crowd region the share of the detection that lies in it."""
    first, second = found.astype(np.float64)[:, None], ground_truth.astype(np.float64)[None]
    common = (np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])).clip(min=0)
    shared = common.prod(axis=-1)
    own, other = ((box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (first, second))
    united = np.broadcast_to(own, shared.shape) if crowd else own + other - shared
    overlaps: np.ndarray = np.divide(shared, united, out=np.zeros_like(shared), where=united > 0)
    return overlaps
