"""Starting values of all layers, from one seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from singleshot.models.layers import L2Norm

if TYPE_CHECKING:
    from singleshot.models.ssd import SSD

LITE_DEVIATION = 0.03  # SSDLite's new layers, as TensorFlow's Object Detection and torchvision start them


@torch.no_grad()
def initialise(model: SSD, seed: int, *, object_probability: float | None = None) -> None:
    """Set all weights: Xavier by fan-in, biases 0, L2 scales 20 (REFERENCE: Caffe's `xavier` and `constant` fillers).

    W ~ U(-sqrt(3 / fan_in), sqrt(3 / fan_in)), fan_in = filter values (Caffe filler.hpp, XavierFiller). The new layers
    of a separable network (extra maps and heads of SSDLite) are normal with deviation 0.03 instead. A base that has set
    its own weights keeps them.

    Args:
        model: any SSD; its tensors are overwritten.
        seed: the same seed gives the same weights on every machine with this torch.
        object_probability: gives the background a bias such that all foreground classes together start with this
            probability (Lin et al. 2017, section 4.1, for a softmax). None: biases 0, as Caffe.
    """
    generator = torch.Generator().manual_seed(seed)
    new = [part for part in (model.extras, model.fusion, model.heads) if part is not None]
    lite = {id(m) for part in new for m in part.modules()} if model.spec.separable else set()
    done = set(model.backbone.modules()) if model.backbone.HAS_WEIGHTS else set()
    for module in model.modules():
        if module in done:
            continue
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            values = torch.empty(module.weight.shape)
            if id(module) in lite:
                values.normal_(0.0, LITE_DEVIATION, generator=generator)
            else:
                taps = module.weight[0].numel() if isinstance(module, nn.Conv2d) else module.in_channels
                bound = math.sqrt(3 / taps)  # a deconvolution's kernel is its stride: a pixel sees one tap a channel
                values.uniform_(-bound, bound, generator=generator)
            module.weight.copy_(values)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, L2Norm):
            module.scale.fill_(module.start)
    if object_probability is not None:
        favour_background(model, object_probability)


@torch.no_grad()
def favour_background(model: SSD, object_probability: float) -> None:
    """Where all other scores are 0, the background has e^b / (e^b + L) = 1 - p: b = log(L (1 - p) / p)."""
    count = model.spec.num_classes
    bias = math.log((count - 1) * (1 - object_probability) / object_probability)
    for module in model.heads.confidence.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias[::count] = bias
