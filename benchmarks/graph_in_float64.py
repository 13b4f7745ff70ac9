"""A graph of OpenVINO's computed in float64 by torch: what its numbers are before float32 rounds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from singleshot.runtime.openvino_core import openvino

Operation = Callable[[dict[str, Any], list[Tensor]], Tensor]


def run_in_float64(model: openvino.Model, image: np.ndarray) -> list[np.ndarray]:
    """The results of a detector's graph for one image (H, W, 3), 8-bit.

    Raises:
        ValueError: an operation that the SSDs of TensorFlow Lite do not have.
    """
    values: dict[str, Tensor] = {}
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        inputs = [values[port.get_source_output().get_node().get_name()] for port in node.inputs()]
        if kind == "Parameter":
            value = torch.from_numpy(image[None].copy())
        elif kind == "Constant":
            value = torch.from_numpy(np.array(node.get_data()))
            value = value.double() if value.is_floating_point() else value
        elif kind == "Convert" and node.get_output_element_type(0) == openvino.Type.f32:
            value = inputs[0].double()
        elif kind in OPERATIONS:
            value = OPERATIONS[kind](node.get_attributes(), inputs)
        else:
            raise ValueError(f"{kind} is not computed in float64")
        values[node.get_name()] = value
    return [values[result.get_name()][0].numpy() for result in model.get_results()]


def _reshape(attributes: dict[str, Any], inputs: list[Tensor]) -> Tensor:
    x, shape = inputs[0], inputs[1].tolist()
    if attributes.get("special_zero"):
        shape = [x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)]
    return x.reshape(shape)


def _unsqueeze(_: dict[str, Any], inputs: list[Tensor]) -> Tensor:
    x = inputs[0]
    for axis in sorted(inputs[1].reshape(-1).tolist()):
        x = x.unsqueeze(axis)
    return x


def _convolution(attributes: dict[str, Any], inputs: list[Tensor]) -> Tensor:
    x, filters = inputs
    groups = filters.shape[0] if filters.ndim == 5 else 1
    filters = filters.reshape(-1, *filters.shape[-3:])
    before, after = attributes["pads_begin"], attributes["pads_end"]
    if attributes["auto_pad"] == "same_upper":
        sides = zip(x.shape[2:], filters.shape[2:], attributes["strides"], strict=True)
        pads = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size, kernel, stride in sides]
        before, after = [pad // 2 for pad in pads], [pad - pad // 2 for pad in pads]
    padded = F.pad(x, (before[1], after[1], before[0], after[0]))
    return F.conv2d(padded, filters, stride=tuple(attributes["strides"]), groups=groups)


OPERATIONS: dict[str, Operation] = {
    "Add": lambda _, inputs: inputs[0] + inputs[1],
    "Subtract": lambda _, inputs: inputs[0] - inputs[1],
    "Multiply": lambda _, inputs: inputs[0] * inputs[1],
    "Divide": lambda _, inputs: inputs[0] / inputs[1],
    "Clamp": lambda attributes, inputs: inputs[0].clamp(attributes["min"], attributes["max"]),
    "Relu": lambda _, inputs: inputs[0].relu(),
    "Convert": lambda _, inputs: inputs[0],
    "Transpose": lambda _, inputs: inputs[0].permute(inputs[1].tolist()),
    "Concat": lambda attributes, inputs: torch.cat(inputs, attributes["axis"]),
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "Result": lambda _, inputs: inputs[0],
}
