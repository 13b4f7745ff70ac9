"""Matching: worked examples, laws, and the one-pair-at-a-time loop that it must equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.boxes import iou, pairwise_iou
from singleshot.ssd.matching import match

# Corners on a coarse grid: equal boxes, symmetric boxes, ties, touching and degenerate boxes come up all the time.
corner = st.integers(0, 6).map(lambda value: value / 6)
box = st.tuples(corner, corner, corner, corner)
proper_box = box.map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 0.1, max(b[1], b[3]) + 0.1))


def tensor(rows: list) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def matched(default_boxes: torch.Tensor, ground_truth: torch.Tensor, **options) -> tuple[list[int], list[float]]:
    found = match(default_boxes, ground_truth[None], torch.ones(1, len(ground_truth), dtype=torch.bool), **options)
    return found.ground_truth[0].tolist(), found.overlaps[0].tolist()


def slow_match(
    default_boxes: torch.Tensor, ground_truth: torch.Tensor, *, threshold: float, bipartite_only: bool = False
) -> tuple[list[int], list[float]]:
    """The rule as the golden data's README states it, a pair at a time."""
    count = len(default_boxes)
    overlaps = pairwise_iou(default_boxes, ground_truth).numpy()
    overlaps = np.where(overlaps > 1e-6, overlaps, np.float32(0))
    chosen = [-1] * count
    own = [max(row, default=0.0) for row in overlaps.tolist()]
    boxes, objects = set(range(count)), set(range(len(ground_truth)))
    while True:
        best, pair = 0.0, None
        for b in sorted(boxes):
            for t in sorted(objects):
                if overlaps[b, t] > best:
                    best, pair = overlaps[b, t], (b, t)
        if pair is None:
            break
        chosen[pair[0]], own[pair[0]] = pair[1], float(best)
        boxes.remove(pair[0])
        objects.remove(pair[1])
    for b in sorted(boxes) if not bipartite_only and len(ground_truth) else []:
        nearest = int(np.argmax(overlaps[b]))
        if overlaps[b, nearest] > 0 and overlaps[b, nearest] >= np.float32(threshold):
            chosen[b] = nearest
    return chosen, own


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
    assert matched(corners, objects, overlap_threshold=threshold, bipartite_only=bipartite_only) == slow_match(
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
    found = match(corners, ground_truth, valid)
    noise = torch.where(valid[..., None], ground_truth, torch.nan)
    again = match(corners, noise, valid)
    assert torch.equal(found.ground_truth, again.ground_truth)
    assert torch.equal(found.overlaps, again.overlaps)
    for image in range(batch):
        places = valid[image].nonzero()[:, 0].tolist()
        alone, own = matched(corners, ground_truth[image, places])
        assert found.ground_truth[image].tolist() == [places[t] if t >= 0 else -1 for t in alone]
        assert found.overlaps[image].tolist() == own


@settings(max_examples=100, deadline=None)
@given(st.lists(proper_box, min_size=1, max_size=12), st.lists(box, min_size=1, max_size=8))
def test_every_ground_truth_that_overlaps_a_free_box_gets_one(default_boxes: list, ground_truth: list) -> None:
    corners, objects = tensor(default_boxes), tensor(ground_truth)
    chosen, _ = matched(corners, objects, overlap_threshold=1.1)  # the one-to-one phase alone
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
    assert matched(boxes, target, overlap_threshold=0.5)[0] == [0, 0]
    assert matched(boxes, target, overlap_threshold=0.50001)[0] == [0, -1]


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
    found = match(torch.rand(5, 4), torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool))
    assert found.ground_truth.tolist() == [[-1] * 5] * 2
    assert not found.overlaps.any()


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
