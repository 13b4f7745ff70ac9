"""How many objects a detector's best K boxes reach, whatever class they have: recall against the number of proposals.

An object is recalled when any of the first K boxes of its image overlaps it by the threshold. Only its closest box
counts, and one box may reach several objects; that is how proposals are measured (Hosang et al., "What makes for
effective detection proposals?", 2016), and is never below COCO's AR, which hands a box to one object. Average recall
is the mean over the thresholds 0.5, 0.55 ... 0.95.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.boxes import pairwise_iou
from singleshot.evaluate.box_table import detection_table, ground_truth_table
from singleshot.evaluate.matching import VOC, ignored_ground_truth
from singleshot.shapes import Float
from singleshot.spec import OBJECT
from singleshot.types import Annotations, Detections

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
SHOWN = (0.5, 0.7)
"""The thresholds that people see one by one."""
NAMED = (10, 100, 1000)
"""The numbers of proposals whose average recall has a name: AR10, AR100, AR1000."""


@dataclass(frozen=True, eq=False)
class ProposalRecall:
    """The share of the ground-truth boxes that the best proposals of each image reach.

    Law: no recall falls with the number of proposals, nor rises with the threshold.

    Attributes:
        counts: numbers of proposals K; an image with fewer gives all it has.
        recall: at each of `THRESHOLDS` and each K, 0..1; NaN without objects.
        objects: ground-truth boxes to reach.
        ignored: ground-truth boxes that do not count: difficult, crowd, or degenerate.
        reached: objects that any proposal of their image reaches at IoU 0.5.
        proposals: of all images.
        per_image: proposals of an image, on average; 0 without images.
    """

    counts: tuple[int, ...]
    recall: Float[np.ndarray, "thresholds counts"]
    objects: int
    ignored: int
    reached: int
    proposals: int
    per_image: float

    def at(self, threshold: float) -> Float[np.ndarray, " counts"]:
        """Recall at one of the thresholds."""
        recall: np.ndarray = self.recall[THRESHOLDS.index(threshold)]
        return recall

    @property
    def average(self) -> Float[np.ndarray, " counts"]:
        """Average recall: the mean over all thresholds."""
        average: np.ndarray = self.recall.mean(axis=0)
        return average

    def columns(self) -> dict[str, Float[np.ndarray, " counts"]]:
        """The shown recalls, by name."""
        return {**{f"recall at {threshold}": self.at(threshold) for threshold in SHOWN}, "average recall": self.average}

    def lines(self) -> list[str]:
        """A table for people."""
        columns = self.columns()
        lines = [f"{'proposals':>16}" + "".join(f"{name:>16}" for name in columns)]
        for count, *values in zip(self.counts, *columns.values(), strict=True):
            lines.append(f"{count:>16,}" + "".join(f"{100 * value:>15.1f}%" for value in values))
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain values; `a_picture` is the old name of `per_image`."""
        columns = {name.replace(" ", "_"): values.tolist() for name, values in self.columns().items()}
        return {"counts": list(self.counts), **columns, "per_image": self.per_image, "a_picture": self.per_image}


def measure_proposals(annotations: Annotations, detections: Sequence[Detections]) -> ProposalRecall:
    """Measure a set's detections as proposals: best score first, classes unseen; equal scores stay in their order.

    Raises:
        DataError: another number of images than the set has; a box or a score is not finite.
    """
    one_class = annotations.as_one_class(OBJECT)
    proposals, _ = detection_table(one_class, [of_image.as_one_class(OBJECT) for of_image in detections])
    ground_truth, ignored = ground_truth_table(one_class), ignored_ground_truth(annotations, VOC)
    most = max(map(len, detections), default=0)
    counts = (*COUNTS, most) if most > COUNTS[-1] else COUNTS
    ends = np.searchsorted(proposals.images, np.arange(len(annotations) + 1))
    best = [np.zeros((0, len(counts)), np.float32)]
    for image in range(len(annotations)):
        rows = proposals.ranked(np.arange(ends[image], ends[image + 1]))
        of_image = slice(annotations.starts[image], annotations.starts[image + 1])
        objects = ground_truth.boxes_xyxy[of_image][~ignored[of_image]]
        best.append(best_ious(proposals.boxes_xyxy[rows], objects, counts))
    reached = np.concatenate(best) >= np.array(THRESHOLDS, np.float32)[:, None, None]
    number = reached.shape[1]
    return ProposalRecall(
        counts,
        reached.mean(axis=1) if number else np.full((len(THRESHOLDS), len(counts)), np.nan),
        objects=number,
        ignored=int(ignored.sum()),
        reached=int(reached[0, :, -1].sum()),
        proposals=len(proposals),
        per_image=len(proposals) / max(1, len(annotations)),
    )


def best_ious(
    proposals_xyxy: Float[np.ndarray, "n 4"], ground_truth_xyxy: Float[np.ndarray, "R 4"], counts: Sequence[int]
) -> Float[np.ndarray, "R counts"]:
    """IoU of each ground-truth box with the best of the first K proposals, for each K; 0 where there is none."""
    ious = np.zeros((len(proposals_xyxy) + 1, len(ground_truth_xyxy)), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        ious[1:] = np.nan_to_num(pairwise_iou(proposals_xyxy, ground_truth_xyxy), nan=0)
    so_far = np.maximum.accumulate(ious)
    best: np.ndarray = so_far[np.minimum(counts, len(proposals_xyxy))].T
    return best
