from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation_examples import annotations, detections, random_set
from singleshot.errors import DataError, UnknownNameError
from singleshot.evaluate.average_precision import average_precision, recall_and_precision
from singleshot.evaluate.protocols import evaluate, evaluate_voc

SEEDS = st.integers(0, 10_000)
CAT, DOG = 0, 1


def curve(hits, positives):
    return recall_and_precision(np.array(hits, bool), positives=positives)


# ---------------------------------------------------------------- average precision


def test_hand_worked_curve():
    # Hit, miss, hit of 4: recall .25 .25 .5, precision 1 1/2 2/3.
    example = curve([1, 0, 1], 4)
    assert average_precision(example, "11point") == pytest.approx((3 * 1 + 3 * 2 / 3) / 11)  # r = 0 .1 .2 and .3 .4 .5
    assert average_precision(example, "MaxIntegral") == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)
    assert average_precision(example, "Integral") == pytest.approx(0.25 * 1 + 0.25 * 2 / 3)


def test_the_envelope_lifts_a_dip_and_the_plain_sum_does_not():
    example = curve([0, 1, 1], 2)  # precision 0 1/2 2/3
    assert average_precision(example, "MaxIntegral") == pytest.approx(2 / 3)
    assert average_precision(example, "Integral") == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)


@pytest.mark.parametrize(("detected", "points"), [(7, 7), (9, 9), (3, 4), (6, 7), (8, 9), (10, 11)])
def test_float32_recall_of_seven_or_nine_tenths_misses_its_point(detected, points):
    assert average_precision(curve([1] * detected, 10), "11point") == pytest.approx(points / 11, abs=1e-12)


@pytest.mark.parametrize("version", ["11point", "MaxIntegral", "Integral"])
def test_no_detections_give_zero(version):
    assert average_precision(curve([], 3), version) == 0


@settings(deadline=None)
@given(hits=st.lists(st.booleans(), max_size=30), missed=st.integers(0, 5))
def test_average_precision_equals_the_textbook_loop(hits, missed):
    positives = max(sum(hits) + missed, 1)
    recall, precision = curve(hits, positives)
    best = [
        max((p for r, p in zip(recall, precision, strict=True) if float(r) >= j / 10), default=0) for j in range(11)
    ]
    assert average_precision((recall, precision), "11point") == pytest.approx(sum(best) / 11, abs=1e-6)
    # Each hit contributes the best precision from there on.
    steps = [max(precision[i:]) / positives for i, hit in enumerate(hits) if hit]
    assert average_precision((recall, precision), "MaxIntegral") == pytest.approx(sum(steps), abs=1e-6)


# ---------------------------------------------------------------- who hits what


def test_hand_worked_set():
    ground_truth = annotations([[(0, 0, 10, 10, CAT), (50, 50, 70, 70, CAT)], [(0, 0, 20, 20, DOG)]])
    detected = [
        detections([(0, 0, 10, 10, CAT, 0.9), (0, 0, 10, 11, CAT, 0.8), (50, 50, 70, 65, CAT, 0.7)]),
        detections([(0, 0, 20, 9, DOG, 0.6)]),
    ]
    result = evaluate_voc(ground_truth, detected, protocol="voc12")
    assert result.per_class["cat"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)  # the second hit on one cat is a miss
    assert result.per_class["dog"] == 0  # IoU 0.45
    assert result.mean_ap == pytest.approx((5 / 6) / 2)
    assert (
        result.counts["cat"].ground_truth,
        result.counts["cat"].detections,
        result.counts["cat"].true_positives,
    ) == (2, 3, 2)
    np.testing.assert_allclose(result.curves["cat"].scores, [0.9, 0.8, 0.7])


def test_overlap_at_the_threshold_is_a_hit():
    ground_truth = annotations([[(0, 0, 10, 10, CAT)]])
    assert evaluate_voc(ground_truth, [detections([(0, 0, 10, 5, CAT, 1.0)])]).mean_ap == 1


def test_a_second_hit_is_not_passed_on_to_the_second_best_ground_truth():
    # Both detections overlap the left object most; the second also overlaps the free right object by more than 0.5.
    ground_truth = annotations([[(0, 0, 10, 10, CAT), (3, 0, 13, 10, CAT)]])
    detected = [detections([(0, 0, 10, 10, CAT, 0.9), (1, 0, 11, 10, CAT, 0.8)])]
    assert evaluate_voc(ground_truth, detected).counts["cat"].true_positives == 1


@pytest.mark.parametrize(("difficult", "hits"), [([True, False], 0), ([False, True], 1)])
def test_equal_overlaps_go_to_the_first_ground_truth(difficult, hits):
    ground_truth = annotations([[(0, 0, 10, 10, CAT), (0, 0, 10, 10, CAT)]], difficult=difficult)
    detected = [detections([(0, 0, 10, 10, CAT, 0.9), (0, 0, 10, 10, CAT, 0.8)])]
    assert evaluate_voc(ground_truth, detected).counts["cat"].true_positives == hits


def test_the_other_class_does_not_matter():
    ground_truth = annotations([[(0, 0, 10, 10, CAT)]])
    result = evaluate_voc(ground_truth, [detections([(0, 0, 10, 10, DOG, 0.9), (0, 0, 10, 10, CAT, 0.1)])])
    assert result.per_class == {"cat": 1, "dog": None}
    assert result.mean_ap == 1


def test_difficult_and_crowd_ground_truth_are_neither_found_nor_missed():
    images = [[(0, 0, 10, 10, CAT), (20, 20, 40, 40, CAT), (60, 60, 90, 90, CAT)]]
    detected = [detections([(20, 20, 40, 40, CAT, 0.9), (60, 60, 90, 90, CAT, 0.8), (0, 0, 10, 10, CAT, 0.7)])]
    ignoring = annotations(images, difficult=[False, True, False], crowd=[False, False, True])
    result = evaluate_voc(ignoring, detected, protocol="voc12")
    assert result.per_class["cat"] == 1
    assert (result.counts["cat"].ground_truth, result.counts["cat"].ignored) == (1, 2)


def test_a_class_with_only_difficult_ground_truth_is_absent():
    ground_truth = annotations([[(0, 0, 10, 10, CAT)]], difficult=[True])
    result = evaluate_voc(ground_truth, [detections([(0, 0, 10, 10, CAT, 0.9)])])
    assert result.per_class == {"cat": None, "dog": None}
    assert result.mean_ap is None


def test_boxes_without_area_are_no_ground_truth():
    nan = float("nan")
    ground_truth = annotations([[(0, 0, 10, 10, CAT), (5, 5, 5, 9, CAT), (nan, 0, 10, 10, CAT), (9, 9, 3, 3, CAT)]])
    result = evaluate_voc(ground_truth, [detections([(0, 0, 10, 10, CAT, 0.9)])])
    assert result.mean_ap == 1
    assert result.counts["cat"].ignored == 3


def test_plus_one_counts_both_edges():
    ground_truth = annotations([[(0, 0, 9, 9, CAT)]])
    detected = [detections([(0, 0, 9, 4, CAT, 0.9)])]  # 10 x 5 of 10 x 10 pixels with both edges, else 9 x 4 of 9 x 9
    assert evaluate_voc(ground_truth, detected, plus_one=True).mean_ap == 1
    assert evaluate_voc(ground_truth, detected).mean_ap == 0


# ---------------------------------------------------------------- laws


def slow_outcomes(ground_truth, detected, label, threshold):
    """detection_evaluate_layer.cpp as loops: (score, hit) of each detection of a class that counts, best first."""
    outcomes = []
    for image, result in enumerate(detected):
        objects = ground_truth.ground_truth(image)
        wanted = [i for i in range(len(objects)) if objects.labels[i] == label]
        taken = set()
        for row in sorted(range(len(result)), key=lambda i: -result.scores[i]):
            if result.labels[row] != label:
                continue
            best, best_overlap = None, -1.0
            for i in wanted:
                a, b = objects.boxes_xyxy[i].astype(float), result.boxes[row].astype(float)
                width = min(a[2], b[2]) - max(a[0], b[0])
                height = min(a[3], b[3]) - max(a[1], b[1])
                common = max(width, 0) * max(height, 0)
                overlap = common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
                if overlap > best_overlap:
                    best, best_overlap = i, overlap
            if best is None or best_overlap < threshold:
                outcomes.append((result.scores[row], False))
            elif not objects.difficult[best]:
                outcomes.append((result.scores[row], best not in taken))
                taken.add(best)
    return sorted(outcomes, key=lambda outcome: -outcome[0])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, threshold=st.sampled_from([0.3, 0.5, 0.75]))
def test_equals_the_slow_loop(seed, threshold):
    ground_truth, detected = random_set(seed)
    result = evaluate_voc(ground_truth, detected, iou_threshold=threshold)
    for label, name in enumerate(ground_truth.class_names):
        positives = int(((ground_truth.labels == label) & ~ground_truth.difficult).sum())
        if positives == 0:
            assert result.per_class[name] is None
            continue
        expected = curve([hit for _, hit in slow_outcomes(ground_truth, detected, label, threshold)], positives)
        np.testing.assert_array_equal(result.curves[name].recall, expected[0])
        np.testing.assert_array_equal(result.curves[name].precision, expected[1])
        assert result.per_class[name] == average_precision(expected, "11point")


@pytest.mark.parametrize("protocol", ["voc07", "voc12"])
@pytest.mark.parametrize("seed", range(5))
def test_perfect_detections_give_one(protocol, seed):
    ground_truth, _ = random_set(seed)
    ground_truth = replace(ground_truth, difficult=np.zeros(len(ground_truth.labels), bool))
    detected = [
        detections([(*box, int(label), 0.5) for box, label in zip(t.boxes_xyxy, t.labels, strict=True)],
                   class_names=ground_truth.class_names)
        for t in map(ground_truth.ground_truth, range(len(ground_truth)))
    ]  # fmt: skip
    assert evaluate(ground_truth, detected, protocol).mean_ap == pytest.approx(1, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, protocol=st.sampled_from(["voc07", "voc12"]))
def test_a_last_false_positive_changes_nothing(seed, protocol):
    ground_truth, detected = random_set(seed)
    more = detections([(0, 0, 1, 1, 0, 0.0)], class_names=ground_truth.class_names)
    appended = replace(
        detected[0],
        **{k: np.concatenate([getattr(detected[0], k), getattr(more, k)]) for k in ("boxes", "scores", "labels")},
    )
    assert (
        evaluate(ground_truth, [appended, *detected[1:]], protocol).per_class
        == evaluate(ground_truth, detected, protocol).per_class
    )


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_order_of_images_and_of_detections_does_not_matter(seed):
    ground_truth, detected = random_set(seed)
    random = np.random.default_rng(seed)
    # Scores without ties: with ties the order is part of the rules.
    for result in detected:
        result.scores[:] = random.random(len(result))
    order = random.permutation(len(ground_truth)).tolist()
    shuffled = []
    for i in order:
        rows = random.permutation(len(detected[i]))
        shuffled.append(replace(detected[i], boxes=detected[i].boxes[rows], scores=detected[i].scores[rows],
                                labels=detected[i].labels[rows]))  # fmt: skip
    assert (
        evaluate(ground_truth.subset(order), shuffled, "voc07").per_class
        == evaluate(ground_truth, detected, "voc07").per_class
    )


def test_only_the_order_of_scores_matters():
    ground_truth, detected = random_set(3)
    squared = [replace(result, scores=result.scores**2) for result in detected]
    assert evaluate(ground_truth, squared, "voc12").per_class == evaluate(ground_truth, detected, "voc12").per_class


# ---------------------------------------------------------------- names, edges and errors


def test_classes_are_matched_by_name_and_unknown_ones_counted():
    ground_truth = annotations([[(0, 0, 10, 10, DOG)]])
    detected = [detections([(0, 0, 10, 10, 0, 0.9), (0, 0, 9, 9, 1, 0.8)], class_names=("dog", "tram"))]
    result = evaluate(ground_truth, detected)
    assert result.per_class == {"cat": None, "dog": 1}
    assert result.unknown_classes == {"tram": 1}


def test_no_class_in_common_is_refused():
    ground_truth = annotations([[(0, 0, 10, 10, DOG)]])
    with pytest.raises(DataError, match="tram"):
        evaluate(ground_truth, [detections([], class_names=("tram",))])


def test_another_number_of_images_is_refused():
    with pytest.raises(DataError, match=r"1 images.* 2"):
        evaluate(annotations([[], []]), [detections([])])


@pytest.mark.parametrize("row", [(0, 0, float("nan"), 1, CAT, 0.5), (0, 0, 1, 1, CAT, float("nan"))])
def test_not_finite_detections_are_refused(row):
    with pytest.raises(DataError, match=r"000\.jpg"):
        evaluate(annotations([[(0, 0, 1, 1, CAT)]]), [detections([row])])


def test_no_images_and_no_detections():
    assert evaluate(annotations([]), []).mean_ap is None
    assert evaluate(annotations([[(0, 0, 9, 9, CAT)]]), [detections([])]).per_class == {"cat": 0, "dog": None}


def test_unknown_protocol_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="voc7"):
        evaluate(annotations([[]]), [detections([])], "voc7")


def test_json_is_plain_and_null_for_absent_classes():
    result = evaluate(annotations([[(0, 0, 9, 9, CAT)]]), [detections([(0, 0, 9, 9, CAT, 0.5)])])
    document = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert document["protocol"] == "voc07"
    assert document["mAP"] == 1
    assert document["per_class"] == {"cat": 1, "dog": None}
    assert document["ground_truth"] == document["truths"] == {"cat": 1, "dog": 0}  # the new name and the old


def test_json_names_unknown_classes_by_the_new_key_and_the_old():
    result = evaluate(
        annotations([[(0, 0, 9, 9, CAT)]]), [detections([(0, 0, 9, 9, 1, 0.5)], class_names=("cat", "tram"))]
    )
    document = result.to_json()
    assert document["unknown_class_detections"] == document["foreign_detections"] == {"tram": 1}
