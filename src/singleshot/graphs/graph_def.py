"""TensorFlow's GraphDef from JSON, as TensorFlow.js keeps a graph, to the bytes of a frozen `.pb`.

Values of constants come from elsewhere (the shards). Convolutions that are fused with what follows them are taken
apart, as OpenVINO has no such operations.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from singleshot.errors import ModelError

MOST_NODES = 100_000
_TYPES = {
    "DT_FLOAT": (1, "<f4"), "DT_DOUBLE": (2, "<f8"), "DT_INT32": (3, "<i4"), "DT_UINT8": (4, "u1"),
    "DT_INT16": (5, "<i2"), "DT_INT8": (6, "i1"), "DT_STRING": (7, ""), "DT_INT64": (9, "<i8"), "DT_BOOL": (10, "?"),
    "DT_HALF": (19, "<f2"), "DT_RESOURCE": (20, ""), "DT_VARIANT": (21, ""),
}  # fmt: skip
"""Of types.proto: the number, and what numpy calls it."""
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "node": {"name": (1, "string"), "op": (2, "string"), "input": (3, "*string"), "device": (4, "string")},
    "attribute": {
        "list": (1, "list"), "s": (2, "base64"), "i": (3, "integer"), "f": (4, "float"), "b": (5, "bool"),
        "type": (6, "type"), "shape": (7, "shape"), "tensor": (8, "tensor"),
    },
    "list": {
        "s": (2, "*base64"), "i": (3, "*integer"), "f": (4, "*float"), "b": (5, "*bool"), "type": (6, "*type"),
        "shape": (7, "*shape"),
    },
    "shape": {"dim": (2, "*side"), "unknownRank": (3, "bool")},
    "side": {"size": (1, "integer"), "name": (2, "string")},
    "tensor": {
        "dtype": (1, "type"), "tensorShape": (2, "shape"), "versionNumber": (3, "integer"),
        "tensorContent": (4, "base64"), "floatVal": (5, "*float"), "intVal": (7, "*integer"),
    },
}  # fmt: skip
"""Of node_def.proto, attr_value.proto, tensor.proto and tensor_shape.proto: field and kind; `*` repeats."""
_FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative"}
_STEPS = {b"BiasAdd": "BiasAdd", b"Relu": "Relu", b"Relu6": "Relu6"}
_VARINT, _DELIMITED, _FOUR_BYTES = 0, 2, 5


def frozen_graph(topology: Mapping[str, Any], tensors: Mapping[str, np.ndarray], origin: str) -> bytes:
    """The graph in bytes, each constant with its tensor.

    Args:
        topology: GraphDef as protobuf writes it in JSON, constants without values.
        tensors: values of the constants, by name.
        origin: file, for messages.

    Raises:
        ModelError: it is no graph of operations, it calls functions, or a constant has no tensor.
    """
    nodes = topology.get("node")
    if not isinstance(nodes, list) or not 0 < len(nodes) <= MOST_NODES:
        raise ModelError(
            f"{origin} holds no graph of operations: a graph model of TensorFlow.js is read, layers are not"
        )
    content = []
    for node in nodes:
        fields = node if isinstance(node, dict) else {}
        name = fields.get("name")
        try:
            content += [_delimited(1, _node(part, tensors)) for part in _taken_apart(fields)]
        except (AttributeError, TypeError, ValueError, LookupError, OverflowError, struct.error) as error:
            reason = str(error).partition("\n")[0][:120]
            raise ModelError(f"{origin}: the operation {str(name)[:80]!r} cannot be read: {reason}") from None
    return b"".join(content)


def _taken_apart(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A fused convolution as a convolution and what follows it; another operation as it is."""
    if node.get("op") not in _FUSED:
        yield dict(node)
        return
    attributes, inputs, name = dict(node["attr"]), list(node["input"]), node["name"]
    steps = [base64.b64decode(step, validate=True) for step in attributes.pop("fused_ops")["list"]["s"]]
    unknown = [step for step in steps if step not in _STEPS]
    if unknown or not steps:
        raise ValueError(f"a convolution fused with {unknown or 'nothing'}, expected BiasAdd, Relu or Relu6")
    for key in ("num_args", "epsilon", "leakyrelu_alpha", "TArgs", "num_host_args"):
        attributes.pop(key, None)
    kind = {"T": attributes["T"]}
    current = f"{name}/convolution"
    yield {"name": current, "op": _FUSED[node["op"]], "input": inputs[:2], "attr": attributes}
    for place, step in enumerate(steps):
        following = name if place == len(steps) - 1 else f"{name}/{place}"
        operands = [current, *([inputs[2]] if step == b"BiasAdd" else [])]
        yield {"name": following, "op": _STEPS[step], "input": operands, "attr": kind}
        current = following


def _node(node: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> bytes:
    attributes = node.pop("attr", {})
    if node["op"] == "Const":
        kind = attributes["dtype"]["type"]
        value = tensors.get(node["name"])
        if value is None:
            raise ValueError("no shard holds its value")
        array = value.astype(_TYPES[kind][1] or "invalid")
        shape = {"dim": [{"size": side} for side in array.shape]}
        tensor = _message({"dtype": kind, "tensorShape": shape}, "tensor") + _delimited(4, array.tobytes())
        content = {"dtype": _message(attributes["dtype"], "attribute"), "value": _delimited(8, tensor)}
    else:
        content = {key: _message(value, "attribute") for key, value in attributes.items() if not key.startswith("_")}
    pairs = (_delimited(1, key.encode()) + _delimited(2, value) for key, value in content.items())
    known = {key: value for key, value in node.items() if key in _MESSAGES["node"]}  # the rest is for debugging
    return _message(known, "node") + b"".join(_delimited(5, pair) for pair in pairs)


def _message(values: Mapping[str, Any], kind: str) -> bytes:
    """A message of a kind in `_MESSAGES`."""
    content = []
    for key, value in values.items():
        if key not in _MESSAGES[kind]:
            raise ValueError(f"{kind} with {key[:40]!r}, which is not read")
        number, of = _MESSAGES[kind][key]
        items = value if of.startswith("*") else [value]
        content += [_field(number, of.removeprefix("*"), item) for item in items]
    return b"".join(content)


def _field(number: int, kind: str, value: Any) -> bytes:
    if kind == "string":
        return _delimited(number, value.encode() if isinstance(value, str) else _no(value))
    if kind == "base64":
        return _delimited(number, base64.b64decode(value, validate=True))
    if kind == "float":
        return _varint(number << 3 | _FOUR_BYTES) + struct.pack("<f", value)
    if kind in _MESSAGES:
        return _delimited(number, _message(value if isinstance(value, dict) else _no(value), kind))
    whole = _TYPES[value][0] if kind == "type" else int(value)
    if not -(2**63) <= whole < 2**63:
        _no(value)
    return _varint(number << 3 | _VARINT) + _varint(whole % 2**64)


def _no(value: object) -> Any:
    raise ValueError(f"{str(value)[:40]!r} stands where another kind of value is expected")


def _delimited(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    return bytes([*content, value])
