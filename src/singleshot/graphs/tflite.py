"""A `.tflite` file: what it says of itself, and the part of it that OpenVINO can read.

Schema: tensorflow/lite/schema/schema.fbs, whose field numbers stand below. Detectors of TensorFlow's Object Detection
API end in the custom operation `TFLite_Detection_PostProcess`, which OpenVINO does not have: the file is cut before it.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.errors import ModelError
from singleshot.files import read_regular
from singleshot.graphs.flatbuffer import Buffer, Table, flexbuffer_map
from singleshot.shapes import Float32

LARGEST_FILE = 2**30
"""Bytes; the largest detector of TensorFlow's model zoo has 260 million."""
LARGEST_LABELS = 2**20
IDENTIFIER = b"TFL3"
POST_PROCESS = "TFLite_Detection_PostProcess"
_MODEL = {"codes": 1, "subgraphs": 2, "buffers": 4}
_CODE = {"deprecated": 0, "custom": 1, "builtin": 3}
_SUBGRAPH = {"tensors": 0, "inputs": 1, "outputs": 2, "operators": 3}
_TENSOR = {"shape": 0, "type": 1, "buffer": 2, "name": 3, "quantization": 4}
_QUANTIZATION = {"scale": 2, "zero_point": 3}
_OPERATOR = {"code": 0, "inputs": 1, "outputs": 2, "custom_options": 5}
_BUFFER_DATA = 0
_TYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 4: "<i8", 7: "<i2", 9: "i1"}
_WEIGHTS = {1: "float16 weights", 3: "uint8 weights, dequantised", 9: "int8 weights, dequantised"}


@dataclass(frozen=True)
class PostProcess:
    """The options of `TFLite_Detection_PostProcess`, under its own names."""

    max_detections: int
    nms_iou_threshold: float
    nms_score_threshold: float
    num_classes: int
    y_scale: float
    x_scale: float
    h_scale: float
    w_scale: float
    use_regular_nms: bool = False


@dataclass(frozen=True, eq=False)
class TFLiteFile:
    """What a `.tflite` file holds.

    Attributes:
        content: its bytes, cut before the post-process: then the results are box encodings and class scores.
        post_process: the options of the operation that was cut off; None where there is none.
        anchors: ycenter, xcenter, height, width as fractions of the image; None where there is no post-process.
        rounding: half a step of the anchors' quantisation, fractions of the image; 0 where they are float.
        input_size_hw: height and width of the input.
        input_scale: quantisation of an 8-bit input, scale and zero point; None where it takes floats.
        weights: in words, such as `int8 weights, dequantised`; empty for float32.
        labels: lines of the label file in its metadata; None where it has none.
    """

    content: bytes
    post_process: PostProcess | None
    anchors: Float32[np.ndarray, "K 4"] | None
    rounding: float
    input_size_hw: tuple[int, int]
    input_scale: tuple[float, float] | None
    weights: str
    labels: tuple[str, ...] | None


def read_tflite(path: Path) -> TFLiteFile:
    """What a `.tflite` file holds.

    Raises:
        ModelError: it is damaged, or no image goes in.
    """
    try:
        content = read_regular(path, LARGEST_FILE)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if content[4:8] != IDENTIFIER:
        raise ModelError(f"{path} is no .tflite file: it does not hold {IDENTIFIER.decode()} at byte 4")
    return _Reader(content, str(path)).read()


class _Reader:
    def __init__(self, content: bytes, origin: str) -> None:
        self.origin, self.content = origin, content
        model = Buffer(content, origin).root()
        graphs = model.tables(_MODEL["subgraphs"])
        if not graphs:
            raise ModelError(f"{origin} holds no graph")
        self.graph = graphs[0]
        self.buffers = model.tables(_MODEL["buffers"])
        self.tensors = self.graph.tables(_SUBGRAPH["tensors"])
        self.operators = self.graph.tables(_SUBGRAPH["operators"])
        self.codes = [code.string(_CODE["custom"]) for code in model.tables(_MODEL["codes"])]

    def read(self) -> TFLiteFile:
        self._require_sound()
        inputs = self.graph.array(_SUBGRAPH["inputs"], "<i4")
        shape = self._shape(inputs[0]) if len(inputs) == 1 else []
        if len(shape) != 4 or shape[3] != 3 or min(shape) < 1:
            raise ModelError(f"{self.origin} takes {len(inputs)} inputs {shape}, expected one image [1, H, W, 3]")
        last = [number for number, operator in enumerate(self.operators) if self._custom(operator) == POST_PROCESS]
        content, options, anchors, rounding = self.content, None, None, 0.0
        if last:
            operator = self.operators[last[0]]
            options = self._options(operator)
            boxes, scores, defaults = operator.array(_OPERATOR["inputs"], "<i4")[:3].tolist()
            anchors, rounding = self._values(defaults)
            content = self._cut(last[0], (boxes, scores))
        return TFLiteFile(
            content,
            options,
            anchors,
            rounding,
            (shape[1], shape[2]),
            self._input_scale(inputs[0]),
            self._weights(),
            _labels(self.content),
        )

    def _require_sound(self) -> None:
        """Every number of a tensor, buffer or operation names one that exists, so that OpenVINO reads no others."""
        count = len(self.tensors)
        for table, fields in ((self.graph, (1, 2)), *((operator, (1, 2)) for operator in self.operators)):
            for field in fields:
                numbers = table.array(field, "<i4")
                if len(numbers) and (numbers.min() < -1 or numbers.max() >= count):
                    raise ModelError(f"{self.origin} is damaged: it names tensor {int(numbers.max())} of {count}")
        for operator in self.operators:
            if operator.number(_OPERATOR["code"], "I") >= len(self.codes):
                raise ModelError(f"{self.origin} is damaged: it names an operation that is not listed")
        for tensor in self.tensors:
            if tensor.number(_TENSOR["buffer"], "I") >= len(self.buffers):
                raise ModelError(f"{self.origin} is damaged: it names a buffer that is not listed")
            self._require_size(tensor)
        if any(self._custom(operator) not in {"", POST_PROCESS} for operator in self.operators):
            names = sorted({self._custom(operator) for operator in self.operators} - {"", POST_PROCESS})
            raise ModelError(f"{self.origin} holds operations that only its own program has: {', '.join(names)}")

    def _require_size(self, tensor: Table) -> None:
        """A constant has as many bytes as its shape says."""
        dtype = _TYPES.get(tensor.number(_TENSOR["type"], "b"))
        data = self._data(tensor)
        shape = tensor.array(_TENSOR["shape"], "<i4").tolist()
        if dtype is None or not len(data):
            return
        expected = np.dtype(dtype).itemsize
        for side in shape:
            expected *= side
        if expected != len(data):
            name = tensor.string(_TENSOR["name"])
            raise ModelError(f"{self.origin} is damaged: {name} of shape {shape} has {len(data):,} bytes")

    def _data(self, tensor: Table) -> np.ndarray:
        number: int = tensor.number(_TENSOR["buffer"], "I")
        return self.buffers[number].array(_BUFFER_DATA, "u1")

    def _shape(self, number: int) -> list[int]:
        return [int(side) for side in self.tensors[number].array(_TENSOR["shape"], "<i4")]

    def _custom(self, operator: Table) -> str:
        number: int = operator.number(_OPERATOR["code"], "I")
        return self.codes[number]

    def _options(self, operator: Table) -> PostProcess:
        inputs = operator.array(_OPERATOR["inputs"], "<i4")
        if len(inputs) < 3 or min(inputs[:3]) < 0:
            raise ModelError(f"{self.origin}: {POST_PROCESS} has {len(inputs)} inputs, expected 3")
        options = flexbuffer_map(operator.array(_OPERATOR["custom_options"], "u1").tobytes(), self.origin)
        values: dict[str, Any] = {
            name: kind(options[name])
            for name, kind in (
                ("max_detections", int),
                ("nms_iou_threshold", float),
                ("nms_score_threshold", float),
                ("num_classes", int),
                ("y_scale", float),
                ("x_scale", float),
                ("h_scale", float),
                ("w_scale", float),
            )
            if name in options
        }
        missing = sorted(set(PostProcess.__annotations__) - {"use_regular_nms"} - set(values))
        if missing:
            raise ModelError(f"{self.origin}: {POST_PROCESS} has no option {', '.join(missing)}")
        return PostProcess(**values, use_regular_nms=bool(options.get("use_regular_nms", False)))

    def _values(self, number: int) -> tuple[Float32[np.ndarray, "K 4"], float]:
        """A constant as float32, dequantised, and half its quantisation step."""
        tensor = self.tensors[number]
        dtype, shape = _TYPES.get(tensor.number(_TENSOR["type"], "b")), self._shape(number)
        data = self._data(tensor)
        if dtype is None or not len(data) or len(shape) != 2 or shape[1] != 4:
            raise ModelError(f"{self.origin}: the default boxes are no constant (K, 4), but {shape}")
        values = data.view(dtype).reshape(shape).astype(np.float32)
        scale = self._scale(number)
        if scale is None:
            return values, 0.0
        return (values - np.float32(scale[1])) * np.float32(scale[0]), scale[0] / 2

    def _scale(self, number: int) -> tuple[float, float] | None:
        """Scale and zero point of a tensor that is quantised as a whole."""
        table = self.tensors[number].table(_TENSOR["quantization"])
        scales = np.zeros(0) if table is None else table.array(_QUANTIZATION["scale"], "<f4")
        if table is None or len(scales) != 1:
            return None
        zeros = table.array(_QUANTIZATION["zero_point"], "<i8")
        return float(scales[0]), float(zeros[0]) if len(zeros) else 0.0

    def _input_scale(self, number: int) -> tuple[float, float] | None:
        kind = _TYPES.get(self.tensors[number].number(_TENSOR["type"], "b"))
        if kind == "<f4":
            return None
        scale = self._scale(number)
        if kind not in {"u1", "i1"} or scale is None:
            raise ModelError(f"{self.origin} takes images of type {kind}, expected float32, uint8 or int8 with a scale")
        return scale

    def _weights(self) -> str:
        """What most of the constants' bytes are stored as."""
        sizes: dict[int, int] = {}
        for tensor in self.tensors:
            kind = tensor.number(_TENSOR["type"], "b")
            sizes[kind] = sizes.get(kind, 0) + len(self._data(tensor))
        return _WEIGHTS.get(max(sizes, key=sizes.__getitem__), "") if sizes else ""

    def _cut(self, number: int, outputs: tuple[int, int]) -> bytes:
        """The file without an operation, with two results of its graph: lengths and entries are changed in place."""
        content = bytearray(self.content)
        start, count = self.graph.vector(_SUBGRAPH["outputs"], 4)
        if count < len(outputs):
            raise ModelError(f"{self.origin} has {count} results, {POST_PROCESS} gives 4")
        struct.pack_into(f"<I{len(outputs)}i", content, start - 4, len(outputs), *outputs)
        start, count = self.graph.vector(_SUBGRAPH["operators"], 4)
        for place in range(start + 4 * number, start + 4 * (count - 1), 4):  # each entry counts from where it stands
            struct.pack_into("<I", content, place, struct.unpack_from("<I", content, place + 4)[0] + 4)
        struct.pack_into("<I", content, start - 4, count - 1)
        return bytes(content)


def _labels(content: bytes) -> tuple[str, ...] | None:
    """The label file that TensorFlow Lite's metadata tools append to the model, as a zip archive."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            texts = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".txt")]
            texts.sort(key=lambda entry: "label" not in entry.filename.lower())
            if not texts or texts[0].file_size > LARGEST_LABELS:
                return None
            with archive.open(texts[0]) as file:
                text = file.read(LARGEST_LABELS + 1).decode("utf-8-sig")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError):
        return None
    return tuple(text.splitlines())
