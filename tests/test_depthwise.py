from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from singleshot.models.depthwise import convolve
from singleshot.models.layers import ConvBlock


def gradients(convolve: object, convolution: nn.Conv2d, x: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    convolution.zero_grad()
    y = convolve(x)  # type: ignore[operator]
    (y.float() * weights).sum().backward()
    parameters = [p.grad for p in convolution.parameters() if p.grad is not None]
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.clone() for p in parameters)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [((9, 9), 3, 2, 0), ((9, 12), 3, 2, 1), ((8, 7), 3, 2, 0), ((8, 8), 5, 3, 2), ((3, 3), 3, 2, 1)],
)
def test_equals_torchs_own(size: tuple[int, int], kernel: int, stride: int, padding: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv2d(4, 4, kernel, stride=stride, padding=padding, groups=4, bias=bias).double()
    x = torch.randn(2, 4, *size, generator=generator, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        weights = torch.randn(convolution(x).shape, generator=generator)
    expected = gradients(convolution, convolution, x, weights)
    computed = gradients(lambda x: convolve(convolution, x), convolution, x, weights)
    assert len(computed) == len(expected) == 3 + bias
    for computed_gradient, reference in zip(computed, expected, strict=True):
        torch.testing.assert_close(computed_gradient, reference)


def test_under_autocast_the_gradients_are_those_of_bf16() -> None:
    convolution = nn.Conv2d(8, 8, 3, stride=2, groups=8)
    x = torch.randn(2, 8, 17, 17).contiguous(memory_format=torch.channels_last)
    weights = torch.randn(2, 8, 8, 8)

    def both(convolve: object) -> list[torch.Tensor]:
        def cast(x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y: torch.Tensor = convolve(x)  # type: ignore[operator]
            return y

        return gradients(cast, convolution, x, weights)

    computed, expected = both(lambda x: convolve(convolution, x)), both(convolution)
    assert computed[0].dtype == torch.bfloat16
    for computed_gradient, reference in zip(computed, expected, strict=True):
        assert computed_gradient.dtype == reference.dtype
        torch.testing.assert_close(computed_gradient, reference, rtol=2e-2, atol=2e-2)


def takes_the_detour(convolution: nn.Conv2d | ConvBlock) -> bool:
    x = torch.zeros(1, 4, 8, 8)
    y = convolve(convolution, x) if isinstance(convolution, nn.Conv2d) else convolution(x)
    return type(y.grad_fn).__name__ == "_StridedDepthwiseBackward"


def test_only_training_strided_depthwise_convolutions_take_the_detour() -> None:
    depthwise = nn.Conv2d(4, 4, 3, stride=2, groups=4)
    assert takes_the_detour(depthwise)
    assert takes_the_detour(ConvBlock(4, 4, stride=2, groups=4, activation="none"))
    assert not takes_the_detour(nn.Conv2d(4, 4, 3, groups=4))
    assert not takes_the_detour(nn.Conv2d(4, 4, 3, stride=2))
    assert not takes_the_detour(nn.Conv2d(4, 8, 3, stride=2, groups=4))
    assert not takes_the_detour(depthwise.requires_grad_(requires_grad=False))
    with torch.no_grad():
        assert not takes_the_detour(nn.Conv2d(4, 4, 3, stride=2, groups=4))


def test_taps_that_only_meet_padding_get_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
    real = torch.ops.aten.convolution_backward

    def careless(*arguments: Any) -> tuple[Tensor, ...]:
        of_input, of_weight, of_bias = real(*arguments)
        of_weight = of_weight.clone()
        of_weight[:, :, 0] = of_weight[:, :, :, 0] = torch.nan  # what memory may hold there
        return of_input, of_weight, of_bias

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", careless)
    x = torch.randn(2, 4, 2, 1)  # of the rows two are pixels, of the columns one
    convolve(convolution, x).sum().backward()
    assert convolution.weight.grad is not None
    assert convolution.weight.grad[:, 0, 1:, 1].isfinite().all()
    assert (convolution.weight.grad[:, 0, 0] == 0).all()
    assert (convolution.weight.grad[:, 0, :, [0, 2]] == 0).all()


@pytest.mark.parametrize("groups", [1, 64])
def test_one_pixel_teaches_the_one_tap_that_meets_it(groups: int) -> None:
    """oneDNN leaves garbage in the others: here the memory that it takes has held NaN."""
    block = ConvBlock(64, 128 if groups == 1 else 64, stride=2, groups=groups, norm_epsilon=1e-5)
    x = torch.randn(4, 64, 1, 1).contiguous(memory_format=torch.channels_last)
    for _ in range(3):
        block.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = block(x)
        poison = [torch.full((1 << size,), float("nan")) for size in range(8, 20)]
        del poison
        y.float().square().sum().backward()
        gradient = block.convolution.weight.grad
        assert gradient is not None
        assert gradient[:, :, 1, 1].isfinite().all()
        assert not gradient.flatten(2)[:, :, [0, 1, 2, 3, 5, 6, 7, 8]].any()
    torch.testing.assert_close(block.eval()(x), block(x.clone()))
    with torch.no_grad():
        expected = block(x)
    torch.testing.assert_close(block(x), expected)
