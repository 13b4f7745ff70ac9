"""The convolutions of a TensorFlow graph that OpenVINO has read, with what follows each of them folded in.

A graph's operations have no names that can be relied on (a .tflite file has numbers), so that layers are told by their
place: which layers feed them, and how far they are from the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.errors import ModelError
from singleshot.shapes import Float32

Evaluate = Callable[[Sequence[Any]], list[np.ndarray]]
"""The values of outputs of a graph that depend on no input."""

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_AFFINE = ("Add", "Subtract", "Multiply", "Divide")
_ACTIVATIONS = {"Relu": "relu", "Clamp": "relu6"}
_NOT_NEGATIVE = (*_ACTIVATIONS, "Sigmoid", "Softmax")
SIX = 6.0
"""Of ReLU6."""
_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Convert")
_THROUGH = (*_MOVES, "FakeQuantize", "Sigmoid", "Softmax")
"""What may stand between a head's convolution and the graph's result."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution, batch normalisation and bias folded in.

    Attributes:
        weight: filters as torch has them; those of a depthwise one have a depth of 1.
        bias: zero where there is none.
        depthwise: whether every channel has a filter of its own.
        stride: distance of two filter positions.
        activation: `relu`, `relu6` or `none`.
        distance: how many convolutions lie between it and the image, itself included, on the longest way.
        feeds: numbers of the layers whose results come in, without another convolution between.
    """

    weight: Float32[np.ndarray, "O I h w"]
    bias: Float32[np.ndarray, " O"]
    depthwise: bool
    stride: int
    activation: str
    distance: int
    feeds: frozenset[int]

    @property
    def kernel(self) -> int:
        """Side of the filters."""
        return int(self.weight.shape[-1])

    @property
    def outputs(self) -> int:
        """Channels that go out."""
        return len(self.weight)


@dataclass(frozen=True, eq=False)
class GraphLayers:
    """All convolutions that two results of a detector depend on.

    Attributes:
        layers: in an order of computation.
        location: the layer that gives the offsets of each source map, by number.
        confidence: likewise of the class scores.
    """

    layers: tuple[Layer, ...]
    location: tuple[int, ...]
    confidence: tuple[int, ...]

    def before(self, number: int) -> set[int]:
        """The layers that this one depends on."""
        known: set[int] = set()
        waiting = set(self.layers[number].feeds)
        while waiting:
            known.add(current := waiting.pop())
            waiting |= self.layers[current].feeds - known
        return known


def layers_of(nodes: Sequence[Any], offsets: Any, logits: Any, evaluate: Evaluate, *, origin: str) -> GraphLayers:
    """The layers of a graph.

    Args:
        nodes: all operations, in an order of computation (`openvino.Model.get_ordered_ops`).
        offsets: the output (`openvino.Output`) that gives the encoded boxes of all maps.
        logits: the output that gives the class scores.
        evaluate: see there.
        origin: file, for messages.

    Raises:
        ModelError: the graph is built in another way than an SSD's.
    """
    return _Reader(nodes, offsets, logits, evaluate, origin).read()


class _Reader:
    """Reads the layers of one graph.

    Operations are known by their names, which OpenVINO keeps unique.
    """

    def __init__(self, nodes: Sequence[Any], offsets: Any, logits: Any, evaluate: Evaluate, origin: str) -> None:
        self.origin, self.evaluate = origin, evaluate
        self.offsets, self.logits = offsets, logits
        needed = _upstream([offsets.get_node(), logits.get_node()])
        self.nodes = [node for node in nodes if node.get_name() in needed]
        self.fixed: set[str] = set()
        for node in self.nodes:
            sources = [port.get_source_output().get_node().get_name() for port in node.inputs()]
            if node.get_type_name() != "Parameter" and all(name in self.fixed for name in sources):
                self.fixed.add(node.get_name())
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for port in node.inputs():
                self.consumers.setdefault(port.get_source_output().get_node().get_name(), []).append(node)
        self.convolutions = [node for node in self.nodes if node.get_type_name() in _CONVOLUTIONS]
        self.numbers = {node.get_name(): number for number, node in enumerate(self.convolutions)}

    def read(self) -> GraphLayers:
        followers = [self._followers(node) for node in self.convolutions]
        wanted = [node.input(1).get_source_output() for node in self.convolutions]
        wanted += [constant for chain, _ in followers for _, constant in chain]
        values = self.evaluate(wanted)
        weights, constants = values[: len(followers)], iter(values[len(followers) :])
        feeds = [self._producers(node.input(0)) for node in self.convolutions]
        layers: list[Layer] = []
        for node, weight, (chain, activation), sources in zip(
            self.convolutions, weights, followers, feeds, strict=True
        ):
            distance = 1 + max((layers[source].distance for source in sources), default=0)
            steps = [(kind, next(constants)) for kind, _ in chain]
            layers.append(self._layer(node, weight, steps, activation, distance, sources))
        heads = [self._heads(output) for output in (self.offsets, self.logits)]
        return GraphLayers(tuple(layers), *heads)

    def _layer(
        self,
        node: Any,
        weight: np.ndarray,
        steps: Iterable[tuple[str, np.ndarray]],
        activation: str,
        distance: int,
        feeds: frozenset[int],
    ) -> Layer:
        depthwise = weight.ndim == 5
        if depthwise and weight.shape[1:3] != (1, 1):
            raise ModelError(
                f"{self.origin}: a convolution in groups of {weight.shape[1:3]} channels, which no SSD has"
            )
        weight = weight.reshape(-1, *weight.shape[-3:]).astype(np.float64)
        count = len(weight)
        scale, shift = np.ones(count), np.zeros(count)
        for kind, constant in steps:
            value = constant.astype(np.float64).reshape(-1)
            if value.size not in {1, count}:
                raise ModelError(f"{self.origin}: {value.size} numbers follow a convolution of {count} channels")
            if kind in {"Add", "Subtract"}:
                shift = shift + (value if kind == "Add" else -value)
            else:
                factor = value if kind == "Multiply" else 1 / value
                scale, shift = scale * factor, shift * factor
        stride, *other = dict.fromkeys(node.get_attributes()["strides"])
        if other:
            raise ModelError(f"{self.origin}: a convolution with two strides, which no SSD has")
        folded = (weight * scale[:, None, None, None]).astype(np.float32)
        return Layer(folded, shift.astype(np.float32), depthwise, int(stride), activation, distance, feeds)

    def _followers(self, node: Any) -> tuple[list[tuple[str, Any]], str]:
        """Sums and products with constants after a convolution, and its activation."""
        chain: list[tuple[str, Any]] = []
        while True:
            consumers = self.consumers.get(node.get_name(), [])
            if len(consumers) != 1:
                return chain, "none"
            (after,) = consumers
            kind = after.get_type_name()
            if kind in _ACTIVATIONS:
                return chain, _ACTIVATIONS[kind]
            constant = self._constant_operand(after, node) if kind in _AFFINE else None
            if constant is None:
                return chain, "none"
            chain.append((kind, constant))
            node = after

    def _constant_operand(self, node: Any, variable: Any) -> Any | None:
        """The constant side of an operation on a map; None where there is none, or it is divided by the map."""
        sides = [port.get_source_output() for port in node.inputs()]
        first, second = sides
        if first.get_node().get_name() == variable.get_name() and second.get_node().get_name() in self.fixed:
            return second
        turned = node.get_type_name() in {"Add", "Multiply"} and first.get_node().get_name() in self.fixed
        return first if turned else None

    def _producers(self, port: Any) -> frozenset[int]:
        """The convolutions whose results come in at a port, with no other convolution between."""
        seen: set[str] = set()
        numbers: set[int] = set()
        waiting = [port.get_source_output().get_node()]
        while waiting:
            node = waiting.pop()
            name = node.get_name()
            if name in seen or name in self.fixed:
                continue
            seen.add(name)
            if name in self.numbers:
                numbers.add(self.numbers[name])
            else:
                waiting += [each.get_source_output().get_node() for each in node.inputs()]
        return frozenset(numbers)

    def _heads(self, output: Any) -> tuple[int, ...]:
        """The layers that give a result, one a map: the parts of its last concatenation."""
        node = self._origin_of(output.get_node())
        if node.get_type_name() != "Concat":
            return (self._head(node),)
        return tuple(self._head(self._origin_of(port.get_source_output().get_node())) for port in node.inputs())

    def _origin_of(self, node: Any) -> Any:
        while node.get_type_name() in _THROUGH:
            node = node.input(0).get_source_output().get_node()
        return node

    def _head(self, node: Any) -> int:
        while node.get_type_name() in _AFFINE:
            sides = [port.get_source_output().get_node() for port in node.inputs()]
            node = next((side for side in sides if side.get_name() not in self.fixed), node)
            node = self._origin_of(node)
        if node.get_name() not in self.numbers:
            raise ModelError(
                f"{self.origin}: {node.get_type_name()} gives the boxes or scores of a map, expected a convolution"
            )
        return self.numbers[node.get_name()]


def _upstream(nodes: Iterable[Any]) -> set[str]:
    """Names of these operations and of all that they depend on."""
    known: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.get_name() not in known:
            known.add(node.get_name())
            waiting += [port.get_source_output().get_node() for port in node.inputs()]
    return known


def without_rounding(model: Any, opset: Any, evaluate: Evaluate) -> int:
    """Takes the rounding out of a quantised graph, in place: what it computes in float32. Returns how many there were.

    Rounding to numbers of 0 .. 6 is a ReLU6, which is not written beside it; rounding to numbers from 0 up is a ReLU.

    Args:
        model: the graph (`openvino.Model`).
        opset: OpenVINO's operations, `openvino.opset13` or newer.
        evaluate: see there.
    """
    roundings = [node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    limits = iter(evaluate([node.input(place).get_source_output() for node in roundings for place in (1, 2, 3, 4)]))
    for node in roundings:
        low, high, new_low, new_high = (next(limits).reshape(-1) for _ in range(4))
        source = node.input(0).get_source_output()
        if not np.allclose(low, new_low) or not np.allclose(high, new_high):  # of the image, from 8 bits
            factor = (new_high - new_low) / (high - low)
            scaled = opset.multiply(source, opset.constant(_of_all(factor)))
            source = opset.add(scaled, opset.constant(_of_all(new_low - low * factor))).output(0)
        elif low.min() >= 0 and not _is_never_negative(source.get_node()):
            relu6 = abs(float(high.max()) - SIX) < SIX / 100
            source = (opset.clamp(source, 0.0, SIX) if relu6 else opset.relu(source)).output(0)
        node.output(0).replace(source)
    return len(roundings)


def _of_all(values: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "..."]:
    """One number for a whole map.

    Raises:
        ModelError: they are several.
    """
    if not np.allclose(values, values[0]):
        raise ModelError("a quantised graph whose channels are scaled one by one")
    return np.array(values[0], np.float32)


def _is_never_negative(node: Any) -> bool:
    while node.get_type_name() in _MOVES:
        node = node.input(0).get_source_output().get_node()
    return node.get_type_name() in _NOT_NEGATIVE
