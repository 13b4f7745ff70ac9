from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from singleshot.errors import RequestError, UnknownNameError
from singleshot.models.layers import L2Norm
from singleshot.train.optimizer import CaffeSGD, clip_gradients, learning_rate, parameter_groups
from singleshot.train.recipe import CAFFE, recipe_for
from singleshot.variants import SSD300_VGG16


def test_one_update_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = CaffeSGD(
        [{"params": [weight], "rate_factor": 2.0, "weight_decay": 0.5}], learning_rate=0.1, momentum=0.9
    )
    weight.grad = torch.tensor([1.0])
    optimizer.step()  # g = 1 + 0.5 * 2 = 2; v = 0.1 * 2 * 2 = 0.4
    assert weight.item() == pytest.approx(1.6)
    weight.grad = torch.tensor([0.0])
    optimizer.learning_rate = 0.01
    optimizer.step()  # g = 0.8; v = 0.9 * 0.4 + 0.01 * 2 * 0.8 = 0.376: the old rate lives on in the velocity
    assert weight.item() == pytest.approx(1.6 - 0.376)


def test_equals_torch_while_the_rate_stays_and_differs_after_a_drop() -> None:
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0, 3.0])) for _ in range(2))
    optimizer = CaffeSGD([{"params": [ours], "rate_factor": 1.0, "weight_decay": 0.01}], learning_rate=0.1)
    other = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.01)
    for step in range(8):
        if step == 5:
            torch.testing.assert_close(ours, theirs)
            optimizer.learning_rate = 0.01
            other.param_groups[0]["lr"] = 0.01
        ours.grad = torch.sin(ours.detach())
        theirs.grad = torch.sin(theirs.detach())
        optimizer.step()
        other.step()
    assert not torch.allclose(ours, theirs)


def test_parameters_without_gradient_are_left_alone() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = CaffeSGD([{"params": [used, unused], "rate_factor": 1.0, "weight_decay": 0.1}], learning_rate=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused.detach(), torch.ones(2))
    assert not torch.equal(used.detach(), torch.ones(2))


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 1)
        self.norm = L2Norm(4)
        self.batch_norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)


def test_biases_learn_twice_as_fast_undecayed_and_the_l2_scale_is_decayed() -> None:
    model = _Small()
    recipe = replace(CAFFE, backbone_lr_factor=0.1)
    groups = parameter_groups(model, recipe, model.backbone)
    found = {id(p): (round(g["rate_factor"], 9), g["weight_decay"]) for g in groups for p in g["params"]}
    expected = {
        "backbone.weight": (0.1, 5e-4),
        "backbone.bias": (0.2, 0.0),
        "norm.scale": (1.0, 5e-4),
        "batch_norm.weight": (1.0, 0.0),
        "batch_norm.bias": (1.0, 0.0),
        "head.weight": (1.0, 5e-4),
        "head.bias": (2.0, 0.0),
    }
    assert {name: found[id(p)] for name, p in model.named_parameters()} == expected


def test_step_schedule_drops_at_two_thirds_and_five_sixths() -> None:
    rates = [learning_rate(step, 120, CAFFE) for step in range(120)]
    assert rates[79] == pytest.approx(1e-3)
    assert rates[80] == pytest.approx(1e-4)
    assert rates[99] == pytest.approx(1e-4)
    assert rates[100] == pytest.approx(1e-5)


def test_drops_stand_where_the_recipe_says() -> None:
    recipe = replace(CAFFE, lr_milestones=(0.7, 0.9))  # the authors' ssd_coco.py: 280k and 360k of 400k
    rates = {step: learning_rate(step, 400_000, recipe) for step in (279_999, 280_000, 359_999, 360_000)}
    assert list(rates.values()) == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])
    for milestones in ((0.9, 0.7), (0.0,), (1.1,), (float("nan"),)):
        with pytest.raises(RequestError, match="lr_milestones"):
            replace(CAFFE, lr_milestones=milestones)


def test_cosine_warms_up_and_ends_near_zero() -> None:
    recipe = replace(CAFFE, schedule="cosine", warmup_steps=10, learning_rate=1.0)
    assert learning_rate(0, 100, recipe) == pytest.approx(0.1)
    assert learning_rate(50, 100, recipe) == pytest.approx(0.5)
    assert learning_rate(99, 100, recipe) < 0.001


def test_base_and_new_layers_are_clipped_apart() -> None:
    model = nn.ModuleDict({"base": nn.Linear(2, 1, bias=False), "new": nn.Linear(2, 1, bias=False)})
    for name, gradient in (("base", [[30.0, 40.0]]), ("new", [[3.0, 4.0]])):
        model.get_submodule(name).weight.grad = torch.tensor(gradient)
    clip_gradients(model, model["base"], 10.0)
    torch.testing.assert_close(model["base"].weight.grad, torch.tensor([[6.0, 8.0]]))
    torch.testing.assert_close(model["new"].weight.grad, torch.tensor([[3.0, 4.0]]))


def test_wrong_settings_are_refused_in_one_line() -> None:
    with pytest.raises(UnknownNameError, match="did you mean cosine"):
        replace(CAFFE, schedule="cosin")
    with pytest.raises(UnknownNameError, match="did you mean caffe"):
        recipe_for("cafe", SSD300_VGG16)
    with pytest.raises(RequestError, match="cannot be cut into 3"):
        replace(CAFFE, accumulate=3)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(RequestError, match="above 0"):
            replace(CAFFE, learning_rate=rate)
    with pytest.raises(RequestError, match="grad_clip_norm"):
        replace(CAFFE, grad_clip_norm=float("nan"))
