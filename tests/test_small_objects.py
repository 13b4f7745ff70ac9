"""Before a run whose objects are too small for any default box, what helps is said with its figure."""

from __future__ import annotations

import numpy as np

from ground_truth_sets import ground_truth_set
from singleshot.box_search.recall import DefaultBoxRecall
from singleshot.box_search.study import Goal, find_boxes, measure_boxes
from singleshot.models.ssd import grid_sizes
from singleshot.spec import ModelSpec
from singleshot.train.crowded_images import with_room_for_objects
from singleshot.train.small_objects import advice_on_small_objects
from singleshot.types import Annotations
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2


def objects(side: float, count: int = 30) -> Annotations:
    corners = np.random.default_rng(0).uniform(0, (960 - side, 720 - side), (count, 2))
    return ground_truth_set(np.hstack([corners, corners + side]), np.zeros(count), size_wh=(960, 720))


def adapted(spec: ModelSpec, annotations: Annotations) -> DefaultBoxRecall:
    return find_boxes(spec, annotations, Goal(), map_sizes_hw=grid_sizes).chosen.recall


def advice(annotations: Annotations) -> tuple[str, ...]:
    recall = measure_boxes(SSDLITE320_MOBILENETV2, annotations, grid_sizes).recall
    return advice_on_small_objects(SSDLITE320_MOBILENETV2, annotations, recall, adapted)


def test_each_way_is_named_with_the_recall_it_reaches() -> None:
    head, *ways = advice(objects(20))
    assert "100%" in head
    assert "8 pixels" in head  # 20 of 960 x 720 are 7.7 of 320 x 320
    assert ["other boxes" in ways[0], "--input-size 1152x864" in ways[1], "--tile 256" in ways[2]] == [True] * 3
    reached = [int(way.split("%")[0]) for way in ways]
    assert reached[1] > 90 > reached[0]


def test_large_objects_and_well_fitted_ones_get_no_advice() -> None:
    assert advice(objects(200)) == ()
    # 26 pixels of the input, a shape that no default box has
    tall = [[x, y, x + 30, y + 150] for x in range(0, 930, 47) for y in range(0, 570, 181)]
    unfitted = ground_truth_set(tall, [0] * len(tall), size_wh=(960, 720))
    assert measure_boxes(SSDLITE320_MOBILENETV2, unfitted, grid_sizes).recall.lowest < 0.5
    assert advice(unfitted) == ()
    small = objects(20)
    fitted = find_boxes(SSDLITE320_MOBILENETV2.with_input_size(864, 1152), small, Goal(), map_sizes_hw=grid_sizes)
    assert advice_on_small_objects(fitted.chosen.spec, small, fitted.chosen.recall, adapted) == ()


def test_detections_follow_the_fullest_image() -> None:
    spec, lines = with_room_for_objects(SSD300_VGG16, objects(20, 600))
    assert (spec.postprocess.keep_top_k, spec.postprocess.top_k) == (1200, 2400)
    assert "600" in lines[0]
    assert with_room_for_objects(SSD300_VGG16, objects(20, 200)) == (SSD300_VGG16, [])
