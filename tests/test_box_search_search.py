"""The search for default boxes: what is maximised, within which limits, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ground_truth_sets import ground_truth_set, squares
from singleshot.box_search.recall import learnable
from singleshot.box_search.search import ABSENT, EPSILON, FINER_SOURCES, BoxSearch, pareto, with_source
from singleshot.box_search.study import measure_boxes
from singleshot.errors import RequestError
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.spec import PYRAMID, Compatibility, Fusion, MapBoxes, ModelSpec, SharedHead
from singleshot.variants import SSD300_MOBILENETV1, SSD300_VGG16, SSD300_VGG16_FULL, SSDLITE320_MOBILENETV2

if TYPE_CHECKING:
    from singleshot.types import Annotations

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))
DOTS_AND_PLATES = ground_truth_set(
    np.concatenate([squares(100, 30, seed=1), squares(50, 120, seed=2)]), [0] * 100 + [1] * 50
)


def search_for(data: Annotations, spec: ModelSpec = LITE) -> BoxSearch:
    ground_truth = learnable(data)
    return BoxSearch(spec, ground_truth, np.unique(ground_truth.labels), grid_sizes)


def test_the_score_by_hand() -> None:
    """A 64 square on the centre of a cell of the 20x20 map is its box; a 32 by 96 one shares 2048 of 5120 pixels."""
    best = search_for(ground_truth_set([[72, 72, 136, 136], [88, 56, 120, 152]], [0, 1]), _only_squares(LITE)).given
    assert best.num_boxes == 400
    assert best.recalls.tolist() == [1, 0]
    assert best.score == pytest.approx((1 + 1) / 2 + (2048 / 5120) / 2)


def _only_squares(spec: ModelSpec) -> ModelSpec:
    return spec.with_maps(spec.sources[:1], (MapBoxes((64,), (), ()),))


def test_what_the_search_counts_is_what_the_network_has() -> None:
    search = search_for(DOTS_AND_PLATES)
    for box_set in search.curve:
        recall = measure_boxes(box_set.spec, DOTS_AND_PLATES, grid_sizes).recall
        mean_iou = np.mean([recall.best_ious[recall.ground_truth.labels == label].mean() for label in (0, 1)])
        assert recall.num_default_boxes == box_set.num_boxes
        assert box_set.score == pytest.approx(recall.per_class.mean() + mean_iou, abs=1e-4)
        assert box_set.recalls.mean() == pytest.approx(recall.per_class.mean())
    assert len(SSD(box_set.spec).default_boxes) == box_set.num_boxes


def test_maps_of_shared_heads_all_stay_and_have_as_many_boxes() -> None:
    sizes = ((64.0, 64.0), (90.0, 45.0), (45.0, 90.0))
    maps = tuple(MapBoxes((), (), (), sizes_wh=tuple((w * k, h * k) for w, h in sizes)) for k in (1, 2))
    spec = replace(LITE, shared_head=SharedHead(8, 1), fusion=Fusion(PYRAMID, channels=8))
    spec = replace(spec, sources=("block13", "last"), extras=(), boxes=replace(LITE.boxes, maps=maps))
    search = search_for(DOTS_AND_PLATES, spec)
    assert search.given.num_boxes == 3 * search.fewest
    assert search.within(search.given.num_boxes).score > search.given.score
    for box_set in search.curve:
        recall = measure_boxes(box_set.spec, DOTS_AND_PLATES, grid_sizes).recall
        assert box_set.spec.sources == spec.sources
        assert recall.num_default_boxes == box_set.num_boxes
        assert box_set.recalls.mean() == pytest.approx(recall.per_class.mean())
        assert len({boxes.boxes_per_cell for boxes in box_set.spec.boxes.maps}) == 1


def test_the_curve_rises_and_is_the_same_each_time() -> None:
    curve, again = (search_for(DOTS_AND_PLATES).curve for _ in range(2))
    assert len(curve) > 8
    assert (np.diff([box_set.num_boxes for box_set in curve]) > 0).all()
    assert (np.diff([box_set.score for box_set in curve]) > 0).all()
    assert [box_set.spec for box_set in again] == [box_set.spec for box_set in curve]
    assert pareto([curve[1], curve[0], replace(curve[0], num_boxes=curve[1].num_boxes)]) == curve[:2]


@pytest.mark.parametrize("most", [1, 500, 3234, 6000])
def test_no_other_candidate_of_any_map_scores_more_within_the_limit(most: int) -> None:
    search = search_for(DOTS_AND_PLATES)
    best = search.within(most)
    assert best.num_boxes <= most
    for place, candidates in enumerate(search._maps):
        for entry in (ABSENT, *range(0, len(candidates.entries), 7)):
            other = (*best.choice[:place], entry, *best.choice[place + 1 :])
            if search._count(other) <= most:
                assert search._score(search._ious(other)) <= best.score + 2 * EPSILON


def test_within_the_given_number_no_boxes_score_less_than_the_given() -> None:
    for seed in range(4):
        random = np.random.default_rng(seed)
        corners = random.uniform(0, 240, (60, 2))
        data = ground_truth_set(
            np.concatenate([corners, corners + random.uniform(10, 80, (60, 2))], axis=1), [0, 1] * 30
        )
        search = search_for(data)
        given = search.given
        assert search.within(given.num_boxes).score >= given.score


def test_a_limit_below_the_fewest_boxes_names_them() -> None:
    with pytest.raises(RequestError, match="at least 1 box"):
        search_for(DOTS_AND_PLATES).within(0)
    fused = replace(SSD300_VGG16.with_fusion("concat"), class_names=("dot", "plate"))
    search = search_for(DOTS_AND_PLATES, fused)
    assert search.fewest == 38 * 38  # the map that is fused cannot go
    with pytest.raises(RequestError, match="1,444"):
        search.within(1000)
    assert search.within(1444).spec.sources == ("conv4_3",)


def test_upright_objects_get_no_lying_boxes() -> None:
    corners = np.random.default_rng(0).uniform(0, 200, (100, 2))
    data = ground_truth_set(np.concatenate([corners, corners + np.array([30, 90])], axis=1), [0] * 100)
    search = search_for(data)
    best = search.within(1200)
    ratios = {ratio for boxes in best.spec.boxes.maps for ratio in boxes.ratios}
    assert ratios
    assert max(ratios) < 1
    assert best.recalls.mean() > 0.95


def test_boxes_suit_the_stride_of_their_map_or_are_the_given_ones() -> None:
    data = ground_truth_set(np.concatenate([squares(50, side, seed=side) for side in (12, 30, 80, 250)]), [0, 1] * 100)
    given = dict(zip(LITE.sources, LITE.boxes.maps, strict=True))
    search = search_for(data)
    for box_set in search.curve:
        for name, (rows, _), boxes in zip(
            box_set.spec.sources, grid_sizes(box_set.spec), box_set.spec.boxes.maps, strict=True
        ):
            sizes = (*boxes.min_sizes, *boxes.max_sizes)
            assert boxes == given.get(name) or (min(sizes) > 320 / rows and max(sizes) <= 4 * round(320 / rows))


def test_maps_that_no_object_needs_are_left_out_and_what_feeds_them() -> None:
    data = ground_truth_set(squares(100, 60, seed=1), [0] * 100)
    for box_set in search_for(data).curve:
        assert set(box_set.spec.sources) <= {*LITE.sources[:3], "block7_expand", "block4_expand"}
        assert len(box_set.spec.extras) == ("extra1_2" in box_set.spec.sources)
        assert SSD(box_set.spec).map_sizes_hw == grid_sizes(box_set.spec)


def test_small_objects_get_a_finer_map_and_boxes_of_their_size() -> None:
    data = ground_truth_set(squares(100, 16, seed=1), [0] * 100)
    search = search_for(data)
    best = search.within(3234)
    assert best.spec.sources[0] == "block7_expand"
    assert search.given.recalls.mean() == 0
    assert best.recalls.mean() > 0.8


def test_other_maps_keep_what_belongs_to_those_that_stay() -> None:
    spec = SSD300_VGG16.with_maps(("fc7", "conv9_2"), (MapBoxes((30,)), MapBoxes((60,))))
    assert spec.normalised == ()
    assert [block.name for block in spec.extras] == ["conv8", "conv9"]
    assert spec.boxes.variances == SSD300_VGG16.boxes.variances
    assert SSD300_VGG16.with_maps(SSD300_VGG16.sources, SSD300_VGG16.boxes.maps) == SSD300_VGG16
    full = replace(LITE, compatibility=Compatibility(full_heads=("last", "extra4_2")))
    assert full.with_maps(("last",), (MapBoxes((30,)),)).compatibility.full_heads == ("last",)


@pytest.mark.parametrize(
    "spec", [SSD300_VGG16, SSD300_VGG16_FULL, SSD300_MOBILENETV1, SSDLITE320_MOBILENETV2], ids=lambda spec: spec.name
)
def test_the_finer_maps_exist_in_the_networks(spec: ModelSpec) -> None:
    for name, stride in zip(FINER_SOURCES[spec.backbone], (8, 4), strict=True):
        if name not in spec.sources:
            spec = with_source(spec, name)
        height, width = grid_sizes(spec)[0]
        assert (round(spec.input_size_hw[0] / height), round(spec.input_size_hw[1] / width)) == (stride, stride)
    assert len(SSD(replace(spec, width=0.25)).default_boxes) > 10_000


def test_a_finer_map_is_normalised_as_the_one_behind_it() -> None:
    assert with_source(SSD300_VGG16, "conv3_3").normalised == ("conv3_3", "conv4_3")
    assert with_source(LITE, "block7_expand").normalised == ()
