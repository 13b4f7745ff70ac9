"""What a network costs by arithmetic: operations, and bytes that have to move."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from singleshot.models.ssd import SSD
from singleshot.spec import ModelSpec


@dataclass(frozen=True)
class Cost:
    """Of one forward of one image, convolutions alone (all else is below a hundredth of the operations).

    Attributes:
        operations: multiplications and additions, two a weight and position.
        depthwise: the share of them in depthwise convolutions, which have no matrix product.
        weights: numbers.
        activations: numbers read and written by the convolutions.
        base_share: of the operations, in the base network.
    """

    operations: int
    depthwise: float
    weights: int
    activations: int
    base_share: float


def cost(spec: ModelSpec) -> Cost:
    """Counted layer by layer at the specification's input size."""
    model = SSD(spec).eval()
    operations: dict[nn.Module, int] = {}
    activations = 0

    def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal activations
        assert isinstance(layer, nn.Conv2d)
        positions = output.shape[2] * output.shape[3]
        operations[layer] = 2 * layer.weight.numel() * positions
        activations += inputs[0].shape[1:].numel() + output.shape[1:].numel()

    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        layer.register_forward_hook(note)
    with torch.no_grad():
        model(torch.zeros(model.backbone.SMALLEST_BATCH, 3, *spec.input_size_hw))
    total = sum(operations.values())
    in_base = sum(operations.get(layer, 0) for layer in model.backbone.modules())
    depthwise = sum(count for layer, count in operations.items() if isinstance(layer, nn.Conv2d) and layer.groups > 1)
    weights = sum(layer.weight.numel() for layer in convolutions)
    return Cost(total, depthwise / total, weights, activations, in_base / total)
