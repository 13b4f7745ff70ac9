from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ground_truth_sets import ground_truth_set, squares
from singleshot.box_search.recall import measure_recall
from singleshot.train.fitting import fitted, narrowed, size_spread
from singleshot.train.recipe import MODERN


def squares_of(*sides: float) -> np.ndarray:
    return np.array([(0, 0, side, side) for side in sides])


def test_the_spread_is_that_of_the_sides_within_a_class() -> None:
    boxes = np.concatenate([squares_of(*np.linspace(10, 20, 11)), squares_of(*np.linspace(100, 130, 11))])
    data = ground_truth_set(boxes, [0] * 11 + [1] * 11)
    assert size_spread(data) == pytest.approx((19 / 11 + 127 / 103) / 2, rel=1e-5)
    assert size_spread(ground_truth_set(boxes[:9], [0] * 9)) is None
    assert size_spread(ground_truth_set([], [])) is None


def test_crops_enlarge_no_more_than_sizes_lie_from_their_middle_and_nothing_is_expanded() -> None:
    narrow = narrowed(MODERN.augment, 1.44, expands=False)
    assert [one.min_scale for one in narrow.samplers] == [1.0, *[pytest.approx(1 / 1.2)] * 6]
    assert narrow.expand_probability == 0


def test_what_the_data_asks_for_is_said_and_what_the_user_chose_stays() -> None:
    boxes = squares(40, 60, seed=0)
    data = ground_truth_set(boxes, [0] * 40)
    well, badly = (measure_recall(data, default / 320, threshold=0.5) for default in (boxes, boxes[:20]))
    recipe, notes = fitted(MODERN, data, well)
    assert recipe.iou_threshold == 0.5
    assert recipe.augment.expand_probability == 0
    assert [note.partition(":")[0].partition(", as")[0] for note in notes] == [
        "default boxes learn from an overlap of 0.5, not 0.35",
        "objects of a class differ in size by a factor of 1.3",
        "8 images an update, not 16",
    ]
    wide = ground_truth_set(np.concatenate([boxes, squares(40, 200, seed=1)]), [0] * 80)
    assert fitted(MODERN, wide, well)[0].augment == MODERN.augment
    assert fitted(MODERN, data, badly)[0].iou_threshold == MODERN.iou_threshold
    given = ["iou_threshold", "augment.max_expand_ratio", "batch_size"]
    kept, notes = fitted(MODERN, data, well, given=given)
    assert len(notes) == 1
    assert kept.augment.samplers == recipe.augment.samplers
    assert replace(kept, augment=MODERN.augment) == MODERN
    assert kept.augment.expand_probability == MODERN.augment.expand_probability
    assert fitted(MODERN, data, well, given=["augment.hue_delta"])[0].augment == recipe.augment
