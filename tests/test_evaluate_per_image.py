from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation_examples import annotations, detections, random_set
from singleshot.evaluate.box_table import BoxTable
from singleshot.evaluate.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, MatchedDetections
from singleshot.evaluate.per_image import best_score, per_image_results
from singleshot.evaluate.protocols import evaluate

CAT, DOG = 0, 1


def results_of(ground_truth, detected):
    return per_image_results(MatchedDetections.of(ground_truth, detected), detected)


def table(scores):
    return BoxTable(np.zeros(len(scores), int), np.zeros(len(scores), int), np.zeros((len(scores), 4)), scores)


def test_hand_worked_images():
    ground_truth = annotations([[(0, 0, 10, 10, CAT)], [(0, 0, 20, 20, DOG), (50, 50, 70, 70, CAT)], [], []])
    detected = [
        detections([(0, 0, 10, 10, CAT, 0.9), (50, 50, 60, 60, CAT, 0.1)]),
        detections([(0, 0, 20, 20, DOG, 0.8), (100, 100, 120, 120, DOG, 0.7), (50, 50, 70, 70, CAT, 0.6)]),
        detections([(0, 0, 10, 10, CAT, 0.65)]),
        detections([(0, 0, 10, 10, CAT, 0.05)]),
    ]
    images = results_of(ground_truth, detected)
    # F1 after 0.9 0.8 0.7 0.65 0.6 of 3 ground-truth boxes: 2/4, 4/5, 4/6, 4/7, 6/8.
    assert images.score_threshold == pytest.approx(0.8)
    assert images.f1 == pytest.approx(4 / 5)
    first, second, third, fourth = images.results
    assert first.f1 == 1
    assert first.outcomes.tolist() == [TRUE_POSITIVE, IGNORED]
    assert second.f1 == pytest.approx(2 / 3)
    assert second.matched.tolist() == [True, False]
    assert (second.errors, third.errors) == (1, 0)
    assert math.isnan(third.f1)
    assert math.isnan(fourth.f1)
    assert images.ordered() == [0, 1]


def test_ignored_ground_truth_and_unknown_classes_do_not_count():
    ground_truth = annotations([[(0, 0, 10, 10, CAT), (20, 20, 40, 40, CAT)]], difficult=[False, True])
    detected = [detections([(20, 20, 40, 40, 0, 0.9), (0, 0, 10, 10, 1, 0.8), (0, 0, 10, 10, 0, 0.7)],
                        class_names=("cat", "tram"))]  # fmt: skip
    only = results_of(ground_truth, detected).results[0]
    assert only.outcomes.tolist() == [IGNORED, IGNORED, TRUE_POSITIVE]
    assert only.f1 == 1
    assert only.ignored.tolist() == [False, True]


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.75]), st.sampled_from([TRUE_POSITIVE, FALSE_POSITIVE, IGNORED]))
    ),
    missed=st.integers(0, 4),
)
def test_the_score_is_the_best_of_all(rows, missed):
    scores = np.array([score for score, _ in rows], np.float32)
    outcomes = np.array([outcome for _, outcome in rows], np.int8)
    positives = int((outcomes == TRUE_POSITIVE).sum()) + missed

    def f1(threshold):
        above = outcomes[scores >= threshold]
        return 2 * (above == TRUE_POSITIVE).sum() / max(positives + (above != IGNORED).sum(), 1)

    threshold, best = best_score(table(scores), outcomes, positives=positives)
    if (outcomes != IGNORED).any():
        assert best == pytest.approx(max(f1(score) for score in scores[outcomes != IGNORED]))
        assert f1(threshold) == pytest.approx(best)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_images_add_up_to_the_set(seed):
    ground_truth, detected = random_set(seed)
    images = results_of(ground_truth, detected)
    hits = sum(int((r.outcomes == TRUE_POSITIVE).sum()) for r in images.results)
    counted = sum(int((r.outcomes != IGNORED).sum()) for r in images.results)
    positives = int((~ground_truth.difficult).sum())
    assert hits == sum(int(r.matched.sum()) for r in images.results)
    assert counted == sum(int((r.outcomes == FALSE_POSITIVE).sum()) for r in images.results) + hits
    if positives + counted:
        assert images.f1 == pytest.approx(2 * hits / (positives + counted))


def test_equal_scores_are_not_parted():
    scores = np.array([0.5, 0.5], np.float32)
    assert best_score(table(scores), np.array([TRUE_POSITIVE, FALSE_POSITIVE], np.int8), positives=1) == pytest.approx(
        (0.5, 2 / 3)
    )


def test_nothing_at_all():
    empty = results_of(annotations([[]]), [detections([])])
    assert math.isnan(empty.f1)
    assert empty.ordered() == []
    assert results_of(annotations([[(0, 0, 9, 9, CAT)]]), [detections([])]).results[0].f1 == 0


def test_every_protocol_has_results_per_image():
    ground_truth, detected = random_set(4)
    assert (
        evaluate(ground_truth, detected, "coco").per_image.ordered()
        == evaluate(ground_truth, detected, "voc12").per_image.ordered()
    )
