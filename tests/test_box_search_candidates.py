"""Candidates of a map: the best IoU equals the maximum over all the map's boxes; sizes, counts, steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.box_search.candidates import NearestCentres, map_candidates, shared_candidates, size_ladder
from singleshot.boxes import cxcywh_to_xyxy, pairwise_iou
from singleshot.spec import BoxSpec, MapBoxes
from singleshot.ssd.default_boxes import caffe_default_boxes, cell_sizes


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(60, 320), st.integers(60, 320)),
    st.sampled_from([None, 8.0, 40.0]),
    st.sampled_from([0.5, 0.0]),
)
def test_equals_the_maximum_over_all_boxes(
    seed: int, map_size_hw: tuple[int, int], input_size_hw: tuple[int, int], step: float | None, offset: float
) -> None:
    random = np.random.default_rng(seed)
    boxes = MapBoxes((20.0, 45.0), (45.0, 90.0), (2.0, 3.0), step)
    height, width = input_size_hw
    ground_truth = random.uniform(-0.1, 1.1, (30, 4)) * [width, height, 0, 0] + [0, 0, 1, 1] * random.uniform(
        3, 200, (30, 4)
    )
    ground_truth = ground_truth.astype(np.float32)
    centres = NearestCentres.on_map(ground_truth, map_size_hw, input_size_hw, steps_hw=(step, step), offset=offset)
    ious = centres.best_ious(cell_sizes(boxes, truncate=True)).max(axis=0)
    default_boxes = caffe_default_boxes(BoxSpec((boxes,), offset=offset), [map_size_hw], input_size_hw)
    pixels = default_boxes * np.array([width, height, width, height], np.float32)
    # pixel coordinates up to a few hundred in float32: 1e-4
    np.testing.assert_allclose(ious, pairwise_iou(cxcywh_to_xyxy(ground_truth), pixels).max(axis=1), atol=1e-4)


def test_each_candidate_has_its_count_its_iou_and_the_maps_step() -> None:
    ground_truth = np.random.default_rng(0).uniform(20, 150, (30, 4)).astype(np.float32)
    centres = NearestCentres.on_map(ground_truth, (10, 10), (320, 320), steps_hw=(None, None), offset=0.5)
    present = MapBoxes((50,), (70,), (2.0,), step=32.0)
    candidates = map_candidates(present, (40.0, 48.0, 57.0, 68.0, 80.0), centres, 100, truncate=True)
    assert candidates.entries[0] == (present,)
    assert len(set(candidates.entries)) == len(candidates.entries)
    for (entry,), count, ious in zip(candidates.entries, candidates.counts, candidates.ious, strict=True):
        assert count == 100 * entry.boxes_per_cell
        assert entry.step == 32
        assert ious.tolist() == centres.best_ious(cell_sizes(entry, truncate=True)).max(axis=0).tolist()


def test_candidates_of_shared_heads_have_the_same_shapes_on_every_map() -> None:
    """In proportion to the maps' scales; their IoU is that of the best box of any map."""
    ground_truth = np.random.default_rng(0).uniform(10, 150, (40, 4)).astype(np.float32)
    sizes = ((32.0, 32.0), (48.0, 48.0), (64.0, 16.0), (16.0, 64.0))
    maps = [MapBoxes((), (), (), 16.0 * k, sizes_wh=tuple((w * k, h * k) for w, h in sizes)) for k in (1, 2, 4)]
    grids = [(20, 20), (10, 10), (5, 5)]
    centres = [
        NearestCentres.on_map(ground_truth, grid, (320, 320), steps_hw=boxes.steps_hw, offset=0.5)
        for grid, boxes in zip(grids, maps, strict=True)
    ]
    cells = [rows * columns for rows, columns in grids]
    candidates = shared_candidates(maps, centres, cells, smallest=(16.0, 32.0), truncate=True)
    assert candidates.entries[0] == tuple(maps)
    assert max(len(entry[0].sizes_wh) for entry in candidates.entries) == 3 * 5
    for entry, count, ious in zip(candidates.entries, candidates.counts, candidates.ious, strict=True):
        first = np.array(entry[0].sizes_wh)
        assert count == sum(cells) * len(first)
        for factor, boxes in zip((1, 2, 4), entry, strict=True):
            np.testing.assert_allclose(np.array(boxes.sizes_wh), factor * first, atol=1e-3)
            assert boxes.step == 16 * factor
        default_boxes = caffe_default_boxes(BoxSpec(entry), grids, (320, 320)) * np.float32(320)
        best = pairwise_iou(cxcywh_to_xyxy(ground_truth), default_boxes).max(axis=1)
        np.testing.assert_allclose(ious, best, atol=1e-4)
    np.testing.assert_allclose(candidates.entries[1][0].sizes_wh, np.array(sizes) / 2)  # the present ones, smaller


def test_the_ladder_climbs_by_equal_ratios_between_its_ends() -> None:
    sizes = size_ladder(20, 320)
    assert (sizes[0], sizes[-1], len(sizes)) == (20, 320, 17)
    assert np.diff(np.log2(sizes)) == pytest.approx(0.25, abs=0.04)
    assert size_ladder(3, 4) == (3, 4)
