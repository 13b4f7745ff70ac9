"""Fewer multiplications for 3x3 convolutions: Winograd's F(4x4, 3x3) as plain matrix products.

A tile of 4x4 results takes 36 multiplications for each pair of channels instead of 144 (Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", 2016, section 4.3; interpolation points 0, 1, -1, 2, -2). Cutting the map
into tiles and putting it together takes time, so it is worthwhile for small maps with many channels. The error is about
1e-5 of the largest value; it is used for float32 only, as direct products are faster in lower precisions.
"""

from __future__ import annotations

import numpy as np

from singleshot.runtime.openvino_core import openvino, opset9
from singleshot.shapes import Float32

TILE, WINDOW = 4, 6
FILTERS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
INPUTS = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
OUTPUTS = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
MIN_CHANNELS = 128
SIDES = range(24, 101)
"""Heights and widths of maps for which this was faster (`docs/speed.md`)."""


def with_winograd(model: openvino.Model) -> openvino.Model:
    """Replace the convolutions that get faster, in place. The model's shapes must be fixed and its batch 1."""
    for layer in model.get_ordered_ops():
        if layer.get_type_name() == "Convolution" and _is_faster(layer):
            weights = _weights(layer.input_value(1).get_node())
            if weights is not None:
                layer.output(0).replace(_winograd_convolution(layer.input_value(0), weights).output(0))
    model.validate_nodes_and_infer_types()
    return model


def _is_faster(layer: openvino.Node) -> bool:
    attributes = layer.get_attributes()
    plain = all(list(attributes[name]) == [1, 1] for name in ("strides", "dilations", "pads_begin", "pads_end"))
    outputs, inputs, *kernel = layer.input_value(1).get_shape()
    batch, _, height, width = layer.get_output_shape(0)
    fits = height in SIDES and width in SIDES and min(inputs, outputs) >= MIN_CHANNELS
    return plain and kernel == [3, 3] and batch == 1 and fits


def _weights(node: openvino.Node) -> Float32[np.ndarray, "outputs inputs 3 3"] | None:
    """The filters, stored as float32 or as halves that are converted."""
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data(), np.float32) if node.get_type_name() == "Constant" else None


def _winograd_convolution(x: openvino.Output, weights: Float32[np.ndarray, "outputs inputs 3 3"]) -> openvino.Node:
    """Tiles to 36 values each, 36 products over the channels, back to tiles."""
    outputs, inputs = weights.shape[:2]
    _, _, height, width = x.get_shape()
    down, right = -(-height // TILE), -(-width // TILE)
    filters = (weights.reshape(-1, 9) @ np.kron(FILTERS, FILTERS).T.astype(np.float32)).reshape(outputs, inputs, 36)
    last = [0, TILE * down + 1 - height, TILE * right + 1 - width, 0]
    n = opset9.transpose(x, np.array([0, 2, 3, 1]))
    n = opset9.pad(n, np.array([0, 1, 1, 0]), np.array(last), "constant", arg_pad_value=np.float32(0))
    n = opset9.gather(n, _rows_of_windows(down), np.int64(1))
    n = opset9.gather(n, _rows_of_windows(right), np.int64(2))
    n = opset9.transpose(_reshaped(n, WINDOW, down, WINDOW, right * inputs), np.array([0, 2, 1, 3]))
    n = opset9.matmul(_matrix(INPUTS), _reshaped(n, 36, down * right * inputs), False, False)
    by_value = np.ascontiguousarray(filters.transpose(2, 1, 0))
    n = opset9.matmul(_reshaped(n, 36, down * right, inputs), opset9.constant(by_value), False, False)
    n = opset9.matmul(_matrix(OUTPUTS), _reshaped(n, 36, down * right * outputs), False, False)
    n = opset9.transpose(_reshaped(n, TILE, TILE, down, right, outputs), np.array([2, 0, 3, 1, 4]))
    n = _reshaped(n, 1, TILE * down, TILE * right, outputs)
    n = opset9.slice(n, np.array([0, 0]), np.array([height, width]), np.array([1, 1]), np.array([1, 2]))
    return opset9.transpose(n, np.array([0, 3, 1, 2]))


def _rows_of_windows(tiles: int) -> np.ndarray:
    """Row numbers of the padded map, by place in the window, then by window."""
    return np.array([TILE * tile + place for place in range(WINDOW) for tile in range(tiles)])


def _matrix(of_one_side: np.ndarray) -> openvino.Node:
    return opset9.constant(np.kron(of_one_side, of_one_side).astype(np.float32))


def _reshaped(node: openvino.Node, *shape: int) -> openvino.Node:
    return opset9.reshape(node, np.array(shape), special_zero=False)
