"""Small `.tflite` files: a writer of FlatBuffers and FlexBuffers, and a detector of two operations."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

OPTIONS: dict[str, float | int | bool] = {
    "max_detections": 3,
    "max_classes_per_detection": 1,
    "nms_iou_threshold": 0.5,
    "nms_score_threshold": 0.25,
    "num_classes": 3,
    "y_scale": 10.0,
    "x_scale": 10.0,
    "h_scale": 5.0,
    "w_scale": 5.0,
    "use_regular_nms": False,
}
ANCHORS = np.array([[0.5, 0.5, 0.2, 0.4], [0.25, 0.5, 0.5, 0.5], [0.5, 0.75, 0.1, 0.1]], np.float32)
"""ycenter, xcenter, height, width."""
_RESHAPE, _LOGISTIC, _CUSTOM = 22, 14, 32


def flatbuffer(root: dict[int, Any], identifier: bytes) -> bytes:
    """A table: field number -> (struct kind, number), array, text, table (dict) or list of tables."""
    out = bytearray(4) + identifier
    struct.pack_into("<I", out, 0, _put(out, root))
    return bytes(out)


def _align(out: bytearray, size: int, after: int = 0) -> None:
    out.extend(bytes(-(len(out) + after) % size))


def _put(out: bytearray, value: Any) -> int:
    if isinstance(value, dict):
        return _put_table(out, value)
    if isinstance(value, list):
        _align(out, 4)
        start = len(out)
        out.extend(struct.pack("<I", len(value)) + bytes(4 * len(value)))
        for number, entry in enumerate(value):
            place = start + 4 + 4 * number
            struct.pack_into("<I", out, place, _put(out, entry) - place)
        return start
    data = np.frombuffer(value.encode(), np.uint8) if isinstance(value, str) else value
    _align(out, 16, 4)
    start = len(out)
    out.extend(struct.pack("<I", data.size) + data.tobytes() + b"\0")
    return start


def _put_table(out: bytearray, fields: dict[int, Any]) -> int:
    count = max(fields, default=-1) + 1
    _align(out, 8)
    vtable = len(out)
    start = vtable + 4 + 2 * count
    start += -start % 8
    places = {field: 8 + 8 * order for order, field in enumerate(fields)}
    entries = [places.get(field, 0) for field in range(count)]
    out.extend(struct.pack(f"<HH{count}H", 4 + 2 * count, 8 + 8 * len(fields), *entries))
    out.extend(bytes(start + 8 + 8 * len(fields) - len(out)))
    struct.pack_into("<i", out, start, start - vtable)
    for field, value in fields.items():
        place = start + places[field]
        if isinstance(value, tuple):
            struct.pack_into(f"<{value[0]}", out, place, value[1])
        else:
            struct.pack_into("<I", out, place, _put(out, value) - place)
    return start


def flexbuffer(values: Mapping[str, float | int | bool]) -> bytes:
    """A map of numbers, each of four bytes."""
    out, keys = bytearray(), {}
    for name in sorted(values):
        keys[name] = len(out)
        out.extend(name.encode() + b"\0")
    _align(out, 4)
    out.extend(struct.pack("<I", len(keys)))
    key_vector = len(out)
    for place in keys.values():
        out.extend(struct.pack("<I", len(out) - place))
    out.extend(struct.pack("<III", len(out) - key_vector, 4, len(keys)))
    vector, types = len(out), bytearray()
    for name in keys:
        value = values[name]
        kind = 26 if isinstance(value, bool) else 3 if isinstance(value, float) else 1
        out.extend(struct.pack("<f" if kind == 3 else "<i", value))
        types.append(kind << 2 | 2)
    out.extend(types)
    out.append(len(out) - vector)
    return bytes(out) + bytes([9 << 2 | 2, 1])


def detector(
    *,
    anchors: np.ndarray = ANCHORS,
    options: Mapping[str, float | int | bool] = OPTIONS,
    custom: str = "TFLite_Detection_PostProcess",
    anchor_scale: float | None = None,
) -> bytes:
    """An image [1, 1, 4, 3] whose 12 numbers are the offsets of three boxes and, once more, their scores' logits."""
    kinds = {"float32": 0, "uint8": 3, "int32": 2}
    buffers: list[dict[int, Any]] = [{}]
    tensors: list[dict[int, Any]] = []

    def tensor(name: str, shape: list[int], data: np.ndarray | None = None, scale: float | None = None) -> int:
        kind = "float32" if data is None else data.dtype.name
        table: dict[int, Any] = {0: np.array(shape, np.int32), 1: ("b", kinds[kind]), 3: name}
        if data is not None:
            buffers.append({0: np.frombuffer(data.tobytes(), np.uint8)})
            table[2] = ("I", len(buffers) - 1)
        if scale is not None:
            table[4] = {2: np.array([scale], np.float32), 3: np.array([4], np.int64)}
        tensors.append(table)
        return len(tensors) - 1

    image = tensor("image", [1, 1, 4, 3])
    shape = tensor("shape", [3], np.array([1, 3, 4], np.int32))
    offsets, scores = tensor("offsets", [1, 3, 4]), tensor("scores", [1, 3, 4])
    boxes = tensor("anchors", list(anchors.shape), anchors, anchor_scale)
    results = [tensor(f"result {number}", []) for number in range(4)]

    def operator(code: int, inputs: list[int], outputs: list[int], custom_options: bytes = b"") -> dict[int, Any]:
        table: dict[int, Any] = {0: ("I", code), 1: np.array(inputs, np.int32), 2: np.array(outputs, np.int32)}
        return table | ({5: np.frombuffer(custom_options, np.uint8)} if custom_options else {})

    codes = [_RESHAPE, _LOGISTIC, _CUSTOM]
    operators = [
        operator(0, [image, shape], [offsets]),
        operator(1, [offsets], [scores]),
        operator(2, [offsets, scores, boxes], results, flexbuffer(options)),
    ]
    graph = {0: tensors, 1: np.array([image], np.int32), 2: np.array(results, np.int32), 3: operators, 4: "main"}
    listed = [{0: ("b", code), 3: ("i", code)} | ({1: custom} if code == _CUSTOM else {}) for code in codes]
    return flatbuffer({0: ("I", 3), 1: listed, 2: [graph], 3: "test", 4: buffers}, b"TFL3")
