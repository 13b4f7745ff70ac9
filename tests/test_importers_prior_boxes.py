"""PriorBox layers of Caffe as our default boxes, against Caffe's loop written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from singleshot.spec import BoxSpec
from singleshot.ssd.default_boxes import caffe_default_boxes
from singleshot.weights.importers.caffe_proto import read_prototxt
from singleshot.weights.importers.caffe_spec import map_boxes

INPUT_WH = (120, 80)
LAYER_WH = (5, 3)


def caffe_priors(image_wh: tuple[float, float], step_wh: tuple[float, float]) -> np.ndarray:
    """prior_box_layer.cpp, Forward_cpu: min sizes 20 and 33, aspect ratio 2 without flip, offset 0.5."""
    (img_width, img_height), (layer_width, layer_height) = image_wh, LAYER_WH
    step_w, step_h = step_wh
    if step_w == 0 or step_h == 0:
        step_w, step_h = img_width / layer_width, img_height / layer_height
    boxes = []
    for h in range(layer_height):
        for w in range(layer_width):
            center_x, center_y = (w + 0.5) * step_w, (h + 0.5) * step_h
            for min_size in (20, 33):
                for ratio in (1.0, 2.0):
                    box_width, box_height = min_size * ratio**0.5, min_size / ratio**0.5
                    boxes.append(
                        [
                            (center_x - box_width / 2) / img_width,
                            (center_y - box_height / 2) / img_height,
                            (center_x + box_width / 2) / img_width,
                            (center_y + box_height / 2) / img_height,
                        ]
                    )
    return np.array(boxes)


@pytest.mark.parametrize(
    ("said", "image_wh", "step_wh"),
    [
        ("", INPUT_WH, (0, 0)),
        ("step: 16", INPUT_WH, (16, 16)),
        ("step_w: 16 step_h: 16", INPUT_WH, (16, 16)),
        ("step_w: 24 step_h: 26", INPUT_WH, (24, 26)),
        ("step_w: 24", INPUT_WH, (0, 0)),
        ("img_w: 120 img_h: 80", INPUT_WH, (0, 0)),
        ("img_size: 300", (300, 300), (0, 0)),
        ("img_w: 300 img_h: 150 step_w: 60 step_h: 50", (300, 150), (60, 50)),
        ("img_size: 300 step: 60", (300, 300), (60, 60)),
    ],
)
def test_sizes_steps_and_image_sizes_are_caffes(
    said: str, image_wh: tuple[float, float], step_wh: tuple[float, float], tmp_path: Path
) -> None:
    description = tmp_path / "a.prototxt"
    description.write_text(f"prior_box_param {{ min_size: 20 min_size: 33 aspect_ratio: 2 flip: false {said} }}")
    width, height = INPUT_WH
    boxes = map_boxes(read_prototxt(description).message("prior_box_param"), (height, width))
    ours = caffe_default_boxes(BoxSpec((boxes,)), [LAYER_WH[::-1]], (height, width))
    np.testing.assert_allclose(ours, caffe_priors(image_wh, step_wh), atol=2e-7)
