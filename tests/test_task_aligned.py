"""Task-aligned assignment and the loss of quality-aware scores: laws, nested-loop references, hand-checked terms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from singleshot.boxes import pairwise_iou
from singleshot.ssd.coder import decode
from singleshot.ssd.default_boxes import cells_wh
from singleshot.ssd.quality_loss import quality_loss, varifocal_loss
from singleshot.ssd.task_aligned import ALPHA, BEST, BETA, assign_task_aligned
from singleshot.ssd.tensors import Predictions, Targets

VARIANCES = (0.1, 0.1, 0.2, 0.2)
GRID = 8


def squares(side: float = 0.25) -> torch.Tensor:
    """A square around the centre of each cell of a grid."""
    y, x = torch.meshgrid(*[(torch.arange(GRID) + 0.5) / GRID] * 2, indexing="ij")
    centres = torch.stack([x, y], dim=-1).reshape(-1, 2)
    return torch.cat([centres - side / 2, centres + side / 2], dim=1)


CELLS = torch.as_tensor(cells_wh([(GRID, GRID)], [1]))


def random_case(seed: int, *, images: int = 2, objects: int = 4, classes: int = 3) -> tuple[Predictions, Targets]:
    random = torch.Generator().manual_seed(seed)
    predictions = Predictions(
        torch.randn(images, GRID**2, 4, generator=random), torch.randn(images, GRID**2, classes + 1, generator=random)
    )
    corners = torch.rand(images, objects, 4, generator=random)
    boxes = torch.cat(
        [torch.minimum(corners[..., :2], corners[..., 2:]), torch.maximum(corners[..., :2], corners[..., 2:])], -1
    )
    kinds = torch.randint(0, classes + 1, (images, objects), generator=random)
    return predictions, (boxes, kinds)  # type: ignore[return-value]


def assigned(predictions: Predictions, boxes: torch.Tensor, kinds: torch.Tensor) -> Targets:
    return assign_task_aligned(squares(), CELLS, predictions, boxes, kinds, VARIANCES)


def slow_owners(predictions: Predictions, boxes: torch.Tensor, kinds: torch.Tensor, image: int) -> dict[int, int]:
    """Which ground-truth box each default box of an image learns, one pair at a time."""
    predicted = decode(predictions.offsets[image], squares(), VARIANCES)
    good: dict[tuple[int, int], float] = {}
    ious = pairwise_iou(boxes[image], predicted)
    for row, (box, kind) in enumerate(zip(boxes[image].tolist(), kinds[image].tolist(), strict=True)):
        if not kind:
            continue
        values = {}
        for place, square in enumerate(squares().tolist()):
            x, y = (square[0] + square[2]) / 2, (square[1] + square[3]) / 2
            inside = box[0] < x < box[2] and box[1] < y < box[3]
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            holds = max(abs(middle[0] - x), abs(middle[1] - y)) <= 0.5 / GRID
            score = 1 / (1 + math.exp(-predictions.logits[image, place, kind].item()))
            if (inside or holds) and ious[row, place] > 0:
                values[place] = score**ALPHA * ious[row, place].item() ** BETA
        for place in sorted(values, key=values.__getitem__, reverse=True)[:BEST]:
            good[row, place] = values[place]
    owners: dict[int, int] = {}
    for row, place in good:
        if place not in owners or ious[row, place] > ious[owners[place], place]:
            owners[place] = row
    return owners


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_equals_a_slow_reference(seed: int) -> None:
    predictions, (boxes, kinds) = random_case(seed)  # type: ignore[misc]
    targets = assigned(predictions, boxes, kinds)
    for image in range(len(kinds)):
        owners = slow_owners(predictions, boxes, kinds, image)
        assert {place: kinds[image, row].item() for place, row in owners.items()} == {
            place: kind for place, kind in enumerate(targets.classes[image].tolist()) if kind
        }
        for place, row in owners.items():
            decoded = decode(targets.offsets[image, place], squares()[place], VARIANCES)
            torch.testing.assert_close(decoded, boxes[image, row], atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_the_best_box_of_an_object_has_its_iou_as_quality(seed: int) -> None:
    predictions, (boxes, kinds) = random_case(seed)  # type: ignore[misc]
    targets = assigned(predictions, boxes, kinds)
    assert targets.quality is not None
    assert ((targets.quality > 0) == targets.matched).all()
    assert targets.quality.max() <= 1
    predicted = decode(predictions.offsets[0], squares(), VARIANCES)
    for row, owner in enumerate(boxes[0]):
        own = [place for place, best in slow_owners(predictions, boxes, kinds, 0).items() if best == row]
        if own:
            ious = pairwise_iou(owner[None], predicted[own])[0]
            assert targets.quality[0, own].max().item() == pytest.approx(ious.max().item(), abs=1e-5)


def test_a_tiny_object_between_the_centres_is_learnt_by_its_cell() -> None:
    predictions = Predictions(torch.zeros(1, GRID**2, 4), torch.zeros(1, GRID**2, 2))
    tiny = torch.tensor([[[0.51, 0.51, 0.52, 0.52]]])
    targets = assigned(predictions, tiny, torch.tensor([[1]]))
    assert targets.matched.nonzero().tolist() == [[0, 4 * GRID + 4]]


def test_padding_and_empty_images_change_nothing() -> None:
    predictions, (boxes, kinds) = random_case(3)  # type: ignore[misc]
    padded = torch.cat([boxes, torch.zeros(2, 3, 4)], dim=1), torch.cat([kinds, torch.zeros(2, 3, dtype=torch.long)], 1)
    for one, other in zip(
        vars(assigned(predictions, boxes, kinds)).values(), vars(assigned(predictions, *padded)).values(), strict=True
    ):
        assert torch.equal(one, other)
    empty = assigned(predictions, boxes, torch.zeros_like(kinds))
    assert not empty.matched.any()
    assert not quality_loss(predictions, empty, variances=VARIANCES).location.item()


def test_of_equal_predictions_the_higher_score_learns() -> None:
    logits = torch.zeros(1, GRID**2, 2)
    logits[0, :20, 1] = -9
    everywhere = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    targets = assigned(Predictions(torch.zeros(1, GRID**2, 4), logits), everywhere, torch.tensor([[1]]))
    assert not targets.matched[0, :20].any()
    assert targets.matched.sum() == BEST


def test_the_varifocal_loss_by_hand() -> None:
    wrong = torch.tensor([2.0])
    assert varifocal_loss(wrong, torch.tensor([0.0])).item() == pytest.approx(
        0.75 * torch.sigmoid(wrong).item() ** 2 * math.log1p(math.exp(2.0)), rel=1e-5
    )
    entropy = -(0.5 * math.log(0.8) + 0.5 * math.log(0.2))
    assert varifocal_loss(torch.tensor([math.log(4.0)]), torch.tensor([0.5])).item() == pytest.approx(entropy / 2)


def test_a_box_of_higher_quality_weighs_more_in_the_location_loss() -> None:
    offsets = torch.zeros(1, 2, 4)
    targets = Targets(
        torch.tensor([[[5.0, 0, 0, 0], [0, 0, 0, 0]]]),
        torch.tensor([[1, 1]]),
        torch.ones(1, 2),
        torch.tensor([[0.5, 1.0]]),
    )
    loss = quality_loss(Predictions(offsets, torch.zeros(1, 2, 2)), targets, variances=VARIANCES, alpha=2.0)
    shifted = 1 - 1 / 3 + 0  # half a side apart: IoU 1/3, and the enclosing box is their union
    assert loss.location_sum.item() == pytest.approx(0.5 * shifted, rel=1e-5)
    assert loss.normalizer.item() == 1.5
    assert loss.total.item() == pytest.approx(loss.confidence.item() + 2 * loss.location.item(), rel=1e-6)
