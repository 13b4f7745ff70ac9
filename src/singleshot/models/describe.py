"""The layer table of a model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from singleshot.models.layers import ConvBlock, L2Norm, MaxPool
from singleshot.models.ssd import SSD
from singleshot.spec import ModelSpec

Layer = ConvBlock | MaxPool | L2Norm | nn.AdaptiveAvgPool2d | nn.Conv2d | nn.ConvTranspose2d
NORMS = {"BatchNorm": "batch normalisation", "LayerNorm": "layer normalisation", "GroupNorm": "group normalisation"}


def describe(spec: ModelSpec) -> list[dict[str, Any]]:
    """One row a layer, in the order of execution, at the specification's input size.

    Columns: `name`, `kind`, `output` (channels, height, width), `kernel`, `stride`, `dilation` (None where a layer has
    none) and `parameters`; the last column's sum is the model's size. Layers of backbone and extra maps have the
    paper's names (`conv4_3`, `fc7`, `conv8_2`), the others their path (`norms.conv4_3`, `heads.location.fc7`).
    Of a backbone of timm every module with parameters of its own is a layer, under timm's name (`features.conv1`).
    """
    model = SSD(spec).eval()
    rows: list[dict[str, Any]] = []

    def add_row(layer: Any, _inputs: object, output: torch.Tensor) -> None:
        rows.append(_row(names[layer], layer, output))

    inside = {part for block in model.modules() if isinstance(block, ConvBlock) for part in block.children()}
    names = {
        layer: name.removeprefix("backbone.").removeprefix("extras.")
        for name, layer in model.named_modules()
        if (isinstance(layer, Layer) or any(True for _ in layer.parameters(recurse=False))) and layer not in inside
    }
    for layer in names:
        layer.register_forward_hook(add_row)
    with torch.no_grad():
        model(torch.zeros(model.backbone.SMALLEST_BATCH, 3, *spec.input_size_hw))
    return rows


def _row(name: str, layer: nn.Module, output: torch.Tensor) -> dict[str, Any]:
    convolution = layer.convolution if isinstance(layer, ConvBlock) else layer
    size: tuple[int | None, int | None, int | None] = (None, None, None)
    if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d):
        size = (convolution.kernel_size[0], convolution.stride[0], convolution.dilation[0])
    elif isinstance(convolution, MaxPool):
        size = (convolution.kernel, convolution.stride, 1)
    kernel, stride, dilation = size
    return {
        "name": name,
        "kind": _kind(layer),
        "output": list(output.shape[1:]),
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "parameters": sum(parameter.numel() for parameter in layer.parameters(recurse=isinstance(layer, ConvBlock))),
    }


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, MaxPool):
        return "max pooling"
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return "mean pooling"
    if isinstance(layer, L2Norm):
        return "L2 normalisation"
    if isinstance(layer, nn.Conv2d):
        return "convolution"
    if isinstance(layer, nn.ConvTranspose2d):
        return "deconvolution"
    if not isinstance(layer, ConvBlock):
        name = type(layer).__name__
        return next((kind for start, kind in NORMS.items() if name.startswith(start)), name)
    parts = ["depthwise convolution" if layer.convolution.groups > 1 else "convolution"]
    if layer.norm is not None:
        parts.append("batch normalisation")
    if layer.activation != "none":
        parts.append(layer.activation)
    return ", ".join(parts)
