"""How much drawing a model's boxes save a person who labels images: what is accepted, moved, drawn and deleted.

`ssd label` writes a model's detections from a score on as labels to correct. On a set whose ground truth is known, each
box of the ground truth is one of three: a detection of its class has it right, another is near and has to be moved, or
it has to be drawn. Detections that fit no box have to be deleted. These are counts of boxes, not seconds of work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.evaluate.matching import FALSE_POSITIVE, TRUE_POSITIVE, MatchedDetections, MatchingRules, match
from singleshot.types import Detections

RIGHT_IOU, NEAR_IOU = 0.7, 0.5
"""IoU from which a box is accepted as it is, and from which it is moved rather than drawn anew."""
LEAST_SCORE = 0.1
"""Detections below this do not count as possible objects: there are hundreds of them in an image without any."""
_RIGHT, _NEAR = (MatchingRules((iou,), second_best=True, ignored="last") for iou in (RIGHT_IOU, NEAR_IOU))


@dataclass(frozen=True)
class PreAnnotation:
    """What a person would do with a model's detections as labels, in boxes.

    Attributes:
        score: detections from this score on are labels.
        right: ground-truth boxes that a detection of their class has with an IoU of 0.7 or more: accepted.
        moved: those that one has with an IoU of 0.5 to 0.7: moved.
        drawn: those that none has: drawn.
        deleted: detections that fit no ground-truth box, or one that another fits already: deleted.
    """

    score: float
    right: int
    moved: int
    drawn: int
    deleted: int

    @property
    def boxes(self) -> int:
        """Ground-truth boxes, without those that do not count (difficult, crowd, degenerate)."""
        return self.right + self.moved + self.drawn

    def __str__(self) -> str:
        """A line for people."""
        shares = [f"{count / max(1, self.boxes):.1%}" for count in (self.right, self.moved, self.drawn)]
        return (
            f"as labels from score {self.score:g} on, of {self.boxes:,} boxes {shares[0]} are right (IoU {RIGHT_IOU}), "
            f"{shares[1]} to be moved, {shares[2]} to be drawn; {self.deleted:,} boxes to be deleted"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "score": self.score,
            "boxes": self.boxes,
            "right": self.right,
            "moved": self.moved,
            "drawn": self.drawn,
            "deleted": self.deleted,
        }


def measure_pre_annotation(matched: MatchedDetections, *, score: float) -> PreAnnotation:
    """Count what a person would do with the detections from a score on.

    The best detections choose first, and each takes the free ground-truth box of its class that it overlaps most. What
    is right at an IoU of 0.7 chooses before what is only near, so that a box that is sure but loose does not take the
    object of one that is exact.

    Args:
        matched: a set and its detections, by any rules.
        score: detections from this score on are labels.
    """
    ground_truth, ignored = matched.ground_truth, matched.ignored
    labels = matched.detections.select(matched.detections.scores >= score)
    exact = match(labels, ground_truth, ignored, _RIGHT)
    fits = exact.outcomes[0] == TRUE_POSITIVE
    right = exact.ground_truth[0][fits]
    free = np.ones(len(ground_truth), bool)
    free[right] = False
    near = match(labels.select(~fits), ground_truth.select(free), ignored[free], _NEAR).outcomes[0]
    moved = int((near == TRUE_POSITIVE).sum())
    drawn = int((~ignored).sum()) - len(right) - moved
    return PreAnnotation(score, len(right), moved, drawn, int((near == FALSE_POSITIVE).sum()))


def expected_corrections(detections: Detections, *, score: float) -> float:
    """How many boxes of an image a person is expected to correct, if scores are probabilities.

    A label is wrong with the probability 1 - score, and a detection that is left out is an object with that of its
    score: the sum of both. The image with the most is that of which the model is least sure.

    Args:
        detections: of one image, those below `score` included.
        score: detections from this score on are labels; those from `LEAST_SCORE` up to it are left out.
    """
    scores = detections.scores.astype(np.float64)
    labels, left_out = scores >= score, (scores < score) & (scores >= LEAST_SCORE)
    return float((1 - scores[labels]).sum() + scores[left_out].sum())
