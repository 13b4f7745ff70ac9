"""What kind of mistake each false detection is (Hoiem et al. 2012, section 2.1; figure 3 of the SSD paper).

- localisation: the right class, but the box overlaps its object by 0.1 to 0.5 only, or the object was found before;
- similar: it overlaps an object of a similar class by 0.1 or more;
- other: an object of another class;
- background: no object at all.

The first kind that fits counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from singleshot.evaluate.average_precision import average_precision, recall_and_precision
from singleshot.evaluate.diagnosis.judged_set import JudgedSet
from singleshot.evaluate.voc import HIT, IGNORED, judge, ranked
from singleshot.shapes import Bool, Float, Int8, Int64

KINDS = ("correct", "localisation", "similar", "other", "background")
CORRECT, LOCALISATION, SIMILAR, OTHER, BACKGROUND = range(5)
UNCOUNTED = -1
"""A detection of what does not count: neither right nor wrong."""
TOUCHING = 0.1
"""Overlap from which a false detection has to do with an object."""


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The kind of every detection, and what each kind costs.

    Attributes:
        class_names: L names.
        kinds: of each detection of the judged set, its number in `KINDS`, or `UNCOUNTED`.
        touches: whether it would have found its object if an overlap of 0.1 were enough.
        ground_truth: how many objects of each class count.
        average_precision: of each class (area under the envelope); NaN without objects.
        without: of each class if there were no detections of that kind, (4, L): localisation, similar, ...
        recall: share of each class's objects that are found at all, at an overlap of 0.5.
        weak_recall: likewise at 0.1.
    """

    class_names: tuple[str, ...]
    kinds: Int8[np.ndarray, " n"]
    touches: Bool[np.ndarray, " n"]
    ground_truth: Int64[np.ndarray, " L"]
    average_precision: Float[np.ndarray, " L"]
    without: Float[np.ndarray, "4 L"]
    recall: Float[np.ndarray, " L"]
    weak_recall: Float[np.ndarray, " L"]

    @property
    def gains(self) -> dict[str, float]:
        """What the mAP would gain if nobody made mistakes of a kind."""
        mean = _mean(self.average_precision)
        return {kind: _mean(aps) - mean for kind, aps in zip(KINDS[1:], self.without, strict=True)}


def classify(judged: JudgedSet, similar: Bool[np.ndarray, "L L"]) -> Mistakes:
    """The kind of each detection.

    Args:
        judged: the set.
        similar: which classes are easily taken for each other.
    """
    count = len(judged.class_names)
    kinds = _kinds(judged, similar)
    weak, _ = judge(judged.found, judged.scores, judged.ground_truth, judged.ignored, iou_threshold=TOUCHING)
    touches = weak == HIT
    ground_truth = np.array([len(judged.positives(label)) for label in range(count)])
    aps, without = np.full(count, np.nan), np.full((4, count), np.nan)
    recall, weak_recall = np.full(count, np.nan), np.full(count, np.nan)
    for label in np.flatnonzero(ground_truth):
        mine = ranked(np.flatnonzero((judged.found.labels == label) & (kinds != UNCOUNTED)), judged.scores)
        of_mine = kinds[mine]
        aps[label] = _precision(of_mine == CORRECT, ground_truth[label])
        for place, kind in enumerate((LOCALISATION, SIMILAR, OTHER, BACKGROUND)):
            left = of_mine[of_mine != kind]
            without[place, label] = _precision(left == CORRECT, ground_truth[label])
        recall[label] = np.count_nonzero(of_mine == CORRECT) / ground_truth[label]
        weak_recall[label] = np.count_nonzero((judged.found.labels == label) & touches) / ground_truth[label]
    return Mistakes(judged.class_names, kinds, touches, ground_truth, aps, without, recall, weak_recall)


def _kinds(judged: JudgedSet, similar: Bool[np.ndarray, "L L"]) -> Int8[np.ndarray, " n"]:
    kinds = np.full(len(judged.found), BACKGROUND, np.int8)
    for of_found, of_ground_truth, overlaps in judged.overlaps():
        touching = overlaps >= TOUCHING
        mine, theirs = judged.found.labels[of_found, None], judged.ground_truth.labels[None, of_ground_truth]
        here = kinds[of_found]
        here[touching.any(axis=1)] = OTHER
        here[(touching & similar[mine, theirs]).any(axis=1)] = SIMILAR
        here[(touching & (mine == theirs)).any(axis=1)] = LOCALISATION
    kinds[judged.verdicts == HIT] = CORRECT
    kinds[judged.verdicts == IGNORED] = UNCOUNTED
    return kinds


def _precision(hits: Bool[np.ndarray, " n"], positives: int) -> float:
    return average_precision(recall_and_precision(hits, positives=positives), "MaxIntegral")


def _mean(values: Float[np.ndarray, " L"]) -> float:
    present = values[np.isfinite(values)]
    return float(present.mean()) if len(present) else 0.0
