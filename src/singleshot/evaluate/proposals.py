"""How many objects a detector's best K boxes reach, whatever class they have: recall against the number of proposals.

A object is recalled when any of the first K boxes of its image overlaps it by the threshold. Only its closest box
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
from singleshot.evaluate.evaluation import ClassCounts, Evaluation
from singleshot.evaluate.flat import flat_detections, flat_ground_truth
from singleshot.evaluate.voc import ranked, unusable
from singleshot.shapes import Float
from singleshot.spec import OBJECT
from singleshot.types import Annotations, Detections

PROTOCOL = "proposals"
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
        recall: at each of `THRESHOLDS` and each K, 0..1.
        a_image: proposals of an image, on average.
    """

    counts: tuple[int, ...]
    recall: Float[np.ndarray, "thresholds counts"]
    a_image: float

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
        """What people see, by name."""
        return {**{f"recall at {one}": self.at(one) for one in SHOWN}, "average recall": self.average}

    def lines(self) -> list[str]:
        """A table for people."""
        columns = self.columns()
        lines = [f"{'proposals':>16}" + "".join(f"{name:>16}" for name in columns)]
        for count, *values in zip(self.counts, *columns.values(), strict=True):
            lines.append(f"{count:>16,}" + "".join(f"{100 * value:>15.1f}%" for value in values))
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        columns = {name.replace(" ", "_"): values.tolist() for name, values in self.columns().items()}
        return {"counts": list(self.counts), **columns, "a_picture": self.a_image}


def evaluate_proposals(annotations: Annotations, detections: Sequence[Detections]) -> Evaluation:
    """Measure a set's detections as proposals: best score first, classes unseen; equal scores stay in their order.

    Difficult and crowd ground-truth boxes are left out, and so are ground-truth boxes that no box can overlap.

    Raises:
        DataError: another number of images than the set has; a box or a score is not finite.
    """
    one_class = annotations.as_one_class(OBJECT)
    found, scores, _ = flat_detections(one_class, [one.as_one_class(OBJECT) for one in detections])
    ground_truth = flat_ground_truth(one_class)
    ignored = annotations.difficult | annotations.crowd | unusable(ground_truth)
    most = max(map(len, detections), default=0)
    counts = (*COUNTS, most) if most > COUNTS[-1] else COUNTS
    ends = np.searchsorted(found.images, np.arange(len(annotations) + 1))
    closest = [np.zeros((0, len(counts)), np.float32)]
    for image in range(len(annotations)):
        mine = ranked(np.arange(ends[image], ends[image + 1]), scores)
        of_image = slice(annotations.starts[image], annotations.starts[image + 1])
        wanted = ground_truth.boxes_xyxy[of_image][~ignored[of_image]]
        closest.append(best_overlaps(found.boxes_xyxy[mine], wanted, counts))
    reached = np.concatenate(closest) >= np.array(THRESHOLDS, np.float32)[:, None, None]
    recall, number = None, reached.shape[1]
    if number:
        recall = ProposalRecall(counts, reached.mean(axis=1), len(found) / len(annotations))
    numbers = {f"AR{count}": None if recall is None else float(recall.average[counts.index(count)]) for count in NAMED}
    objects = ClassCounts(number, int(ignored.sum()), len(found), int(reached[0, :, -1].sum()))
    return Evaluation(PROTOCOL, None, {}, {}, {OBJECT: objects}, iou_threshold=None, numbers=numbers, proposals=recall)


def best_overlaps(
    proposals_xyxy: Float[np.ndarray, "n 4"], ground_truth_xyxy: Float[np.ndarray, "R 4"], counts: Sequence[int]
) -> Float[np.ndarray, "R counts"]:
    """IoU of each ground-truth box with the closest of the first K proposals, for each K; 0 where there is none."""
    overlaps = np.zeros((len(proposals_xyxy) + 1, len(ground_truth_xyxy)), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        overlaps[1:] = np.nan_to_num(pairwise_iou(proposals_xyxy, ground_truth_xyxy), nan=0)
    so_far = np.maximum.accumulate(overlaps)
    closest: np.ndarray = so_far[np.minimum(counts, len(proposals_xyxy))].T
    return closest
