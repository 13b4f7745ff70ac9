"""Hard negative mining: worked examples and the obvious loop."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.ssd.loss import hard_negatives, hardest


def mined(losses: list, matched: list, overlaps: list | None = None, **options) -> list[int]:
    found = hard_negatives(
        torch.tensor([losses], dtype=torch.float32),
        torch.tensor([matched], dtype=torch.bool),
        torch.tensor([overlaps or [0.0] * len(losses)]),
        **options,
    )
    return found[0].nonzero()[:, 0].tolist()


def test_three_negatives_a_positive_the_hardest_first() -> None:
    assert mined([9, 1, 5, 4, 3, 2], [1, 0, 0, 0, 0, 0]) == [2, 3, 4]


def test_the_count_is_cut_to_a_whole_number() -> None:
    assert mined([0, 1, 2, 3, 4, 5], [1, 0, 0, 0, 0, 0], negative_ratio=1.9) == [5]


def test_boxes_that_reach_the_negative_overlap_are_left_out() -> None:
    assert mined([0, 9, 8, 7], [1, 0, 0, 0], [1, 0.5, 0.4999, 0]) == [2, 3]


def test_equal_losses_give_the_lowest_boxes() -> None:
    assert mined([1] * 40, [0] * 39 + [1]) == [0, 1, 2]


def test_each_image_for_itself_and_a_image_without_positives_gives_none() -> None:
    losses = torch.tensor([[9.0, 9, 9, 9], [1, 2, 3, 4]])
    matched = torch.tensor([[False] * 4, [True, False, False, False]])
    found = hard_negatives(losses, matched, torch.zeros(2, 4), negative_ratio=2)
    assert found.tolist() == [[False] * 4, [False, False, True, True]]


def test_a_minimum_also_takes_from_images_without_positives() -> None:
    assert mined([1, 2, 3], [0, 0, 0], minimum_negatives=2) == [1, 2]
    assert mined([1, 2, 3], [0, 0, 0], minimum_negatives=9) == [0, 1, 2]
    assert mined([9, 1, 2, 3, 4, 5], [1, 0, 0, 0, 0, 0], minimum_negatives=2) == [3, 4, 5]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_hardest_equals_the_sorted_loop(data: st.DataObject) -> None:
    batch, count = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 20))
    rows = st.lists(st.integers(0, 4), min_size=count, max_size=count)
    losses = [data.draw(rows) for _ in range(batch)]
    eligible = [[value > 0 for value in data.draw(rows)] for _ in range(batch)]
    counts = [data.draw(st.integers(0, count + 2)) for _ in range(batch)]
    found = hardest(torch.tensor(losses).float(), torch.tensor(eligible), torch.tensor(counts))
    for image in range(batch):
        order = sorted((k for k in range(count) if eligible[image][k]), key=lambda k: (-losses[image][k], k))
        assert found[image].nonzero()[:, 0].tolist() == sorted(order[: counts[image]])
