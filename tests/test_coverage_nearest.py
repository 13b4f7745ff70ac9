"""The best IoU over a grid: the law that it equals the maximum over all the grid's boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.box_search.nearest import grid
from singleshot.boxes import cxcywh_to_xyxy, pairwise_iou
from singleshot.spec import BoxSpec, MapBoxes
from singleshot.ssd.default_boxes import caffe_default_boxes


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
    found = grid(ground_truth, map_size_hw, input_size_hw, step=step, offset=offset).best_overlaps(boxes, truncate=True)
    default_boxes = caffe_default_boxes(BoxSpec((boxes,), offset=offset), [map_size_hw], input_size_hw)
    pixels = default_boxes * np.array([width, height, width, height], np.float32)
    # pixel coordinates up to a few hundred in float32: 1e-4
    np.testing.assert_allclose(found, pairwise_iou(cxcywh_to_xyxy(ground_truth), pixels).max(axis=1), atol=1e-4)
