"""The matching core: each rule by hand, and every protocol against the loops of its own tool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.evaluate import matching
from singleshot.evaluate.box_table import BoxTable
from singleshot.evaluate.diagnosis.confusion import CONFUSION
from singleshot.evaluate.matching import (
    COCO,
    FALSE_POSITIVE,
    IGNORED,
    ILSVRC,
    TRUE_POSITIVE,
    VOC,
    MatchingRules,
    match,
    overlapping_pairs,
    ranks_in_image,
)

TP, FP = TRUE_POSITIVE, FALSE_POSITIVE
LEFT, RIGHT = (0, 0, 10, 10), (3, 0, 13, 10)


def table(boxes, *, images=None, labels=None, scores=None) -> BoxTable:
    """Boxes of one image and class unless said otherwise; detections best first."""
    count = len(boxes)
    return BoxTable(
        np.array(images or [0] * count, np.int64),
        np.array(labels or [0] * count, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(np.linspace(0.9, 0.1, count) if scores is None else scores, np.float32),
    )


def outcomes(detections, ground_truth, rules: MatchingRules, ignored=None, **options):
    ignored = np.zeros(len(ground_truth), bool) if ignored is None else np.array(ignored)
    matches = match(table(detections), table(ground_truth), ignored, rules, **options)
    return matches.outcomes[0].tolist(), matches.ground_truth[0].tolist()


def test_second_best_is_a_rule():
    both = [LEFT, LEFT]
    assert outcomes(both, [LEFT, RIGHT], VOC) == ([TP, FP], [0, 0])
    assert outcomes(both, [LEFT, RIGHT], replace(VOC, second_best=True)) == ([TP, TP], [0, 1])


def test_which_of_equal_ious_is_a_rule():
    assert outcomes([LEFT], [LEFT, LEFT], VOC) == ([TP], [0])
    assert outcomes([LEFT], [LEFT, LEFT], replace(VOC, last_of_ties=True)) == ([TP], [1])
    between = (2, 0, 12, 10)  # as near to one as to the other; the first one is left for the next detection
    assert outcomes([between, LEFT], [LEFT, (4, 0, 14, 10)], COCO) == ([TP, TP], [1, 0])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("compete", ([IGNORED, IGNORED], [0, 0])), ("absent", ([TP, FP], [1, -1])), ("last", ([TP, IGNORED], [1, 0]))],
)
def test_what_ignored_boxes_do_is_a_rule(how, expected):
    rules = MatchingRules(ignored=how, second_best=True)
    assert outcomes([LEFT, LEFT], [LEFT, RIGHT], rules, [True, False]) == expected


def test_ignored_boxes_that_are_no_crowd_match_once():
    rules = MatchingRules(ignored="last", second_best=True)
    assert outcomes([LEFT, LEFT], [LEFT], rules, [True]) == ([IGNORED, IGNORED], [0, 0])
    crowd = np.array([False])
    assert outcomes([LEFT, LEFT], [LEFT], rules, [True], crowd=crowd) == ([IGNORED, FP], [0, -1])


def test_of_a_crowd_the_share_of_the_detection_counts():
    small, wide = (0, 0, 5, 5), (0, 0, 100, 100)
    assert outcomes([small], [wide], COCO, [True])[0] == [IGNORED]
    assert outcomes([small], [wide], replace(COCO, crowd_share=False), [True])[0] == [FP]


def test_detections_beyond_the_limit_do_not_count():
    rules = MatchingRules(max_detections=1)
    assert outcomes([RIGHT, LEFT], [LEFT], rules)[0] == [TP, IGNORED]  # IoU 70 / 130
    assert outcomes([(50, 50, 60, 60), LEFT], [LEFT], rules)[0] == [FP, IGNORED]


def test_small_boxes_have_a_tolerance():
    assert outcomes([(0, 0, 19, 19)], [(0, 0, 9, 9)], ILSVRC)[0] == [TP]  # IoU 100 / 400, as 100 / (20 * 20)
    assert outcomes([(0, 0, 19, 20)], [(0, 0, 9, 9)], ILSVRC)[0] == [FP]
    assert outcomes([(0, 0, 19, 19)], [(0, 0, 9, 9)], replace(ILSVRC, tolerance=0))[0] == [FP]


def test_a_box_of_the_own_class_goes_before_a_better_one_of_another():
    detections, ground_truth = table([LEFT], labels=[1]), table([LEFT, RIGHT], labels=[0, 1])
    for rules, expected in ((CONFUSION, 1), (replace(CONFUSION, any_class=False), 1)):
        assert match(detections, ground_truth, np.zeros(2, bool), rules).ground_truth[0, 0] == expected
    other = table([LEFT, RIGHT], labels=[0, 2])
    assert match(detections, other, np.zeros(2, bool), CONFUSION).ground_truth[0, 0] == 0


def test_images_and_classes_are_apart():
    detections = table([LEFT] * 3, images=[0, 1, 1], labels=[0, 0, 1])
    ground_truth = table([LEFT, LEFT], images=[0, 1], labels=[1, 1])
    assert match(detections, ground_truth, np.zeros(2, bool), VOC).outcomes[0].tolist() == [FP, FP, TP]


def test_ranks_are_of_the_image_and_class_and_ties_keep_their_order():
    rows = table([LEFT] * 5, images=[0, 0, 0, 1, 0], labels=[0, 0, 1, 0, 0], scores=[0.5, 0.7, 0.1, 0.2, 0.5])
    assert ranks_in_image(rows).tolist() == [1, 0, 0, 0, 2]
    assert ranks_in_image(rows, any_class=True).tolist() == [1, 0, 3, 0, 2]


def test_several_sets_of_ignored_boxes_at_once_are_as_one_by_one():
    detections, ground_truth, ignored = random_tables(7)
    several = np.stack([ignored, ~ignored, ignored | (ground_truth.labels == 0)])
    crowd = np.arange(len(ignored)) % 3 == 0
    together = match(detections, ground_truth, several, COCO, crowd=crowd)
    for place, lanes in enumerate(several):
        alone = match(detections, ground_truth, lanes, COCO, crowd=crowd)
        rows = slice(10 * place, 10 * place + 10)
        np.testing.assert_array_equal(together.outcomes[rows], alone.outcomes)
        np.testing.assert_array_equal(together.ground_truth[rows], alone.ground_truth)


def test_pairs_are_looked_at_in_pieces(monkeypatch):
    detections, ground_truth, ignored = random_tables(3)
    whole = overlapping_pairs(detections, ground_truth, VOC, least=np.array(0.3, np.float32))
    expected = match(detections, ground_truth, ignored, VOC)
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 5)
    pieces = overlapping_pairs(detections, ground_truth, VOC, least=np.array(0.3, np.float32))
    for column, same in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(column, same)
    np.testing.assert_array_equal(match(detections, ground_truth, ignored, VOC).outcomes, expected.outcomes)


def test_nothing_at_all():
    none, single = table([]), table([LEFT])
    assert match(none, none, np.zeros(0, bool), COCO).outcomes.shape == (10, 0)
    assert match(single, none, np.zeros(0, bool), VOC).outcomes.tolist() == [[FP]]
    assert match(none, single, np.zeros(1, bool), ILSVRC).outcomes.shape == (1, 0)


def random_tables(seed: int) -> tuple[BoxTable, BoxTable, np.ndarray]:
    """Whole pixels and few scores, so that IoUs and scores are often equal, and often at a threshold."""
    random = np.random.default_rng(seed)

    def boxes(count: int) -> BoxTable:
        corner, side = random.integers(0, 12, (count, 2)), random.integers(0, 14, (count, 2))
        images, labels = np.sort(random.integers(0, 3, count)), random.integers(0, 2, count)
        scores = random.integers(1, 5, count) / 8
        return table(np.hstack([corner, corner + side]), images=images.tolist(), labels=labels.tolist(), scores=scores)

    ground_truth = boxes(int(random.integers(0, 25)))
    return boxes(int(random.integers(0, 40))), ground_truth, random.random(len(ground_truth)) < 0.3


def slow_iou(a, b, *, plus_one=0, share=False) -> float:
    a, b = [[float(value) for value in box] for box in (a, b)]
    across, down = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + plus_one for i in (0, 1))
    if across <= 0 or down <= 0:
        return 0.0
    area_a, area_b = ((box[2] - box[0] + plus_one) * (box[3] - box[1] + plus_one) for box in (a, b))
    return across * down / (area_a if share else area_a + area_b - across * down)


def slow_voc(boxes, targets, ignored, _threshold):
    """detection_evaluate_layer.cpp."""
    taken: set[int] = set()
    for box in boxes:
        ious = [slow_iou(box, target) for target in targets]
        best = max(range(len(ious)), key=ious.__getitem__, default=None)
        if best is None or np.float32(ious[best]) < np.float32(0.5):
            yield FP
        elif ignored[best]:
            yield IGNORED
        else:
            yield FP if best in taken else TP
            taken.add(best)


def slow_ilsvrc(boxes, targets, ignored, _threshold):
    """The development kit's eval_detection."""
    taken: set[int] = set()
    for box in boxes:
        best, choice = -1.0, None
        for i, target in enumerate(targets):
            width, height = target[2] - target[0] + 1, target[3] - target[1] + 1
            overlap = np.float32(slow_iou(box, target, plus_one=1))
            least = min(0.5, float(width) * float(height) / ((float(width) + 10) * (float(height) + 10)))
            if not ignored[i] and i not in taken and overlap >= least and overlap > best:
                best, choice = overlap, i
        taken |= {choice} - {None}
        yield FP if choice is None else TP


def slow_coco(boxes, targets, ignored, threshold):
    """cocoeval.py, evaluateImg: ignored boxes last; here all that are ignored are crowd."""
    order = sorted(range(len(targets)), key=lambda i: ignored[i])
    taken: set[int] = set()
    for box in boxes[:100]:
        least, choice = threshold, None
        for i in order:
            if i in taken and not ignored[i]:
                continue
            if choice is not None and not ignored[choice] and ignored[i]:
                break
            overlap = slow_iou(box, targets[i], share=ignored[i])
            if overlap >= least:
                least, choice = overlap, i
        taken |= {choice} - {None}
        yield FP if choice is None else IGNORED if ignored[choice] else TP


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    protocol=st.sampled_from([(VOC, slow_voc), (ILSVRC, slow_ilsvrc), (COCO, slow_coco)]),
)
def test_every_protocol_equals_the_loops_of_its_tool(seed, protocol):
    rules, loops = protocol
    detections, ground_truth, ignored = random_tables(seed)
    detected = match(detections, ground_truth, ignored, rules).outcomes
    for image in range(3):
        for label in range(2):
            own, objects = (
                np.flatnonzero((rows.images == image) & (rows.labels == label)) for rows in (detections, ground_truth)
            )
            own = detections.ranked(own)
            for row, threshold in zip(detected, rules.iou_thresholds, strict=True):
                boxes, targets = detections.boxes_xyxy[own], ground_truth.boxes_xyxy[objects]
                assert row[own].tolist() == list(loops(boxes, targets, ignored[objects], threshold))


def slow_confusion(detections, ground_truth, ignored):
    """Image by image: the free box of largest IoU, of the own class where one reaches 0.5, else of any."""
    chosen = {}
    for image in range(3):
        objects = np.flatnonzero(ground_truth.images == image).tolist()
        for row in detections.ranked(np.flatnonzero(detections.images == image)).tolist():
            ious = {i: slow_iou(detections.boxes_xyxy[row], ground_truth.boxes_xyxy[i]) for i in objects}
            reach = [i for i in objects if ious[i] >= 0.5 and (ignored[i] or i not in chosen.values())]
            own = [i for i in reach if ground_truth.labels[i] == detections.labels[row]]
            if reach:
                chosen[row] = max(own or reach, key=ious.__getitem__)
    return [chosen.get(row, -1) for row in range(len(detections))]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_confusions_equal_the_loop(seed):
    detections, ground_truth, ignored = random_tables(seed)
    matches = match(detections, ground_truth, ignored, CONFUSION)
    assert matches.ground_truth[0].tolist() == slow_confusion(detections, ground_truth, ignored)
