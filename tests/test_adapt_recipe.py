from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ground_truth_sets import ground_truth_set, squares
from singleshot.box_search.recall import measure_recall
from singleshot.train.adapt_recipe import DataFacts, adapt_recipe_to_data, facts_of, narrowed, size_spread
from singleshot.train.recipe import CAFFE, MODERN

SMALL_CHANGES = DataFacts(images=1000, objects=1000, box_recall=0.9, size_spread=4.0)
"""Facts for which nothing is changed."""


def squares_of(*sides: float) -> np.ndarray:
    return np.array([(0, 0, side, side) for side in sides])


def test_the_spread_is_that_of_the_sides_within_a_class() -> None:
    boxes = np.concatenate([squares_of(*np.linspace(10, 20, 11)), squares_of(*np.linspace(100, 130, 11))])
    data = ground_truth_set(boxes, [0] * 11 + [1] * 11)
    assert size_spread(data) == pytest.approx((19 / 11 + 127 / 103) / 2, rel=1e-5)
    assert size_spread(ground_truth_set(boxes[:9], [0] * 9)) is None
    assert size_spread(ground_truth_set([], [])) is None


def test_facts_are_those_of_the_set() -> None:
    boxes = squares(40, 60, seed=0)
    data = ground_truth_set(boxes, [0] * 40)
    facts = facts_of(data, measure_recall(data, boxes / 320, threshold=0.5))
    assert facts == DataFacts(images=1, objects=40, box_recall=1.0, size_spread=size_spread(data))
    assert facts_of(data, measure_recall(data, boxes[:20] / 320, threshold=0.5)).box_recall < 0.95


def test_crops_enlarge_no_more_than_sizes_lie_from_their_middle() -> None:
    narrow = narrowed(MODERN.augment.samplers, 1.44)
    assert [sampler.min_scale for sampler in narrow] == [1.0, *[pytest.approx(1 / 1.2)] * 6]


@pytest.mark.parametrize(
    ("facts", "name", "value"),
    [
        ({"box_recall": 0.95}, "iou_threshold", 0.5),
        ({"size_spread": 2.9}, "augment.expand_probability", 0.0),
        ({"objects": 12_500}, "batch_size", 8),
        ({"images": 40, "objects": 40}, "batch_size", 10),
        ({"images": 10, "objects": 10}, "batch_size", 4),
        ({"omits_difficult": True}, "augment.keep_difficult", False),
    ],
)
def test_each_fact_changes_one_setting(facts: dict[str, float], name: str, value: object) -> None:
    recipe, changes = adapt_recipe_to_data(MODERN, replace(SMALL_CHANGES, **facts))
    assert (name, value) in [change[:2] for change in changes]
    assert recipe != MODERN
    _, changes = adapt_recipe_to_data(MODERN, replace(SMALL_CHANGES, **facts), fixed=[name])
    assert name not in [change.name for change in changes]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"box_recall": 0.94},
        {"size_spread": 3.0},
        {"size_spread": None},
        {"objects": 12_499},
        {"images": 64, "objects": 64},
    ],
)
def test_other_facts_change_nothing(facts: dict[str, float]) -> None:
    assert adapt_recipe_to_data(MODERN, replace(SMALL_CHANGES, **facts)) == (MODERN, [])


def test_a_recipe_that_is_not_adapted_follows_the_format_and_the_size_of_the_set_alone() -> None:
    facts = DataFacts(images=100, objects=10_000, box_recall=1.0, size_spread=1.1)
    assert adapt_recipe_to_data(CAFFE, facts)[0] == replace(CAFFE, batch_size=25)


def test_who_gives_a_canvas_wants_expansion_but_narrow_crops_stay() -> None:
    facts = replace(SMALL_CHANGES, size_spread=1.3)
    whole, _ = adapt_recipe_to_data(MODERN, facts)
    kept, changes = adapt_recipe_to_data(MODERN, facts, fixed=["augment.max_expand_ratio"])
    assert [change.name for change in changes] == ["augment.samplers"]
    assert kept.augment.expand_probability == MODERN.augment.expand_probability
    assert kept.augment.samplers == whole.augment.samplers != MODERN.augment.samplers


def test_a_batch_in_parts_is_halved_only_where_the_parts_stay_equal() -> None:
    facts = replace(SMALL_CHANGES, objects=20_000)
    assert adapt_recipe_to_data(replace(MODERN, accumulate=4), facts)[0].batch_size == 8
    assert adapt_recipe_to_data(replace(MODERN, accumulate=16), facts)[0].batch_size == 16
