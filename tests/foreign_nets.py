"""Networks built as other projects build them, from their published shapes and names, to import from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in evaluation mode with weights of sane size, and normalisations that do something."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            bound = (2 / module.weight[0].numel()) ** 0.5
            module.weight.data.normal_(0, bound, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.2, 0.2, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.8, 1.2, generator=generator)
            module.bias.data.uniform_(-0.1, 0.1, generator=generator)
            module.running_mean.uniform_(-0.1, 0.1, generator=generator)
            module.running_var.uniform_(0.7, 1.3, generator=generator)
    return network.eval()


def pair(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """MobileNet v1's depthwise and pointwise convolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def stem(outputs: int, activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), activation())


def chain(first: int, pairs: Iterable[tuple[int, int]]) -> nn.Sequential:
    layers, inputs = [stem(first, nn.ReLU)], first
    for outputs, stride in pairs:
        layers.append(pair(inputs, outputs, stride))
        inputs = outputs
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, ratio: float) -> None:
        super().__init__()
        hidden = round(inputs * ratio)
        expand = [nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()] if ratio != 1 else []
        self.conv = nn.Sequential(
            *expand,
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def separable(inputs: int, outputs: int, stride: int = 1, *, normalised: bool = False) -> nn.Sequential:
    between = [nn.BatchNorm2d(inputs), nn.ReLU6()] if normalised else [nn.ReLU()]
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs), *between, nn.Conv2d(inputs, outputs, 1)
    )


class Detector(nn.Module):
    """The frame that qfgaohao's and Ultra-Light-Face's detectors share."""

    def __init__(
        self,
        base: nn.Sequential,
        taps: dict[int, int],
        extras: list[nn.Module],
        head: Callable[[int, int, int], nn.Module],
        boxes: tuple[int, ...],
        num_classes: int,
    ) -> None:
        """`taps`: channels of the map in front of these layers (or behind the last)."""
        super().__init__()
        self.base_net, self.extras = base, nn.ModuleList(extras)
        self.taps, self.num_classes = list(taps), num_classes
        channels = [*taps.values(), *(last_outputs(extra) for extra in extras)]
        both = [(n, channel, count) for n, (channel, count) in enumerate(zip(channels, boxes, strict=True))]
        self.classification_headers = nn.ModuleList([head(n, c, count * num_classes) for n, c, count in both])
        self.regression_headers = nn.ModuleList([head(n, c, count * 4) for n, c, count in both])

    def tapped(self, x: Tensor) -> list[Tensor]:
        maps = []
        for number, layer in enumerate(self.base_net):
            if number in self.taps:
                maps.append(x)
            x = layer(x)
        return [*maps, x]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.tapped(x)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        scores, offsets = [], []
        for n, one in enumerate(maps):
            for head, found, columns in (
                (self.classification_headers[n], scores, self.num_classes),
                (self.regression_headers[n], offsets, 4),
            ):
                found.append(head(one).permute(0, 2, 3, 1).reshape(len(x), -1, columns))
        return torch.cat(offsets, 1), torch.cat(scores, 1)


class TappedInside(Detector):
    """MobileNet v2's first source is the expansion inside block 14."""

    def tapped(self, x: Tensor) -> list[Tensor]:
        maps = []
        for number, layer in enumerate(self.base_net):
            if number == 14:
                maps.append(layer.conv[:3](x))
            x = layer(x)
        return [*maps, x]


def last_outputs(module: nn.Module) -> int:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels


MOBILENETV1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def mb1_ssd(num_classes: int) -> Detector:
    extras = [
        nn.Sequential(nn.Conv2d(inputs, squeeze, 1), nn.ReLU(), nn.Conv2d(squeeze, outputs, 3, 2, 1), nn.ReLU())
        for inputs, squeeze, outputs in ((1024, 256, 512), (512, 128, 256), (256, 128, 256), (256, 128, 256))
    ]
    return Detector(
        chain(32, MOBILENETV1),
        {12: 512, 14: 1024},
        extras,
        lambda _, inputs, outputs: nn.Conv2d(inputs, outputs, 3, padding=1),
        (6,) * 6,
        num_classes,
    )


def mb1_ssd_lite(num_classes: int) -> Detector:
    extras = [
        nn.Sequential(nn.Conv2d(inputs, squeeze, 1), nn.ReLU(), separable(squeeze, outputs, 2))
        for inputs, squeeze, outputs in ((1024, 256, 512), (512, 128, 256), (256, 128, 256), (256, 128, 256))
    ]
    return Detector(
        chain(32, MOBILENETV1),
        {12: 512, 14: 1024},
        extras,
        lambda n, inputs, outputs: nn.Conv2d(inputs, outputs, 1) if n == 5 else separable(inputs, outputs),
        (6,) * 6,
        num_classes,
    )


def mb2_ssd_lite(num_classes: int) -> Detector:
    layers: list[nn.Module] = [stem(32, nn.ReLU6)]
    inputs = 32
    for ratio, outputs, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for repeat in range(repeats):
            layers.append(InvertedResidual(inputs, outputs, stride if repeat == 0 else 1, ratio))
            inputs = outputs
    layers.append(nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()))
    extras: list[nn.Module] = [
        InvertedResidual(1280, 512, 2, 0.2),
        InvertedResidual(512, 256, 2, 0.25),
        InvertedResidual(256, 256, 2, 0.5),
        InvertedResidual(256, 64, 2, 0.25),
    ]
    return TappedInside(
        nn.Sequential(*layers),
        {14: 576, 19: 1280},
        extras,
        lambda n, inputs, outputs: (
            nn.Conv2d(inputs, outputs, 1) if n == 5 else separable(inputs, outputs, normalised=True)
        ),
        (6,) * 6,
        num_classes,
    )


def ultra_light_slim(num_classes: int) -> Detector:
    pairs = (
        (32, 1), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1), (128, 2), (128, 1), (128, 1), (256, 2), (256, 1),
    )  # fmt: skip
    extra = nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), separable(64, 256, 2), nn.ReLU())
    return Detector(
        chain(16, pairs),
        {8: 64, 11: 128, 13: 256},
        [extra],
        lambda n, inputs, outputs: nn.Conv2d(inputs, outputs, 3, padding=1) if n == 3 else separable(inputs, outputs),
        (3, 2, 2, 3),
        num_classes,
    )


def centre_form_boxes(
    input_wh: tuple[int, int],
    maps: Iterable[tuple[tuple[int, int], tuple[float, float], list[tuple[float, float]]]],
) -> Tensor:
    """Default boxes as ssd.pytorch and its descendants make them: centre, width, height, all held within 0 .. 1.

    Args:
        input_wh: pixels.
        maps: columns and rows, distance of two cells in pixels (x, y), and width and height of the boxes of a cell.
    """
    rows = []
    for (columns, lines), (across, down), sizes in maps:
        for y in range(lines):
            for x in range(columns):
                rows += [
                    ((x + 0.5) * across / input_wh[0], (y + 0.5) * down / input_wh[1], w / input_wh[0], h / input_wh[1])
                    for w, h in sizes
                ]
    found = torch.tensor(rows, dtype=torch.float64).clamp(0, 1)
    return torch.cat([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], dim=1).float()


def with_ratios(low: float, high: float, ratios: tuple[float, ...]) -> list[tuple[float, float]]:
    """A square, a larger one, and for each ratio a wide and a high box."""
    larger = (low * high) ** 0.5
    found = [(low, low), (larger, larger)]
    for ratio in ratios:
        root = ratio**0.5
        found += [(low * root, low / root), (low / root, low * root)]
    return found
