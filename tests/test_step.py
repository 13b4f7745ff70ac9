"""One update of the weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from singleshot.models.ssd import SSD
from singleshot.ssd.tensors import Batch
from singleshot.train.optimizer import build_optimizer
from singleshot.train.recipe import CAFFE
from singleshot.train.step import TrainStep
from singleshot.variants import SSD300_VGG16


@pytest.mark.parametrize("boundary_boxes", [True, False])
def test_boxes_that_reach_outside_the_image_learn_only_where_they_take_part(boundary_boxes: bool) -> None:
    model = SSD(replace(SSD300_VGG16, width=1 / 64, class_names=("thing",)), seed=0).train()
    recipe = replace(CAFFE, boundary_boxes=boundary_boxes, iou_threshold=0.3, negative_ratio=1e6)
    optimizer = build_optimizer(model, recipe, model.backbone)
    optimizer.learning_rate = 1e-3
    batch = Batch(
        torch.full((2, 3, 300, 300), 90, dtype=torch.uint8),
        torch.tensor([[0.02, 0.02, 0.98, 0.98]]).expand(2, 1, 4),
        torch.ones(2, 1, dtype=torch.int64),
        ("a", "b"),
    )
    losses = TrainStep(model, optimizer, recipe)([batch], step=0)
    assert losses.matched > 0
    # Of the last map's one cell the squares of 264 and 288 pixels lie inside; those of ratio 2 and 1/2 do not.
    last = model.heads.confidence["conv11_2"].bias.view(4, 2)  # biases start at 0 and do not decay
    assert bool(last[:2].any())
    assert bool(last[2:].any()) == boundary_boxes
