"""One step of training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from singleshot.models.ssd import SSD
from singleshot.ssd.tensors import Batch, Predictions, Targets
from singleshot.train.optimizer import build_optimizer
from singleshot.train.recipe import CAFFE
from singleshot.train.step import LossTerms, StepLosses, TrainStep
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


def batch_of(start: int, stop: int) -> Batch:
    """Of eight images with one object each; every slice has the same number of matched boxes an image."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 300, 300), dtype=torch.uint8, generator=generator)
    boxes = torch.tensor([[[0.1, 0.1, 0.6, 0.6]]]).expand(8, 1, 4)
    part = slice(start, stop)
    return Batch(images[part], boxes[part], torch.ones(8, 1, dtype=torch.int64)[part], tuple("abcdefgh"[part]))


def weights_after_step(batches: list[Batch]) -> tuple[dict[str, torch.Tensor], StepLosses]:
    """Batch normalisation, whose statistics are each batch's own, has no part in this network."""
    model = SSD(replace(SSD300_VGG16, width=1 / 64, class_names=("thing",)), seed=0).train()
    optimizer = build_optimizer(model, CAFFE, model.backbone)
    optimizer.learning_rate = 0.1
    losses = TrainStep(model, optimizer, CAFFE)(batches, step=0)
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}, losses


def test_accumulated_gradients_are_averaged() -> None:
    """Two batches of two change the weights as one of four does: the mean, not the sum, of the gradients."""
    start = SSD(replace(SSD300_VGG16, width=1 / 64, class_names=("thing",)), seed=0).state_dict()
    whole, whole_losses = weights_after_step([batch_of(0, 4)])
    parts, parts_losses = weights_after_step([batch_of(0, 2), batch_of(2, 4)])
    assert whole_losses.matched == parts_losses.matched > 0
    assert parts_losses.loss == pytest.approx(whole_losses.loss, rel=1e-5)
    moved = max(float((whole[name] - start[name]).abs().max()) for name in start)
    assert moved > 1e-3
    for name, expected in whole.items():
        torch.testing.assert_close(parts[name], expected, rtol=1e-3, atol=1e-4 * moved)


def test_a_loss_of_ones_own_is_what_is_learnt() -> None:
    model = SSD(replace(SSD300_VGG16, width=1 / 64, class_names=("thing",)), seed=0).train()
    optimizer = build_optimizer(model, CAFFE, model.backbone)

    def offsets_only(predictions: Predictions, targets: Targets) -> LossTerms:
        location = predictions.offsets.square().mean()
        return LossTerms(location, location, torch.zeros(()), targets.matched.sum())

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    TrainStep(model, optimizer, replace(CAFFE, weight_decay=0), loss=offsets_only)([batch_of(0, 2)], step=0)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("location" in name for name in changed)
    assert not any("confidence" in name for name in changed)
