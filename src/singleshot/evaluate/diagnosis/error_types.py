"""The error type of each false positive (Hoiem et al. 2012, section 2.1; figure 3 of the SSD paper), and what it costs.

- localisation: the right class, but an IoU of 0.1 to 0.5 only, or the object was found before;
- similar: it overlaps an object of a similar class by 0.1 or more;
- other: an object of another class;
- background: no object at all.

The first type that fits counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from singleshot.evaluate.average_precision import average_precision, recall_and_precision
from singleshot.evaluate.matching import IGNORED, TRUE_POSITIVE, VOC, MatchedDetections, overlapping_pairs
from singleshot.shapes import Bool, Float, Int8, Int64

KINDS = ("correct", "localisation", "similar", "other", "background")
CORRECT, LOCALISATION, SIMILAR, OTHER, BACKGROUND = range(5)
UNCOUNTED = -1
"""A detection of an ignored object: neither a true nor a false positive."""
TOUCHING = 0.1
"""IoU from which a false positive has to do with an object."""

MULTIPLES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
NUMBERS = (25, 50, 100, 200, 400, 800, 1600, 3200)
CLASSES_SHOWN = 5
"""Of those with most objects, where no groups of similar classes are known."""


@dataclass(frozen=True, eq=False)
class ErrorTypes:
    """The kind of every detection, and what each error type costs.

    Attributes:
        class_names: L names.
        kinds: of each detection of the set, its number in `KINDS`, or `UNCOUNTED`.
        touches: whether it would be a true positive if an IoU of 0.1 were enough.
        ground_truth: how many objects of each class count.
        average_precision: of each class (area under the envelope); NaN without objects.
        without: of each class without the detections of an error type, (4, L): localisation, similar, ...
        recall: share of each class's objects that are found, at IoU 0.5.
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
        """How much higher the mAP would be without the errors of each type."""
        mean = _mean(self.average_precision)
        return {kind: _mean(aps) - mean for kind, aps in zip(KINDS[1:], self.without, strict=True)}


def classify_errors(matched: MatchedDetections, similar: Bool[np.ndarray, "L L"]) -> ErrorTypes:
    """The kind of each detection.

    Args:
        matched: the set, by VOC's rules.
        similar: which classes are easily confused.
    """
    count = len(matched.class_names)
    kinds = _kinds(matched, similar)
    touches = matched.by(replace(VOC, iou_thresholds=(TOUCHING,))).outcomes == TRUE_POSITIVE
    ground_truth = np.array([len(positives(matched, label)) for label in range(count)], np.int64)
    aps, without = np.full(count, np.nan), np.full((4, count), np.nan)
    recall, weak_recall = np.full(count, np.nan), np.full(count, np.nan)
    for label in np.flatnonzero(ground_truth).tolist():
        rows = matched.of_class(label)
        of_class = kinds[rows][kinds[rows] != UNCOUNTED]
        aps[label] = _average_precision(of_class == CORRECT, ground_truth[label])
        for place, kind in enumerate((LOCALISATION, SIMILAR, OTHER, BACKGROUND)):
            left = of_class[of_class != kind]
            without[place, label] = _average_precision(left == CORRECT, ground_truth[label])
        recall[label] = np.count_nonzero(of_class == CORRECT) / ground_truth[label]
        weak_recall[label] = np.count_nonzero(touches[rows]) / ground_truth[label]
    return ErrorTypes(matched.class_names, kinds, touches, ground_truth, aps, without, recall, weak_recall)


def positives(matched: MatchedDetections, label: int) -> Int64[np.ndarray, " P"]:
    """Rows of a class's ground-truth boxes that count; none of a class that the detector does not know."""
    of_class = (matched.ground_truth.labels == label) & matched.known_classes[label]
    return np.flatnonzero(of_class & ~matched.ignored)


def _kinds(matched: MatchedDetections, similar: Bool[np.ndarray, "L L"]) -> Int8[np.ndarray, " n"]:
    kinds = np.full(len(matched.detections), BACKGROUND, np.int8)
    rules = replace(VOC, any_class=True)
    pairs = overlapping_pairs(matched.detections, matched.ground_truth, rules, least=np.array(TOUCHING, np.float32))
    detected, there = matched.detections.labels[pairs.detections], matched.ground_truth.labels[pairs.ground_truth]
    kinds[pairs.detections] = OTHER
    kinds[pairs.detections[similar[detected, there]]] = SIMILAR
    kinds[pairs.detections[detected == there]] = LOCALISATION
    kinds[matched.outcomes == TRUE_POSITIVE] = CORRECT
    kinds[matched.outcomes == IGNORED] = UNCOUNTED
    return kinds


def _average_precision(correct: Bool[np.ndarray, " n"], count: int) -> float:
    return average_precision(recall_and_precision(correct, positives=count), "MaxIntegral")


def _mean(values: Float[np.ndarray, " L"]) -> float:
    present = values[np.isfinite(values)]
    return float(present.mean()) if len(present) else 0.0


@dataclass(frozen=True, eq=False)
class ErrorTrend:
    """How the kinds change with how many detections are taken, of some classes together (both halves of figure 3).

    Attributes:
        name: of the classes, for people.
        multiples: how many detections of a class are taken, as multiples of its objects.
        counts: detections of each of `KINDS` among these, (D, 5).
        recall: share of the objects found by these, at IoU 0.5.
        weak_recall: likewise at 0.1.
        numbers: how many of the highest-scoring errors are taken.
        errors: of each error type among them, (N, 4).
    """

    name: str
    multiples: tuple[float, ...]
    counts: Int64[np.ndarray, "D 5"]
    recall: Float[np.ndarray, " D"]
    weak_recall: Float[np.ndarray, " D"]
    numbers: tuple[int, ...]
    errors: Int64[np.ndarray, "N 4"]


def error_trends(
    matched: MatchedDetections, types: ErrorTypes, groups: Sequence[Sequence[str]]
) -> tuple[ErrorTrend, ...]:
    """All classes together, then each group, or the classes with most objects where no groups are known.

    Classes stand in the set's order, as everywhere in a diagnosis.
    """
    names = matched.class_names
    present = np.flatnonzero(types.ground_truth)
    rows: list[tuple[str, list[int]]] = [(f"{len(present)} classes" if len(present) > 1 else "", present.tolist())]
    for group in groups:
        labels = [label for label in map(names.index, group) if types.ground_truth[label]]
        if len(labels) > 1:
            rows.append((", ".join(names[label] for label in labels), labels))
    if len(rows) == 1:
        most = np.sort(present[np.argsort(-types.ground_truth[present], kind="stable")][:CLASSES_SHOWN])
        rows = [*(rows if len(present) > 1 else []), *((names[label], [int(label)]) for label in most)]
    return tuple(_trend(matched, types, name, labels) for name, labels in rows)


def _trend(matched: MatchedDetections, types: ErrorTypes, name: str, labels: list[int]) -> ErrorTrend:
    counts = np.zeros((len(MULTIPLES), len(KINDS)), np.int64)
    recall, weak_recall = np.zeros(len(MULTIPLES)), np.zeros(len(MULTIPLES))
    for label in labels:
        rows = matched.of_class(label)
        rows = rows[types.kinds[rows] != UNCOUNTED]
        for place, multiple in enumerate(MULTIPLES):
            best = rows[: max(1, round(multiple * int(types.ground_truth[label])))]
            counts[place] += np.bincount(types.kinds[best], minlength=len(KINDS))
            recall[place] += np.count_nonzero(types.kinds[best] == CORRECT)
            weak_recall[place] += np.count_nonzero(types.touches[best])
    total = max(1, int(types.ground_truth[labels].sum()))
    wrong = np.flatnonzero(np.isin(matched.detections.labels, labels) & (types.kinds > CORRECT))
    surest = types.kinds[matched.detections.ranked(wrong)]
    numbers = tuple(number for number in NUMBERS if number <= len(surest))
    of_number = [np.bincount(surest[:number], minlength=len(KINDS))[1:] for number in numbers]
    return ErrorTrend(
        name, MULTIPLES, counts, recall / total, weak_recall / total, numbers, np.array(of_number).reshape(-1, 4)
    )
