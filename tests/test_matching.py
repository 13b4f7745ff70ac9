"""Matching: worked examples, laws, and the one-pair-at-a-time loop that it must equal; then the targets of the loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.boxes import iou, pairwise_iou
from singleshot.ssd.coder import decode
from singleshot.ssd.matching import assign, match

# Corners on a coarse grid: equal boxes, symmetric boxes, ties, touching and degenerate boxes come up all the time.
corner = st.integers(0, 6).map(lambda value: value / 6)
box = st.tuples(corner, corner, corner, corner)
proper_box = box.map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 0.1, max(b[1], b[3]) + 0.1))


def tensor(rows: list) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def matched(default_boxes: torch.Tensor, ground_truth: torch.Tensor, **options) -> tuple[list[int], list[float]]:
    matches = match(default_boxes, ground_truth[None], torch.ones(1, len(ground_truth), dtype=torch.bool), **options)
    return matches.ground_truth[0].tolist(), matches.ious[0].tolist()


def slow_match(
    default_boxes: torch.Tensor, ground_truth: torch.Tensor, *, threshold: float, bipartite_only: bool = False
) -> tuple[list[int], list[float]]:
    """The rule as the golden data's README states it, a pair at a time."""
    count = len(default_boxes)
    ious = pairwise_iou(default_boxes, ground_truth).numpy()
    ious = np.where(ious > 1e-6, ious, np.float32(0))
    chosen = [-1] * count
    best_iou = [max(row, default=0.0) for row in ious.tolist()]
    boxes, objects = set(range(count)), set(range(len(ground_truth)))
    while True:
        best, pair = 0.0, None
        for b in sorted(boxes):
            for t in sorted(objects):
                if ious[b, t] > best:
                    best, pair = ious[b, t], (b, t)
        if pair is None:
            break
        chosen[pair[0]], best_iou[pair[0]] = pair[1], float(best)
        boxes.remove(pair[0])
        objects.remove(pair[1])
    for b in sorted(boxes) if not bipartite_only and len(ground_truth) else []:
        nearest = int(np.argmax(ious[b]))
        if ious[b, nearest] > 0 and ious[b, nearest] >= np.float32(threshold):
            chosen[b] = nearest
    return chosen, best_iou


@settings(max_examples=300, deadline=None)
@given(
    st.lists(proper_box, min_size=1, max_size=12),
    st.lists(box, max_size=8),
    st.sampled_from([0.0, 0.25, 0.35, 0.5, 1.0]),
    st.booleans(),
)
def test_equals_the_greedy_loop(
    default_boxes: list, ground_truth: list, threshold: float, bipartite_only: bool
) -> None:
    corners, objects = tensor(default_boxes), tensor(ground_truth)
    assert matched(corners, objects, iou_threshold=threshold, bipartite_only=bipartite_only) == slow_match(
        corners, objects, threshold=threshold, bipartite_only=bipartite_only
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 5))
def test_a_batch_equals_its_images_whatever_the_padding_holds(seed: int, batch: int, longest: int) -> None:
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand(30, 2, generator=random)
    corners = torch.cat([corners, corners + torch.rand(30, 2, generator=random)], dim=1)
    start = torch.rand(batch, longest, 2, generator=random)
    ground_truth = torch.cat([start, start + torch.rand(batch, longest, 2, generator=random)], dim=2)
    valid = torch.rand(batch, longest, generator=random) < 0.6
    matches = match(corners, ground_truth, valid)
    noise = torch.where(valid[..., None], ground_truth, torch.nan)
    again = match(corners, noise, valid)
    assert torch.equal(matches.ground_truth, again.ground_truth)
    assert torch.equal(matches.ious, again.ious)
    for image in range(batch):
        places = valid[image].nonzero()[:, 0].tolist()
        alone, own = matched(corners, ground_truth[image, places])
        assert matches.ground_truth[image].tolist() == [places[t] if t >= 0 else -1 for t in alone]
        assert matches.ious[image].tolist() == own


@settings(max_examples=100, deadline=None)
@given(st.lists(proper_box, min_size=1, max_size=12), st.lists(box, min_size=1, max_size=8))
def test_every_ground_truth_that_overlaps_a_free_box_gets_one(default_boxes: list, ground_truth: list) -> None:
    corners, objects = tensor(default_boxes), tensor(ground_truth)
    chosen, _ = matched(corners, objects, iou_threshold=1.1)  # the one-to-one phase alone
    taken = {b for b, t in enumerate(chosen) if t >= 0}
    for t in set(range(len(objects))) - set(chosen):
        assert {int(b) for b in (iou(corners, objects[t]) > 1e-6).nonzero()} <= taken


def test_two_ground_truth_that_want_one_box_both_get_one() -> None:
    # Object 1 fits box 0 exactly; object 0 fits box 0 better than box 1. Most ports lose ground-truth box 0 here.
    boxes = tensor([[0, 0, 0.4, 0.4], [0.3, 0, 0.7, 0.4]])
    ground_truth = tensor([[0.05, 0, 0.45, 0.4], [0, 0, 0.4, 0.4]])
    chosen, own = matched(boxes, ground_truth)
    assert chosen == [1, 0]
    assert own == pytest.approx([1, 0.15 / 0.65])  # less than the threshold


def test_the_threshold_is_reached_by_equality() -> None:
    boxes = tensor([[0, 0, 1, 1], [0, 0, 1, 0.5]])  # IoU with the ground-truth box 1 and 0.5
    target = tensor([[0, 0, 1, 1]])
    assert matched(boxes, target, iou_threshold=0.5)[0] == [0, 0]
    assert matched(boxes, target, iou_threshold=0.50001)[0] == [0, -1]


def test_ties_go_to_the_lowest_box_and_then_to_the_lowest_ground_truth() -> None:
    boxes = tensor([[0, 0, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9], [0.5, 0.5, 0.9, 0.9], [0.5, 0.5, 0.9, 0.9]])
    ground_truth = tensor([[0.5, 0.5, 0.9, 0.9], [0.5, 0.5, 0.9, 0.9]])
    assert matched(boxes, ground_truth)[0] == [-1, 0, 1, 0]


def test_what_overlaps_nothing_or_has_no_area_stays_without_box() -> None:
    boxes = tensor([[0, 0, 0.5, 0.5]])
    ground_truth = tensor([[0.6, 0.6, 0.9, 0.9], [0.1, 0.1, 0.1, 0.3], [0.3, 0.3, 0.1, 0.1], [0.5, 0, 0.9, 0.5]])
    assert matched(boxes, ground_truth) == ([-1], [0.0])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_ground_truth_that_is_not_finite_matches_nothing_and_hinders_nobody(value: float) -> None:
    boxes = tensor([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
    ground_truth = tensor([[0, value, 1, 1], [0, 0, 0.5, 0.5], [value, value, value, value]])
    assert matched(boxes, ground_truth) == ([1, -1], [1, 0])


def test_overlaps_of_a_millionth_do_not_count() -> None:
    boxes = tensor([[0, 0, 1, 1]])
    assert matched(boxes, tensor([[0, 0, 0.0009, 0.001]])) == ([-1], [0.0])
    assert matched(boxes, tensor([[0, 0, 0.0011, 0.001]]))[0] == [0]


def test_no_ground_truth_at_all() -> None:
    matches = match(torch.rand(5, 4), torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool))
    assert matches.ground_truth.tolist() == [[-1] * 5] * 2
    assert not matches.ious.any()


def test_boxes_that_reach_outside_take_no_part_when_asked() -> None:
    boxes = tensor([[-0.1, 0, 0.5, 0.5], [0, 0, 0.4, 0.4], [0, 0, 1, 1.01], [0, 0, 1, 1]])
    ground_truth = tensor([[-0.1, 0, 0.5, 0.5], [0, 0, 1, 1]])
    chosen, own = matched(boxes, ground_truth, ignore_cross_boundary=True)
    assert chosen == [-2, 0, -2, 1]
    assert own == pytest.approx([0, 0.16 / 0.30, 0, 1])
    assert matched(boxes, ground_truth)[0] == [0, 0, 1, 1]


def test_an_overlap_is_that_with_the_own_ground_truth_where_a_better_one_was_lost() -> None:
    # Both ground-truth boxes fit box 0 best; box 1 goes to the loser, though it overlaps the winner more.
    boxes = tensor([[0, 0, 0.5, 0.5], [0, 0.1, 0.5, 0.6]])
    ground_truth = tensor([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45]])
    chosen, own = matched(boxes, ground_truth)
    assert chosen == [0, 1]
    assert own == pytest.approx([1, 0.35 / 0.6])


VARIANCES = (0.1, 0.1, 0.2, 0.2)
BOXES = torch.tensor([[0, 0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.5, 0, 0.9, 0.4], [-0.1, 0.5, 0.3, 0.9]])


def test_offsets_and_classes_are_set_at_the_matched_boxes_only() -> None:
    ground_truth = torch.tensor([[[0.52, 0.5, 0.92, 0.9], [9.0, 9, 9, 9]], [[0.0, 0, 0, 0], [0, 0, 0, 0]]])
    targets = assign(BOXES, ground_truth, torch.tensor([[7, 0], [0, 0]]), VARIANCES)
    assert targets.classes.tolist() == [[0, 7, 0, 0], [0, 0, 0, 0]]
    assert targets.matched.sum() == 1
    assert targets.offsets[0, 1].tolist() == pytest.approx([0.02 / 0.4 / 0.1, 0, 0, 0], abs=1e-5)
    assert targets.offsets.count_nonzero(dim=-1).bool().sum() == 1


def test_decoding_the_targets_gives_the_ground_truth_back() -> None:
    ground_truth = torch.tensor([[[0.05, 0, 0.35, 0.45], [0.5, 0.45, 0.95, 0.9]]])
    targets = assign(BOXES, ground_truth, torch.tensor([[1, 2]]), VARIANCES)
    back = decode(targets.offsets, BOXES, VARIANCES)[0]
    for box, cls in enumerate(targets.classes[0].tolist()):
        if cls:
            assert back[box].tolist() == pytest.approx(ground_truth[0, cls - 1].tolist(), abs=1e-6)
    assert set(targets.classes[0].tolist()) == {0, 1, 2}


def test_a_ground_truth_without_area_gives_no_target_and_no_infinity() -> None:
    targets = assign(BOXES, torch.tensor([[[0.1, 0.1, 0.1, 0.3]]]), torch.tensor([[1]]), VARIANCES)
    assert not targets.matched.any()
    assert math.isfinite(float(targets.offsets.abs().sum()))


def test_boxes_outside_the_image_are_no_negatives_when_ignored() -> None:
    ground_truth = torch.tensor([[[0, 0, 0.4, 0.4]]])
    ignoring = assign(BOXES, ground_truth, torch.tensor([[1]]), VARIANCES, ignore_cross_boundary=True)
    assert ignoring.ious[0].tolist() == [1, 0, 0, 1]
    assert ignoring.classes[0].tolist() == [1, 0, 0, 0]
    assert assign(BOXES, ground_truth, torch.tensor([[1]]), VARIANCES).ious[0].tolist() == [1, 0, 0, 0]
