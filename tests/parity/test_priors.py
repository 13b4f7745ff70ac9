"""Default boxes against Caffe's PriorBox, golden 1: 1e-6, the rounding of float32 fractions up to about 1.5."""

from __future__ import annotations

import numpy as np
import pytest

from golden import arrays, index, needs_golden
from singleshot.spec import BoxSpec, MapBoxes
from singleshot.ssd.default_boxes import caffe_default_boxes

CASES = index("1_priors/params.json") or {}
pytestmark = needs_golden


def spec_of(case):
    steps = case["step"] or [None] * len(case["maps"])
    columns = zip(case["min_size"], case["max_size"], case["aspect_ratio"], steps, strict=True)
    maps = tuple(
        MapBoxes(tuple(small), tuple(large or ()), tuple(map(float, ratios)), step or None, case["flip"])
        for small, large, ratios, step in columns
    )
    offset = 0.5 if case["offset"] is None else case["offset"]
    return BoxSpec(maps, tuple(case["variance"]), clip=case["clip"], offset=offset)


@pytest.mark.parametrize("name", CASES)
def test_default_boxes_are_caffes(name):
    case, expected = CASES[name], arrays(f"1_priors/{name}.npz")
    spec = spec_of(case)
    boxes = caffe_default_boxes(spec, [tuple(size) for size in case["maps"]], (case["img_h"], case["img_w"]))
    np.testing.assert_allclose(boxes, expected["boxes"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.broadcast_to(spec.variances, boxes.shape), expected["variances"], atol=1e-7)
    per_map = [h * w * one.boxes_per_cell for (h, w), one in zip(case["maps"], spec.maps, strict=True)]
    assert per_map == expected["per_map"].tolist()
