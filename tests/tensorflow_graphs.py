"""Small detectors of random weights, written as TensorFlow does it: SAME padding, ReLU6, boxes as y, x, h, w."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from singleshot.models import mobilenetv1, mobilenetv2
from singleshot.runtime.openvino_core import core, openvino, opset9

ops = openvino.opset13
EPSILON = 1e-3
CLASSES = 3
"""Columns of the scores, background among them."""


@dataclass
class Graph:
    """Builds a graph; every layer is normalised, by statistics of its own, unless it has a bias."""

    size_hw: tuple[int, int]
    seed: int = 0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.image = ops.parameter([1, 3, *self.size_hw], np.float32)

    def numbers(self, *shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
        return self.random.uniform(low, high, shape).astype(np.float32)

    def filters(self, *shape: int) -> np.ndarray:
        return self.numbers(*shape) * np.float32((3 / np.prod(shape[1:])) ** 0.5)

    def convolve(self, x: Any, weight: np.ndarray, stride: int = 1) -> Any:
        kind = ops.group_convolution if weight.ndim == 5 else ops.convolution
        return kind(x, ops.constant(weight), [stride] * 2, [0, 0], [0, 0], [1, 1], "same_upper")

    def normalise(self, x: Any, count: int) -> Any:
        """FusedBatchNorm as OpenVINO writes it: (x - mean) / sqrt(variance + epsilon) * gamma + beta."""
        mean, beta = self.numbers(count, low=-0.2, high=0.2), self.numbers(count, low=0, high=0.5)
        variance, gamma = self.numbers(count, low=0.5, high=1.5), self.numbers(count, low=0.7, high=1.5)
        for kind, constant in (
            (ops.subtract, mean),
            (ops.divide, np.sqrt(variance + np.float32(EPSILON))),
            (ops.multiply, gamma),
            (ops.add, beta),
        ):
            x = kind(x, ops.constant(constant.reshape(1, -1, 1, 1)))
        return x

    def layer(self, x: Any, outputs: int, kernel: int = 1, stride: int = 1, *, linear: bool = False) -> Any:
        x = self.convolve(x, self.filters(outputs, channels(x), kernel, kernel), stride)
        x = self.normalise(x, outputs)
        return x if linear else ops.clamp(x, 0.0, 6.0)

    def depthwise(self, x: Any, stride: int = 1) -> Any:
        x = self.convolve(x, self.filters(channels(x), 1, 1, 3, 3), stride)
        return ops.clamp(self.normalise(x, channels(x)), 0.0, 6.0)

    def biased(self, x: Any, weight: np.ndarray, bias: np.ndarray) -> Any:
        return ops.add(self.convolve(x, weight), ops.constant(bias.reshape(1, -1, 1, 1)))

    def head(self, x: Any, outputs: int, kernel: int = 1) -> Any:
        return self.biased(x, self.filters(outputs, channels(x), kernel, kernel), self.numbers(outputs))

    def model(self, offsets: Sequence[Any], logits: Sequence[Any]) -> openvino.Model:
        parts = [
            ops.concat([rows(each, columns) for each in maps], 1) for maps, columns in ((offsets, 4), (logits, CLASSES))
        ]
        return openvino.Model(parts, [self.image])


def channels(x: Any) -> int:
    return int(x.output(0).get_partial_shape()[1].get_length())


def rows(x: Any, columns: int) -> Any:
    """NHWC, then a row a box."""
    return ops.reshape(ops.transpose(x, [0, 2, 3, 1]), [1, -1, columns], False)


def counts(maps: int) -> list[int]:
    return [3, *[6] * (maps - 1)]


def mobilenet_v1(size_hw: tuple[int, int], width: int = 4) -> openvino.Model:
    """SSD MobileNetV1 with a `width`-th of its channels."""
    graph = Graph(size_hw)
    x, sources = graph.layer(graph.image, 32 // width, 3, 2), []
    for number, (outputs, stride) in enumerate(mobilenetv1.PAIRS, 1):
        x = graph.layer(graph.depthwise(x, stride), outputs // width)
        sources += [x] if number in {11, 13} else []
    for squeeze, outputs in ((8, 16), (8, 8), (8, 8), (4, 4)):
        x = graph.layer(graph.layer(x, squeeze), outputs, 3, 2)
        sources.append(x)
    heads = [
        (graph.head(source, 4 * boxes), graph.head(source, CLASSES * boxes))
        for source, boxes in zip(sources, counts(6), strict=True)
    ]
    return graph.model(*zip(*heads, strict=True))


def _mobilenet_v2(graph: Graph, width: int) -> tuple[list[Any], list[Any], Any]:
    """Blocks' outputs and expansions by number less one, and the last map."""
    x, outputs, expansions = graph.layer(graph.image, 32 // width, 3, 2), [], []
    for expansion, count, stride, _ in mobilenetv2.MobileNetV2.BLOCKS:
        expanded = graph.layer(x, channels(x) * expansion) if expansion > 1 else x
        block = graph.layer(graph.depthwise(expanded, stride), count // width, linear=True)
        x = ops.add(block, x) if stride == 1 and count // width == channels(x) else block
        outputs.append(x)
        expansions.append(expanded)
    return outputs, expansions, graph.layer(x, 1280 // width)


def ssdlite_mobilenet_v2(size_hw: tuple[int, int], width: int = 4) -> openvino.Model:
    """SSDLite MobileNetV2 with a `width`-th of its channels."""
    graph = Graph(size_hw)
    _, expansions, x = _mobilenet_v2(graph, width)
    sources = [expansions[13], x]
    for squeeze, outputs in ((8, 16), (8, 8), (8, 8), (4, 4)):
        x = graph.layer(graph.depthwise(graph.layer(x, squeeze), 2), outputs)
        sources.append(x)
    heads = [
        [graph.head(graph.depthwise(source), columns * boxes) for columns in (4, CLASSES)]
        for source, boxes in zip(sources, counts(6), strict=True)
    ]
    return graph.model(*zip(*heads, strict=True))


def fpnlite_mobilenet_v2(size_hw: tuple[int, int], width: int = 4, count: int = 8, depth: int = 2) -> openvino.Model:
    """SSD MobileNetV2 FPNLite with a `width`-th of its channels; a pyramid of `count` channels."""
    graph = Graph(size_hw)
    outputs, _, last = _mobilenet_v2(graph, width)

    def separable(x: Any) -> Any:
        bare = graph.convolve(x, graph.filters(channels(x), 1, 1, 3, 3))
        return graph.layer(bare, count)

    def down(x: Any) -> Any:
        return graph.layer(graph.convolve(x, graph.filters(channels(x), 1, 1, 3, 3), 2), count)

    summed, maps = None, []
    for level in (last, outputs[12], outputs[5]):
        lateral = graph.head(level, count)
        if summed is None:
            summed, top = lateral, lateral
            maps.append(lateral)
        else:
            summed = separable(ops.add(lateral, _twice(summed)))
            maps.insert(0, summed)
    maps += [first := down(top), down(first)]
    tower = [(graph.filters(count, 1, 1, 3, 3), graph.filters(count, count, 1, 1)) for _ in range(depth)]
    predictors = [
        (graph.filters(count, 1, 1, 3, 3), graph.filters(6 * n, count, 1, 1), graph.numbers(6 * n))
        for n in (4, CLASSES)
    ]
    heads: list[list[Any]] = [[], []]
    for x in maps:
        for first_filters, second in tower:
            normalised = graph.normalise(graph.convolve(graph.convolve(x, first_filters), second), count)
            x = ops.clamp(normalised, 0.0, 6.0)
        for into, (first_filters, second, bias) in zip(heads, predictors, strict=True):
            into.append(graph.biased(graph.convolve(x, first_filters), second, bias))
    return graph.model(*heads)


def _twice(x: Any) -> Any:
    """Nearest upsampling by 2, as TensorFlow does without a resize: stack, then reshape."""
    _, count, height, width = x.output(0).get_shape()
    spread = ops.reshape(x, [1, count, height, 1, width, 1], False)
    tiled = ops.concat([ops.concat([spread] * 2, 3)] * 2, 5)
    return ops.reshape(tiled, [1, count, 2 * height, 2 * width], False)


def evaluated(outputs: Sequence[Any]) -> list[np.ndarray]:
    """Values of outputs that depend on no input."""
    compiled = core().compile_model(openvino.Model(list(outputs), []), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled([])
    return [np.array(results[place]) for place in range(len(outputs))]


def frozen_detector(
    *, softmax: bool = False, nms: Sequence[tuple[int, float, float]] = (), preparation: str = ""
) -> openvino.Model:
    """A graph as the Object Detection API freezes it.

    Args:
        preparation: `normalise`: images are resized to 32x48 after that, and not before; `square`: the square of
            each pixel is taken, too; without it images are not resized.
        softmax: of the scores; else their sigmoid.
        nms: an operation each inside a loop: most boxes, IoU, lowest score.
    """
    chance = np.random.default_rng(0)
    image = opset9.parameter([-1, -1, -1, 3], np.uint8, name="image_tensor")
    resized = opset9.convert(image, np.float32)
    if preparation == "square":
        resized = opset9.power(_resized(resized), np.float32(2))
    scaled = opset9.subtract(opset9.multiply(resized, np.float32(2 / 255)), np.float32(1))
    if preparation == "normalise":
        scaled = _resized(scaled)
    x = opset9.transpose(scaled, np.array([0, 3, 1, 2]))
    heads = {}
    for name, columns in (("boxes", 4), ("scores", 4)):
        rows = []
        for stride in (8, 16):
            filters = opset9.constant(chance.normal(size=(2 * columns, 3, 3, 3)).astype(np.float32) / 4)
            y = opset9.convolution(x, filters, [stride, stride], [1, 1], [1, 1], [1, 1])
            y = opset9.transpose(y, np.array([0, 2, 3, 1]))
            rows.append(opset9.reshape(y, np.array([0, -1, columns]), special_zero=True))
        heads[name] = opset9.concat(rows, 1)
    activated = opset9.softmax(heads["scores"], 2) if softmax else opset9.sigmoid(heads["scores"])
    count = 2 * (4 * 6 + 2 * 3)
    anchors = chance.random((count, 4)).astype(np.float32) * 0.4 + 0.1
    codes = opset9.split(opset9.reshape(heads["boxes"], np.array([-1, 4]), special_zero=False), 1, 4)
    y, x_, h, w = (opset9.squeeze(output, np.array([1])) for output in codes.outputs())
    centres = [
        opset9.add(opset9.multiply(opset9.divide(code, np.float32(10)), anchors[:, 2 + axis]), anchors[:, axis])
        for axis, code in enumerate((y, x_))
    ]
    halves = [
        opset9.divide(
            opset9.multiply(opset9.exp(opset9.divide(code, np.float32(5))), anchors[:, 2 + axis]), np.float32(2)
        )
        for axis, code in enumerate((h, w))
    ]
    corners = [
        kind(centre, half)
        for kind in (opset9.subtract, opset9.add)
        for centre, half in zip(centres, halves, strict=True)
    ]
    boxes = opset9.concat([opset9.unsqueeze(corner, np.array([1])) for corner in corners], 1)
    results = [opset9.result(node) for node in (boxes, activated)]
    results += [opset9.result(_in_a_loop(boxes, activated, limits)) for limits in nms]
    return openvino.Model(results, [image], "frozen")


def _resized(image: Any) -> Any:
    axes = np.array([1, 2])
    return ops.interpolate(
        image, np.array([32, 48]), "linear", "sizes", axes=axes, pads_begin=[0] * 4, pads_end=[0] * 4
    )


def _in_a_loop(boxes: Any, scores: Any, limits: tuple[int, float, float]) -> Any:
    """NMS as the body of a loop over images; its limit of boxes is the least of a number and of how many there are."""
    most, iou, lowest = limits
    body_boxes = opset9.parameter([-1, 4], np.float32)
    body_scores = opset9.parameter([1, -1, CLASSES + 1], np.float32)
    by_class = opset9.transpose(body_scores, np.array([0, 2, 1]))
    count = opset9.gather(opset9.shape_of(body_boxes, "i32"), np.int32(0), np.int32(0))
    kept = opset9.non_max_suppression(
        opset9.unsqueeze(body_boxes, np.array([0])),
        by_class,
        opset9.minimum(opset9.constant(np.int32(most)), count),
        opset9.constant(np.float32(iou)),
        opset9.constant(np.float32(lowest)),
        opset9.constant(np.float32(0)),
    )
    go_on = opset9.constant(np.array([True]))
    total = opset9.reduce_sum(kept.output(0), np.array([0, 1]), keep_dims=True)
    body = openvino.Model([opset9.result(go_on), opset9.result(total)], [body_boxes, body_scores], "body")
    loop = opset9.loop(opset9.constant(np.int32(1)), opset9.constant(np.array([True])))
    loop.set_function(body)
    loop.set_special_body_ports([-1, 0])
    loop.set_invariant_input(body_boxes, boxes.output(0))
    loop.set_invariant_input(body_scores, scores.output(0))
    return loop.get_iter_value(body.get_results()[1].output(0), -1)
