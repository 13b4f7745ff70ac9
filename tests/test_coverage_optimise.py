"""The search for default boxes: what is maximised, within which limits, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ground_truth_sets import ground_truth_set, squares
from singleshot.box_search.adapt import default_boxes_of
from singleshot.box_search.map_choices import ladder, map_choices
from singleshot.box_search.measure import measurable, measure
from singleshot.box_search.nearest import grid
from singleshot.box_search.optimise import ABSENT, EQUAL, Designer, rising
from singleshot.errors import RequestError
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.spec import MapBoxes, ModelSpec
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2

if TYPE_CHECKING:
    from singleshot.types import Annotations

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))
DOTS_AND_PLATES = ground_truth_set(
    np.concatenate([squares(100, 30, seed=1), squares(50, 120, seed=2)]), [0] * 100 + [1] * 50
)


def designer(data: Annotations, spec: ModelSpec = LITE) -> Designer:
    ground_truth = measurable(data)
    return Designer(spec, ground_truth, np.unique(ground_truth.labels), map_sizes_hw=grid_sizes)


def test_worth_by_hand() -> None:
    """A 64 square on the centre of a cell of the 20x20 map is its box; a 32 by 96 one shares 2048 of 5120 pixels."""
    found = designer(ground_truth_set([[72, 72, 136, 136], [88, 56, 120, 152]], [0, 1]), _only_squares(LITE)).given()
    assert found.boxes == 400
    assert found.shares.tolist() == [1, 0]
    assert found.worth == pytest.approx((1 + 1) / 2 + (2048 / 5120) / 2)


def _only_squares(spec: ModelSpec) -> ModelSpec:
    return spec.with_maps(spec.sources[:1], (MapBoxes((64,), (), ()),))


def test_what_the_search_counts_is_what_the_network_has() -> None:
    search = designer(DOTS_AND_PLATES)
    for one in search.curve():
        boxes = default_boxes_of(one.spec, grid_sizes(one.spec))
        coverage = measure(DOTS_AND_PLATES, boxes)
        overlap = np.mean([coverage.best_overlaps[coverage.labels == label].mean() for label in (0, 1)])
        assert len(boxes) == one.boxes
        assert one.worth == pytest.approx(coverage.shares.mean() + overlap, abs=1e-4)
        assert one.covered == pytest.approx(coverage.shares.mean())
    assert len(SSD(one.spec).default_boxes) == one.boxes


def test_the_curve_rises_and_is_the_same_each_time() -> None:
    found, again = (designer(DOTS_AND_PLATES).curve() for _ in range(2))
    assert len(found) > 8
    assert (np.diff([one.boxes for one in found]) > 0).all()
    assert (np.diff([one.worth for one in found]) > 0).all()
    assert [one.spec for one in again] == [one.spec for one in found]
    assert rising([found[1], found[0], replace(found[0], boxes=found[1].boxes)]) == found[:2]


@pytest.mark.parametrize("most", [1, 500, 3234, 6000])
def test_no_other_choice_of_any_map_is_worth_more_within_the_limit(most: int) -> None:
    search = designer(DOTS_AND_PLATES)
    found = search.within(most, search.curve())
    assert found.boxes <= most
    for place, one in enumerate(search._maps):
        for entry in (ABSENT, *range(0, len(one.entries), 7)):
            other = (*found.choice[:place], entry, *found.choice[place + 1 :])
            if search._count(other) <= most:
                assert search._worth_of(search._overlaps(other)) <= found.worth + 2 * EQUAL


def test_within_their_own_number_boxes_are_never_worth_less_than_the_given() -> None:
    for seed in range(4):
        random = np.random.default_rng(seed)
        corners = random.uniform(0, 240, (60, 2))
        data = ground_truth_set(
            np.concatenate([corners, corners + random.uniform(10, 80, (60, 2))], axis=1), [0, 1] * 30
        )
        search = designer(data)
        given = search.given()
        assert search.within(given.boxes, search.curve()).worth >= given.worth


def test_a_limit_below_the_fewest_boxes_names_them() -> None:
    with pytest.raises(RequestError, match=r"at most 0 .* has at least 1 box"):
        designer(DOTS_AND_PLATES).within(0, [])
    fused = replace(SSD300_VGG16.with_fusion("concat"), class_names=("dot", "plate"))
    search = designer(DOTS_AND_PLATES, fused)
    assert search.fewest == 38 * 38  # the map that is fused cannot go
    with pytest.raises(RequestError, match=r"at most 1,000 .* has at least 1,444 boxes"):
        search.within(1000, search.curve())
    (found,) = {search.within(1444, curve).spec.sources for curve in ([], search.curve())}
    assert found == ("conv4_3",)


def test_upright_objects_get_no_lying_boxes() -> None:
    corners = np.random.default_rng(0).uniform(0, 200, (100, 2))
    data = ground_truth_set(np.concatenate([corners, corners + np.array([30, 90])], axis=1), [0] * 100)
    search = designer(data)
    found = search.within(1200, search.curve())
    ratios = {ratio for boxes in found.spec.boxes.maps for ratio in boxes.ratios}
    assert ratios
    assert max(ratios) < 1
    assert found.covered > 0.95


def test_boxes_suit_the_stride_of_their_map_or_are_the_given_ones() -> None:
    data = ground_truth_set(np.concatenate([squares(50, side, seed=side) for side in (12, 30, 80, 250)]), [0, 1] * 100)
    given = dict(zip(LITE.sources, LITE.boxes.maps, strict=True))
    search = designer(data)
    for one in search.curve():
        for name, (rows, _), boxes in zip(one.spec.sources, grid_sizes(one.spec), one.spec.boxes.maps, strict=True):
            sizes = (*boxes.min_sizes, *boxes.max_sizes)
            assert boxes == given.get(name) or (min(sizes) > 320 / rows and max(sizes) <= 4 * round(320 / rows))


def test_maps_that_nobody_needs_are_left_out_and_what_feeds_them() -> None:
    data = ground_truth_set(squares(100, 60, seed=1), [0] * 100)
    for one in designer(data).curve():
        assert set(one.spec.sources) <= {*LITE.sources[:3], "block7_expand", "block4_expand"}
        assert len(one.spec.extras) == ("extra1_2" in one.spec.sources)
        assert SSD(one.spec).map_sizes_hw == grid_sizes(one.spec)


def test_small_objects_get_a_finer_map_and_boxes_of_their_size() -> None:
    data = ground_truth_set(squares(100, 16, seed=1), [0] * 100)
    search = designer(data)
    found = search.within(3234, search.curve())
    assert found.spec.sources[0] == "block7_expand"
    assert search.given().covered == 0
    assert found.covered > 0.8


def test_other_maps_keep_what_belongs_to_those_that_stay() -> None:
    spec = SSD300_VGG16.with_maps(("fc7", "conv9_2"), (MapBoxes((30,)), MapBoxes((60,))))
    assert spec.normalised == ()
    assert [block.name for block in spec.extras] == ["conv8", "conv9"]
    assert spec.boxes.variances == SSD300_VGG16.boxes.variances
    assert SSD300_VGG16.with_maps(SSD300_VGG16.sources, SSD300_VGG16.boxes.maps) == SSD300_VGG16
    full = replace(LITE, full_heads=("last", "extra4_2"))
    assert full.with_maps(("last",), (MapBoxes((30,)),)).full_heads == ("last",)


def test_choices_of_a_map_are_judged_as_their_grid_judges_them() -> None:
    ground_truth = np.random.default_rng(0).uniform(20, 150, (30, 4)).astype(np.float32)
    seen = grid(ground_truth, (10, 10), (320, 320), step=None, offset=0.5)
    present = MapBoxes((50,), (70,), (2.0,), step=32.0)
    found = map_choices(present, (40.0, 48.0, 57.0, 68.0, 80.0), seen, (10, 10), truncate=True)
    assert found.entries[0] == present
    assert len(set(found.entries)) == len(found.entries)
    for entry, count, overlaps in zip(found.entries, found.counts, found.overlaps, strict=True):
        assert count == 100 * entry.boxes_per_cell
        assert entry.step == 32
        assert overlaps.tolist() == seen.best_overlaps(entry, truncate=True).tolist()


def test_the_ladder_climbs_by_equal_ratios_between_its_ends() -> None:
    found = ladder(20, 320)
    assert (found[0], found[-1], len(found)) == (20, 320, 17)
    assert np.diff(np.log2(found)) == pytest.approx(0.25, abs=0.04)
    assert ladder(3, 4) == (3, 4)
