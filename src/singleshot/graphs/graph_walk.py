"""Ways through a graph of OpenVINO: what an operation depends on, what depends on it, and the shapes between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from singleshot.runtime.openvino_core import openvino


def variable_inputs(node: Any) -> list[openvino.Output]:
    """The inputs that depend on the graph's input."""
    sources = [port.get_source_output() for port in node.inputs()]
    return [source for source in sources if comes_from(source.get_node(), ("Parameter",))]


def before(output: openvino.Output, kinds: Iterable[str]) -> openvino.Output:
    """Up from an output through operations of these kinds."""
    kinds = set(kinds)
    while output.get_node().get_type_name() in kinds:
        sources = variable_inputs(output.get_node())
        if len(sources) != 1:
            break
        output = sources[0]
    return output


def upstream(node: Any) -> Iterator[Any]:
    """The operation and all that it depends on."""
    known, waiting = set(), [node]
    while waiting:
        current = waiting.pop()
        if current.get_name() in known:
            continue
        known.add(current.get_name())
        yield current
        waiting += [port.get_source_output().get_node() for port in current.inputs()]


def comes_from(node: Any, kinds: Iterable[str]) -> bool:
    """Whether it is an operation of these kinds, or depends on one."""
    kinds = set(kinds)
    return any(current.get_type_name() in kinds for current in upstream(node))


def parameters_of(outputs: Sequence[openvino.Output]) -> list[Any]:
    """The inputs of the graph that these outputs depend on."""
    found = {node.get_name(): node for output in outputs for node in upstream(output.get_node())}
    return [node for node in found.values() if node.get_type_name() == "Parameter"]


def downstream(node: Any) -> dict[str, Any]:
    """All operations that depend on one, by name, nearest first."""
    known: dict[str, Any] = {}
    waiting = [node]
    while waiting:
        current = waiting.pop(0)
        for output in current.outputs():
            for target in output.get_target_inputs():
                follower = target.get_node()
                if follower.get_name() not in known:
                    known[follower.get_name()] = follower
                    waiting.append(follower)
    return known


def leads_to(node: Any, kinds: Iterable[str]) -> bool:
    """Whether an operation of these kinds depends on it."""
    kinds = set(kinds)
    return any(follower.get_type_name() in kinds for follower in downstream(node).values())


def results_behind(node: Any) -> list[openvino.Output]:
    """What goes into the graph's results behind an operation."""
    results = [follower for follower in downstream(node).values() if follower.get_type_name() == "Result"]
    return [result.input(0).get_source_output() for result in results]


def shape_of(output: openvino.Output) -> list[int]:
    """Its sides, -1 for those that may vary; empty where even their number may."""
    shape = output.get_partial_shape()
    return [side.get_length() if side.is_static else -1 for side in shape] if shape.rank.is_static else []


def length_of(output: openvino.Output, axis: int) -> int:
    """A side of its shape, -1 where it may vary."""
    return shape_of(output)[axis]
