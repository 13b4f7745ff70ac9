"""Give a base back the batch normalisation that was folded into its filters.

A folded base trains badly: its filters differ a thousandfold in size, and with them their gradients. Behind a
normalisation a filter's size does not matter. What the normalisation measures on some pictures is divided out and put
into its scale and shift, so that the function stays what it was.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from singleshot.models.layers import ConvBlock, pad_same
from singleshot.models.ssd import SSD

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LEAST_DEVIATION = 0.01
"""Channels that vary less than this are as good as dead: they are not blown up to the size of the others."""


@torch.no_grad()
def unfolded(model: SSD, pictures: Float[Tensor, "B 3 H W"]) -> SSD:
    """A network of the same function on these pictures whose base is batch-normalised, in training mode as in use.

    Args:
        model: its base (a MobileNet) has convolutions with biases.
        pictures: normalised; some dozens of the kind that it will see.
    """
    measured: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def measure(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(block, ConvBlock)
        x, layer = inputs[0], block.convolution
        if block.tensorflow_padding:
            x = pad_same(x, kernel=layer.kernel_size[0], stride=layer.stride[0])
        without_bias = nn.functional.conv2d(
            x, layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups
        )
        variance, mean = torch.var_mean(without_bias, dim=(0, 2, 3), correction=0)
        measured[block] = mean, variance

    blocks = {
        name: block for name, block in model.named_modules() if isinstance(block, ConvBlock) and block.norm is None
    }
    hooks = [block.register_forward_pre_hook(measure) for block in blocks.values()]
    was_training = model.training
    model.eval()(pictures)
    for hook in hooks:
        hook.remove()
    model.train(was_training)

    twin = SSD(replace(model.spec, batch_norm=True))
    twin.load_state_dict(model.state_dict(), strict=False)
    for name, block in blocks.items():
        other = twin.get_submodule(name)
        assert isinstance(other, ConvBlock)
        _set_block(other, block.convolution, *measured[block])
    return twin.to(model.default_boxes.device).train(was_training)


def _set_block(block: ConvBlock, folded: nn.Conv2d, mean: Float[Tensor, " C"], variance: Float[Tensor, " C"]) -> None:
    norm = block.norm
    assert norm is not None
    assert folded.bias is not None
    scale = 1 / variance.sqrt().clip(min=LEAST_DEVIATION)
    block.convolution.weight.copy_(folded.weight * scale.view(-1, 1, 1, 1))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean * scale)
    norm.running_var.copy_(variance * scale**2)
    norm.weight.copy_((norm.running_var + norm.eps).sqrt() / scale)
    norm.bias.copy_(mean + folded.bias)
