"""Strided depthwise convolution with a fast backward on the CPU.

oneDNN computes the input gradient of a strided depthwise convolution in bf16 by a reference kernel, 10 to 20 times as
slow as its forward kernels. The same gradient is a depthwise convolution of stride 1: of the output gradient, spread
out with zeros between its values, by the mirrored filters. That one is fast (figures: `docs/results.md`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from singleshot.shapes import Float


class FastGradient(nn.Conv2d):
    """A convolution that is computed by `convolve`."""

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The convolution, with the fast gradient where there is one."""
        return convolve(self, x) if _has_slow_gradient(self, x) else super().forward(x)


def with_fast_gradients(network: nn.Module) -> None:
    """Turn every strided depthwise convolution of a network into a `FastGradient`, with the same tensors."""
    for module in network.modules():
        if (
            type(module) is nn.Conv2d
            and module.groups == module.in_channels == module.out_channels > 1
            and max(module.stride) > 1
            and all(len(set(sides)) == 1 for sides in (module.kernel_size, module.stride, module.padding))
        ):
            module.__class__ = FastGradient


def convolve(convolution: nn.Conv2d, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
    """`convolution(x)`, under autocast too; only the gradient may be computed in another way."""
    if _sees_one_pixel(convolution, x):
        middle = slice(int(convolution.padding[0]), int(convolution.padding[0]) + 1)
        return F.conv2d(x, convolution.weight[:, :, middle, middle], convolution.bias, groups=convolution.groups)
    if not _has_slow_gradient(convolution, x):
        return convolution(x)  # type: ignore[no-any-return]
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    weight = convolution.weight.to(kind)
    bias = None if convolution.bias is None else convolution.bias.to(kind)
    stride, padding = convolution.stride[0], int(convolution.padding[0])
    return _StridedDepthwise.apply(x.to(kind), weight, bias, stride, padding)  # type: ignore[no-any-return]


def _has_slow_gradient(convolution: nn.Conv2d, x: Tensor) -> bool:
    """Whether this call is a strided depthwise convolution on the CPU whose gradients are wanted."""
    return (
        convolution.groups == convolution.in_channels == convolution.out_channels > 1
        and max(convolution.stride) > 1
        and set(convolution.dilation) == {1}
        and x.device.type == "cpu"
        and torch.is_grad_enabled()
        and convolution.weight.requires_grad
    )


def _sees_one_pixel(convolution: nn.Conv2d, x: Tensor) -> bool:
    """Whether this is a strided, padded convolution of a single pixel on the CPU, which one filter value meets.

    oneDNN leaves the gradient of the other filter values uninitialised (seen in bf16: values up to 1e36).
    """
    padding, kernel, stride = convolution.padding[0], convolution.kernel_size[0], convolution.stride[0]
    return (
        x.shape[2:] == (1, 1)
        and stride > 1
        and 0 < int(padding) < kernel
        and 1 + 2 * int(padding) - kernel < stride  # gives one pixel
        and x.device.type == "cpu"
        and torch.is_grad_enabled()
        and convolution.weight.requires_grad
    )


class _StridedDepthwise(torch.autograd.Function):
    """`conv2d(groups=channels)` of square filters, equal strides and paddings."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.biased = stride, padding, bias is not None
        return F.conv2d(x, weight, bias, stride=stride, padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (output_gradient,) = gradients
        channels, stride, padding = x.shape[1], ctx.stride, ctx.padding
        input_gradient = (
            _input_gradient(output_gradient, weight, x, stride, padding) if ctx.needs_input_grad[0] else None
        )
        _, weight_gradient, bias_gradient = torch.ops.aten.convolution_backward(
            output_gradient,
            x,
            weight,
            [channels] if ctx.biased else None,
            [stride, stride],
            [padding, padding],
            [1, 1],
            False,
            [0, 0],
            channels,
            [False, True, ctx.biased],
        )
        seen = [_taps_that_see(weight.shape[2], x.shape[d], output_gradient.shape[d], stride, padding) for d in (2, 3)]
        if not (all(seen[0]) and all(seen[1])):
            rows, columns = (torch.tensor(taps, device=x.device) for taps in seen)
            weight_gradient = weight_gradient.where(rows[:, None] & columns, 0)
        return input_gradient, weight_gradient, bias_gradient, None, None


def _taps_that_see(taps: int, size: int, outputs: int, stride: int, padding: int) -> list[bool]:
    """Which filter values along one side ever meet a pixel; the others meet padding only, and their gradient is 0.

    oneDNN leaves that gradient uninitialised (seen in bf16 on maps of 1x1: values up to 1e32, and NaN).
    """
    return [any(0 <= output * stride - padding + tap < size for output in range(outputs)) for tap in range(taps)]


def _input_gradient(output_gradient: Tensor, weight: Tensor, x: Tensor, stride: int, padding: int) -> Tensor:
    """The output gradient with zeros between its values, correlated with the mirrored filters."""
    batch, channels, height, width = x.shape
    reach = weight.shape[2] - 1
    shape = (batch, channels, height + reach, width + reach)
    spread = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last).zero_()
    first = reach - padding
    rows, columns = output_gradient.shape[2:]
    spread[:, :, first : first + stride * rows : stride, first : first + stride * columns : stride] = output_gradient
    return F.conv2d(spread, weight.flip(2, 3), groups=channels)
