"""The building blocks of all networks: convolution blocks, Caffe's pooling and the L2 normalisation of ParseNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from singleshot.models.depthwise import convolve
from singleshot.shapes import Float

BACKBONE_NORM_EPSILON = 1e-5  # Caffe's BatchNorm and torchvision's MobileNets
LITE_NORM_EPSILON, LITE_NORM_MOMENTUM = 1e-3, 0.03  # SSDLite's new layers, as TensorFlow's Object Detection sets them
L2_NORM_EPSILON = 1e-10  # Caffe normalize_layer.cpp: inside the root
L2_NORM_SCALE = 20.0


class ConvBlock(nn.Module):
    """Convolution, optional batch normalisation, optional activation.

    Without batch normalisation the convolution has a bias.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: side of the filters.
        stride: distance of two filter positions.
        padding: zeros on every side; None keeps the size (of an odd kernel at stride 1).
        dilation: distance of two filter values in pixels (6 in fc6).
        groups: of channels; `inputs` groups are a depthwise convolution.
        activation: `relu`, `relu6`, `hardswish` or `none`.
        norm_epsilon: epsilon of the batch normalisation; None for none.
        norm_momentum: weight of the current batch in the running statistics.
        tensorflow_padding: pad as TensorFlow's SAME does, see `same_padding`; `padding` is not used then.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        activation: str = "relu",
        norm_epsilon: float | None = None,
        norm_momentum: float = 0.1,
        tensorflow_padding: bool = False,
    ) -> None:
        super().__init__()
        if padding is None:
            padding = dilation * (kernel - 1) // 2
        # At stride 1 SAME pads as usual; only a strided convolution has to be padded by hand.
        self.tensorflow_padding = tensorflow_padding and stride > 1
        self.convolution = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=0 if self.tensorflow_padding else padding,
            dilation=dilation,
            groups=groups,
            bias=norm_epsilon is None,
        )
        self.norm = None if norm_epsilon is None else nn.BatchNorm2d(outputs, eps=norm_epsilon, momentum=norm_momentum)
        self.activation = activation

    def forward(self, x: Float[Tensor, "B inputs H W"]) -> Float[Tensor, "B outputs h w"]:
        """Convolve, normalise, activate."""
        if self.tensorflow_padding:
            x = pad_same(x, kernel=self.convolution.kernel_size[0], stride=self.convolution.stride[0])
        x = convolve(self.convolution, x)
        if self.norm is not None:
            x = self.norm(x)
        if self.activation == "relu":
            return F.relu(x, inplace=True)
        if self.activation == "relu6":
            return F.relu6(x, inplace=True)
        if self.activation == "hardswish":
            return F.hardswish(x)
        return x


def lite_block(
    inputs: int,
    outputs: int,
    *,
    kernel: int,
    stride: int = 1,
    padding: int,
    groups: int = 1,
    activation: str,
    norm: bool = True,
    tensorflow_padding: bool = False,
) -> ConvBlock:
    """A convolution of SSDLite's extra maps and heads; without `norm` it has a bias. See `ConvBlock`."""
    return ConvBlock(
        inputs,
        outputs,
        kernel=kernel,
        stride=stride,
        padding=padding,
        groups=groups,
        activation=activation,
        norm_epsilon=LITE_NORM_EPSILON if norm else None,
        norm_momentum=LITE_NORM_MOMENTUM,
        tensorflow_padding=tensorflow_padding,
    )


class ScaleAndShift(nn.Module):
    """x * weight + bias, one of each a channel: batch normalisation whose statistics are folded into both.

    Attributes:
        weight: starts at 1.
        bias: starts at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Scale and shift every channel."""
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def same_padding(length: int, *, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side of this length, as TensorFlow's SAME pads: the odd zero is at the end.

    >>> same_padding(224, kernel=3, stride=2), same_padding(15, kernel=3, stride=2)
    ((0, 1), (1, 1))
    """
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def pad_same(x: Float[Tensor, "B C H W"], *, kernel: int, stride: int) -> Float[Tensor, "B C h w"]:
    """Zero-pad a map as TensorFlow's SAME does before a convolution of this kernel and stride."""
    top, bottom = same_padding(x.shape[2], kernel=kernel, stride=stride)
    left, right = same_padding(x.shape[3], kernel=kernel, stride=stride)
    return F.pad(x, (left, right, top, bottom))


class MaxPool(nn.Module):
    """Max pooling whose output size is rounded up (Caffe pooling_layer.cpp): 75 -> 38."""

    def __init__(self, kernel: int = 2, *, stride: int = 2, padding: int = 0) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """The largest value under each window."""
        return F.max_pool2d(x, self.kernel, self.stride, self.padding, ceil_mode=True)


class L2Norm(nn.Module):
    """x / sqrt(sum over channels of x^2 + 1e-10) * scale, one learnt scale a channel (ParseNet; Caffe Normalize).

    Computed in float32, whatever the input's type: sums of 512 squares do not fit half precision.

    Attributes:
        scale: starts at `start`, 20 in SSD.
        caffe_gradient: use Caffe's gradient, see `CaffeNormalise`, not the true one. They are equal while all scales
            are.
    """

    def __init__(self, channels: int, *, caffe_gradient: bool = True, start: float = L2_NORM_SCALE) -> None:
        super().__init__()
        self.start = start
        self.scale = nn.Parameter(torch.full((channels,), start))
        self.caffe_gradient = caffe_gradient

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Normalise every position of the map."""
        if self.caffe_gradient and torch.is_grad_enabled():
            normalised: Tensor = CaffeNormalise.apply(x.float(), self.scale)
        else:
            normalised = x.float() * inverse_norm(x.float()) * self.scale.view(1, -1, 1, 1)
        return normalised.to(x.dtype)


def inverse_norm(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 H W"]:
    """1 / sqrt(sum over channels of x^2 + 1e-10)."""
    return torch.rsqrt(x.square().sum(dim=1, keepdim=True) + L2_NORM_EPSILON)


class CaffeNormalise(torch.autograd.Function):
    """L2 normalisation with the gradient that Caffe propagates (normalize_layer.cpp, Backward_cpu).

    With n the norm and g the gradient of the output, Caffe gives s_c (g_c - x_c sum_k(x_k g_k) / n^2) / n: the scale s
    comes last. The true gradient has it inside the sum: (s_c g_c - x_c sum_k(x_k s_k g_k) / n^2) / n.
    """

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "B C H W"], scale: Float[Tensor, " C"]) -> Float[Tensor, "B C H W"]:
        """As `L2Norm`, on float32."""
        inverse = inverse_norm(x)
        ctx.save_for_backward(x, scale, inverse)
        return x * inverse * scale.view(1, -1, 1, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x (Caffe's) and of the scales."""
        x, scale, inverse = ctx.saved_tensors
        gradient = gradients[0]
        unit = x * inverse
        along = (unit * gradient).sum(dim=1, keepdim=True)
        of_x = (gradient - unit * along) * inverse * scale.view(1, -1, 1, 1)
        return of_x, (unit * gradient).sum(dim=(0, 2, 3))


def scaled(channels: int, width: float) -> int:
    """Channels of a narrowed or widened network, at least 1: 64 at width 1/16 are 4."""
    return max(1, int(channels * width + 1e-6))  # the sum guards against 63.9999 from a width like 1/12
