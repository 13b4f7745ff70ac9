"""The loss: hand-checked terms, options, edge cases, and a nested-loop reference; then hard negative mining."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.errors import RequestError, UnknownNameError
from singleshot.ssd.coder import decode
from singleshot.ssd.loss import (
    GREATEST_LOSS,
    LossSettings,
    focal_loss,
    giou_loss,
    hard_negatives,
    hardest,
    multibox_loss,
    softmax_loss,
)
from singleshot.ssd.tensors import Predictions, Targets
from singleshot.train.initial import initial_network
from singleshot.variants import SSDLITE320_MOBILENETV2


def targets_of(rows: list, ious: list | None = None, offsets: torch.Tensor | None = None) -> Targets:
    classes = torch.tensor(rows, dtype=torch.int64)
    return Targets(
        torch.zeros(*classes.shape, 4) if offsets is None else offsets,
        classes,
        (classes > 0).float() if ious is None else torch.tensor(ious),
    )


def random_case(seed: int, batch: int = 3, count: int = 25, classes: int = 4) -> tuple[Predictions, Targets]:
    random = torch.Generator().manual_seed(seed)
    learnt = torch.randint(1, classes, (batch, count), generator=random)
    learnt *= torch.rand(batch, count, generator=random) < 0.2
    ious = torch.rand(batch, count, generator=random)
    predictions = Predictions(
        (3 * torch.randn(batch, count, 4, generator=random)).requires_grad_(),
        (2 * torch.randn(batch, count, classes, generator=random)).requires_grad_(),
    )
    offsets = torch.randn(batch, count, 4, generator=random)
    return predictions, Targets(offsets, learnt, ious)


def slow_loss(predictions: Predictions, targets: Targets, *, ratio: float, alpha: float) -> float:
    """Eq. 1-3 in nested loops and double precision."""
    location = confidence = 0.0
    matched = 0
    for b in range(len(targets.classes)):
        probabilities = predictions.logits[b].detach().double().softmax(dim=1)
        positives = [k for k, cls in enumerate(targets.classes[b].tolist()) if cls]
        rest = [k for k, cls in enumerate(targets.classes[b].tolist()) if not cls and targets.ious[b, k] < 0.5]
        rest.sort(key=lambda k, p=probabilities: float(p[k, 0]))
        for k in positives:
            for m in range(4):
                x = abs(float(predictions.offsets.detach()[b, k, m]) - float(targets.offsets[b, k, m]))
                location += x * x / 2 if x < 1 else x - 0.5
            confidence -= math.log(float(probabilities[k, targets.classes[b, k]]))
        for k in rest[: int(ratio * len(positives))]:
            confidence -= math.log(float(probabilities[k, 0]))
        matched += len(positives)
    return (confidence + alpha * location) / max(1, matched)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 2.5, 3.0, 100.0]), st.sampled_from([0.0, 1.0, 2.0]))
def test_equals_the_nested_loops(seed: int, ratio: float, alpha: float) -> None:
    predictions, targets = random_case(seed)
    loss = multibox_loss(predictions, targets, LossSettings(negative_ratio=ratio, alpha=alpha))
    # float32 sums of at most 300 terms: 1e-5 relative
    assert loss.total.item() == pytest.approx(slow_loss(predictions, targets, ratio=ratio, alpha=alpha), rel=1e-5)
    assert loss.total.item() == pytest.approx(float(loss.confidence + alpha * loss.location))


def test_by_hand() -> None:
    offsets = torch.tensor([[[0.5, 2.0, 0, 0], [9, 9, 9, 9], [9, 9, 9, 9]]])
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(4), 0], [math.log(9), 0]]])
    loss = multibox_loss(Predictions(offsets, logits), targets_of([[1, 0, 0]]), LossSettings(negative_ratio=1))
    assert float(loss.location) == pytest.approx(0.125 + 1.5)
    assert float(loss.confidence) == pytest.approx(-math.log(3 / 4) - math.log(4 / 5))
    assert loss.negatives.tolist() == [[False, True, False]]
    assert (int(loss.num_matched), float(loss.normalizer)) == (1, 1.0)


@pytest.mark.parametrize("count", [0, 6])
def test_without_matched_boxes_loss_and_gradients_are_zero(count: int) -> None:
    offsets, logits = torch.randn(2, count, 4, requires_grad=True), torch.randn(2, count, 3, requires_grad=True)
    loss = multibox_loss(Predictions(offsets, logits), targets_of([[0] * count] * 2))
    loss.total.backward()
    assert loss.total.item() == 0
    assert not offsets.grad.any()
    assert not logits.grad.any()


def test_an_empty_image_teaches_nothing_unless_a_minimum_is_asked() -> None:
    logits = torch.zeros(2, 4, 3, requires_grad=True)
    targets = targets_of([[0] * 4, [1, 0, 0, 0]])
    multibox_loss(Predictions(torch.zeros(2, 4, 4), logits), targets).total.backward()
    assert not logits.grad[0].any()
    assert logits.grad[1].any()
    loss = multibox_loss(Predictions(torch.zeros(2, 4, 4), logits), targets, LossSettings(minimum_negatives=2))
    assert loss.negatives.sum(dim=1).tolist() == [2, 3]


@pytest.mark.parametrize(("name", "divisor"), [("valid", 2), ("batch_size", 3), ("full", 3 * 5), ("none", 1)])
def test_normalizations(name: str, divisor: int) -> None:
    targets = targets_of([[0] * 5, [1, 0, 0, 0, 0], [0, 2, 0, 0, 0]])
    predictions = Predictions(torch.ones(3, 5, 4), torch.zeros(3, 5, 3))
    loss = multibox_loss(predictions, targets, LossSettings(normalization=name))
    assert float(loss.normalizer) == divisor
    assert float(loss.location) == pytest.approx(2 * 4 * 0.5 / divisor)
    assert float(loss.confidence) == pytest.approx((2 + 6) * math.log(3) / divisor)


def test_without_mining_every_box_takes_part() -> None:
    predictions = Predictions(torch.zeros(2, 5, 4), torch.zeros(2, 5, 3))
    loss = multibox_loss(predictions, targets_of([[0] * 5, [1, 0, 0, 0, 0]]), LossSettings(mining="none"))
    assert float(loss.confidence_sum) == pytest.approx(10 * math.log(3))


def test_the_loss_is_limited_and_its_gradient_is_not() -> None:
    logits = torch.tensor([[1000.0, 0.0], [80.0, 0.0]], requires_grad=True)
    losses = softmax_loss(logits, torch.tensor([1, 1]))
    assert losses.tolist() == pytest.approx([GREATEST_LOSS, 80])
    assert pytest.approx(87.3365, abs=1e-4) == GREATEST_LOSS
    losses.sum().backward()
    assert logits.grad.tolist() == [[1, -1], [1, -1]]


@pytest.mark.parametrize("autocast", [False, True])
def test_the_loss_is_float32_whatever_the_network_computes_in(autocast: bool) -> None:
    predictions, targets = random_case(7)
    halves = Predictions(predictions.offsets.bfloat16(), predictions.logits.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = multibox_loss(halves, targets)
    exact = multibox_loss(Predictions(halves.offsets.float(), halves.logits.float()), targets)
    assert loss.total.dtype == loss.confidence.dtype == loss.location.dtype == torch.float32
    assert loss.total.item() == exact.total.item()


def test_values_that_are_not_finite_are_passed_on() -> None:
    predictions, targets = random_case(1)
    broken = predictions.logits.detach().clone()
    broken[targets.matched] = torch.nan
    loss = multibox_loss(Predictions(predictions.offsets, broken), targets)
    assert math.isnan(loss.total.item())
    assert math.isnan(float(loss.confidence))
    assert math.isfinite(float(loss.location))


def test_multiboxs_own_losses() -> None:
    offsets = torch.tensor([[[3.0, 0, 0, 1], [5, 5, 5, 5]]])
    logits = torch.zeros(1, 2, 2)
    loss = multibox_loss(
        Predictions(offsets, logits),
        targets_of([[1, 0]]),
        LossSettings(location_loss="l2", confidence_loss="logistic"),
    )
    assert float(loss.location) == pytest.approx((9 + 1) / 2)
    assert float(loss.confidence) == pytest.approx(4 * math.log(2))


@pytest.mark.parametrize("option", ["normalization", "mining", "location_loss", "confidence_loss"])
def test_unknown_options_are_named(option: str) -> None:
    with pytest.raises(UnknownNameError, match="hardest"):
        LossSettings(**{option: "hardest"})


def test_giou_is_that_of_the_decoded_boxes_whatever_default_box_they_belong_to() -> None:
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(50, 2, 2, generator=generator).sort(dim=1).values.flatten(1)
    offsets = torch.randn(2, 50, 4, generator=generator, dtype=torch.float64)
    variances = (0.1, 0.1, 0.2, 0.2)
    boxes = [decode(each, corners.double(), variances) for each in offsets]
    expected = torchvision.ops.generalized_box_iou_loss(*boxes, reduction="sum", eps=0)
    torch.testing.assert_close(giou_loss(*offsets, variances), expected)
    assert float(giou_loss(offsets[0], offsets[0], variances)) == pytest.approx(0, abs=1e-9)


def test_the_focal_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]]).log_softmax(dim=1)
    classes = torch.tensor([1, 0])
    sure = math.exp(2) / (1 + math.exp(2))
    expected = [-0.25 * 0.25 * math.log(0.5), -0.75 * (1 - sure) ** 2 * math.log(sure)]
    assert focal_loss(logits, classes).tolist() == pytest.approx(expected, rel=1e-5)
    plain = focal_loss(logits, classes, gamma=0, alpha=0.5)
    assert plain.tolist() == pytest.approx((0.5 * softmax_loss(logits, classes)).tolist(), rel=1e-5)


def test_every_box_takes_part_in_the_focal_loss() -> None:
    predictions, targets = random_case(0)
    loss = multibox_loss(predictions, targets, LossSettings(confidence_loss="focal", mining="none"))
    losses = focal_loss(predictions.logits.flatten(0, 1), targets.classes.flatten())
    torch.testing.assert_close(loss.confidence, losses.sum() / targets.matched.sum())


def test_smoothed_labels_give_every_class_its_share() -> None:
    logits, classes = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([0])
    target = torch.tensor([[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]])
    expected = -(target * logits.log_softmax(1)).sum()
    assert float(softmax_loss(logits, classes, smoothing=0.1)) == pytest.approx(float(expected))
    predictions = Predictions(torch.zeros(1, 1, 4), logits[None])
    loss = multibox_loss(predictions, targets_of([[0]]), LossSettings(label_smoothing=0.1, mining="none"))
    assert float(loss.confidence) == pytest.approx(float(expected))
    with pytest.raises(RequestError, match="label_smoothing"):
        LossSettings(label_smoothing=0.1, confidence_loss="logistic")


def test_fresh_heads_of_a_focal_run_hardly_see_objects() -> None:
    spec = replace(SSDLITE320_MOBILENETV2, class_names=("a", "b"), width=0.25)
    network = initial_network(spec, None, seed=0, object_probability=0.01).network.eval()
    with torch.inference_mode():
        scores = network(torch.zeros(1, 3, 320, 320)).logits.softmax(dim=-1)
    assert float(1 - scores[..., 0].mean()) == pytest.approx(0.01, abs=0.005)


def mined(losses: list, matched: list, ious: list | None = None, **options) -> list[int]:
    negatives = hard_negatives(
        torch.tensor([losses], dtype=torch.float32),
        torch.tensor([matched], dtype=torch.bool),
        torch.tensor([ious or [0.0] * len(losses)]),
        **options,
    )
    return negatives[0].nonzero()[:, 0].tolist()


def test_three_negatives_a_positive_the_hardest_first() -> None:
    assert mined([9, 1, 5, 4, 3, 2], [1, 0, 0, 0, 0, 0]) == [2, 3, 4]


def test_the_count_is_cut_to_a_whole_number() -> None:
    assert mined([0, 1, 2, 3, 4, 5], [1, 0, 0, 0, 0, 0], negative_ratio=1.9) == [5]


def test_boxes_that_reach_the_negative_iou_threshold_are_left_out() -> None:
    assert mined([0, 9, 8, 7], [1, 0, 0, 0], [1, 0.5, 0.4999, 0]) == [2, 3]


def test_equal_losses_give_the_lowest_boxes() -> None:
    assert mined([1] * 40, [0] * 39 + [1]) == [0, 1, 2]


def test_each_image_for_itself_and_an_image_without_positives_gives_none() -> None:
    losses = torch.tensor([[9.0, 9, 9, 9], [1, 2, 3, 4]])
    matched = torch.tensor([[False] * 4, [True, False, False, False]])
    negatives = hard_negatives(losses, matched, torch.zeros(2, 4), negative_ratio=2)
    assert negatives.tolist() == [[False] * 4, [False, False, True, True]]


def test_a_minimum_also_takes_from_images_without_positives() -> None:
    assert mined([1, 2, 3], [0, 0, 0], minimum_negatives=2) == [1, 2]
    assert mined([1, 2, 3], [0, 0, 0], minimum_negatives=9) == [0, 1, 2]
    assert mined([9, 1, 2, 3, 4, 5], [1, 0, 0, 0, 0, 0], minimum_negatives=2) == [3, 4, 5]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_hardest_equals_the_sorted_loop(data: st.DataObject) -> None:
    batch, count = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 20))
    rows = st.lists(st.integers(0, 4), min_size=count, max_size=count)
    losses = [data.draw(rows) for _ in range(batch)]
    eligible = [[value > 0 for value in data.draw(rows)] for _ in range(batch)]
    counts = [data.draw(st.integers(0, count + 2)) for _ in range(batch)]
    negatives = hardest(torch.tensor(losses).float(), torch.tensor(eligible), torch.tensor(counts))
    for image in range(batch):
        order = sorted((k for k in range(count) if eligible[image][k]), key=lambda k: (-losses[image][k], k))
        assert negatives[image].nonzero()[:, 0].tolist() == sorted(order[: counts[image]])
