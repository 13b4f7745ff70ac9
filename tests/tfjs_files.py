"""A small SSD MobileNetV1 of random weights as a manifest of TensorFlow.js, and the same network by OpenVINO."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.models.mobilenetv1 import PAIRS
from singleshot.runtime.openvino_core import core, openvino

ops = openvino.opset13
SIZE_HW = (64, 96)
WIDTH, COLUMNS, COUNTS = 4, 3, (3, 6, 6, 6, 6, 6)
EXTRAS = ((8, 16), (8, 8), (8, 8), (4, 4))
GRIDS = ((4, 6), (2, 3), (1, 2), (1, 1), (1, 1), (1, 1))
SHARDS = ("weights-1.bin", "parts/weights-2.bin")


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """TensorFlow's names and arrays."""
    random = np.random.default_rng(seed)

    def numbers(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
        return random.uniform(low, high, shape).astype(np.float32)

    def filters(*shape: int) -> np.ndarray:
        return numbers(*shape) * np.float32((3 / np.prod(shape[:3])) ** 0.5)

    arrays: dict[str, np.ndarray] = {}

    def folded(name: str, kernel: int, inputs: int, outputs: int) -> None:
        arrays[f"{name}/weights"] = filters(kernel, kernel, inputs, outputs)
        arrays[f"{name}/convolution_bn_offset"] = numbers(outputs, low=0, high=0.5)

    last, sources = 32 // WIDTH, []
    folded("MobilenetV1/Conv2d_0_pointwise", 3, 3, last)
    for number, (outputs, _) in enumerate(PAIRS, 1):
        name = f"MobilenetV1/Conv2d_{number}_depthwise"
        arrays[f"{name}/depthwise_weights"] = numbers(3, 3, last, 1)
        for part, low in (("gamma", 0.7), ("beta", 0.0), ("moving_mean", -0.2), ("moving_variance", 0.5)):
            arrays[f"{name}/BatchNorm/{part}"] = numbers(last, low=low, high=low + 0.8)
        folded(f"MobilenetV1/Conv2d_{number}_pointwise", 1, last, last := outputs // WIDTH)
        sources += [last] if number in {11, 13} else []
    for place, (squeeze, outputs) in enumerate(EXTRAS):
        folded(f"Prediction/Conv2d_{2 * place}_pointwise", 1, last, squeeze)
        folded(f"Prediction/Conv2d_{2 * place + 1}_pointwise", 3, squeeze, last := outputs)
        sources.append(last)
    for place, (inputs, count) in enumerate(zip(sources, COUNTS, strict=True)):
        for kind, columns in (("BoxEncodingPredictor", 4), ("ClassPredictor", COLUMNS)):
            name = f"Prediction/BoxPredictor_{place}/{kind}"
            arrays |= {
                f"{name}/weights": filters(1, 1, inputs, count * columns),
                f"{name}/biases": numbers(count * columns),
            }
    arrays["Preprocessor/mul/x"] = np.array(2 / 255, np.float32)
    arrays["Preprocessor/sub/y"] = np.array(1, np.float32)
    arrays["Preprocessor/ResizeImage/size"] = np.array(SIZE_HW, np.int32)
    arrays["Postprocessor/stack/1"] = np.array(7, np.int32)
    return arrays | {"Output/extra_dim": anchors(random)}


def anchors(random: np.random.Generator) -> np.ndarray:
    """Boxes y1, x1, y2, x2 around the centres of the cells, of a few sizes a map."""
    rows = []
    for (height, width), count in zip(GRIDS, COUNTS, strict=True):
        sizes = random.integers(8, 48, (count, 2)) / np.array(SIZE_HW)
        for y in range(height):
            for x in range(width):
                centre = np.array([(y + 0.5) / height, (x + 0.5) / width])
                rows += [[*(centre - size / 2), *(centre + size / 2)] for size in sizes]
    return np.array([rows], np.float32)


def write(folder: Path, arrays: dict[str, np.ndarray], *, quantised: str = "uint8") -> dict[str, np.ndarray]:
    """Write manifest and shards; returns the tensors that they stand for. Default boxes are no integers."""
    stored: dict[str, np.ndarray] = {}
    groups: list[dict[str, Any]] = [{"paths": [name], "weights": []} for name in SHARDS]
    contents = [b"", b""]
    for number, (name, array) in enumerate(arrays.items()):
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
        stored[name], content = array, array.tobytes()
        if quantised == "float16" and array.dtype == np.float32:
            half = array.astype(np.float16)
            entry["quantization"], stored[name], content = {"dtype": quantised}, half.astype(np.float32), half.tobytes()
        elif quantised in {"uint8", "uint16"} and name != "Output/extra_dim":
            kind = np.dtype(quantised)
            low = float(array.min())
            scale = float(array.max() - array.min()) / np.iinfo(kind).max or 1.0
            levels = np.round((array - low) / scale).astype(kind)
            entry["quantization"] = {"dtype": quantised, "scale": scale, "min": low}
            values = levels * scale + low
            whole = array.dtype == np.int32
            stored[name], content = (np.round(values) if whole else values).astype(array.dtype), levels.tobytes()
        groups[number % 2]["weights"].append(entry)
        contents[number % 2] += content
    (folder / "parts").mkdir()
    for name, content in zip(SHARDS, contents, strict=True):
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(groups))
    return stored


def reference(arrays: dict[str, np.ndarray], image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (K, 4) as y, x, h, w and scores (K, C) before the sigmoid, as face-api computes them."""
    pixels = ops.parameter([1, 3, *SIZE_HW], np.float32)

    def folded(x: Any, name: str, stride: int) -> Any:
        return ops.clamp(biased(x, name, "convolution_bn_offset", stride), 0.0, 6.0)

    def biased(x: Any, name: str, bias: str, stride: int = 1) -> Any:
        weight = arrays[f"{name}/weights"].transpose(3, 2, 0, 1)
        x = ops.convolution(x, ops.constant(weight.copy()), [stride] * 2, [0, 0], [0, 0], [1, 1], "same_upper")
        return ops.add(x, ops.constant(arrays[f"{name}/{bias}"].reshape(1, -1, 1, 1)))

    def depthwise(x: Any, name: str, stride: int) -> Any:
        weight = arrays[f"{name}/depthwise_weights"].transpose(2, 3, 0, 1)[:, None]
        x = ops.group_convolution(x, ops.constant(weight.copy()), [stride] * 2, [0, 0], [0, 0], [1, 1], "same_upper")
        norm = [arrays[f"{name}/BatchNorm/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        return ops.clamp(ops.batch_norm_inference(x, *map(ops.constant, norm), 0.001), 0.0, 6.0)

    def rows(x: Any, columns: int) -> Any:
        return ops.reshape(ops.transpose(x, [0, 2, 3, 1]), [1, -1, columns], False)

    x, sources = folded(pixels, "MobilenetV1/Conv2d_0_pointwise", 2), []
    for number, (_, stride) in enumerate(PAIRS, 1):
        x = depthwise(x, f"MobilenetV1/Conv2d_{number}_depthwise", stride)
        x = folded(x, f"MobilenetV1/Conv2d_{number}_pointwise", 1)
        sources += [x] if number in {11, 13} else []
    for number in range(2 * len(EXTRAS)):
        x = folded(x, f"Prediction/Conv2d_{number}_pointwise", 1 + number % 2)
        sources += [x] if number % 2 else []
    heads = [
        ops.concat(
            [rows(biased(x, f"Prediction/BoxPredictor_{k}/{kind}", "biases"), columns) for k, x in enumerate(sources)],
            1,
        )
        for kind, columns in (("BoxEncodingPredictor", 4), ("ClassPredictor", COLUMNS))
    ]
    compiled = core().compile_model(openvino.Model(heads, [pixels]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    prepared = np.ascontiguousarray((image.astype(np.float32) * (2 / 255) - 1).transpose(2, 0, 1)[None], np.float32)
    results = compiled([prepared])
    return np.array(results[0])[0], np.array(results[1])[0]


GRAPH_SIZE_HW, GRAPH_BOXES, GRAPH_COLUMNS = (6, 8), 2, 4
CHANNELS = 5


@dataclass
class GraphModel:
    """A graph of one map as TensorFlow.js keeps it: fused convolutions, and the decoding of the boxes."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attributes, "experimentalType": {}})
        return name

    def constant(self, name: str, array: np.ndarray, kind: str = "") -> str:
        self.arrays[name] = array
        types = {"float32": "DT_FLOAT", "int32": "DT_INT32"}
        return self.add(name, "Const", dtype={"type": kind or types[str(array.dtype)]}, value={"tensor": {}})

    def binary(self, name: str, op: str, x: str, value: np.ndarray | float | str) -> str:
        other = value if isinstance(value, str) else self.constant(f"{name}/y", np.asarray(value, np.float32))
        return self.add(name, op, [x, other], T={"type": "DT_FLOAT"})

    def convolution(self, name: str, op: str, x: str, stride: int, steps: Sequence[str]) -> str:
        sides = {"list": {"i": ["1", str(stride), str(stride), "1"]}}
        return self.add(
            name, op, [x, f"{name}/weights", f"{name}/bias"],
            T={"type": "DT_FLOAT"}, strides=sides, padding={"s": text("SAME")}, data_format={"s": text("NHWC")},
            dilations={"list": {"i": ["1"] * 4}}, fused_ops={"list": {"s": [text(step) for step in steps]}},
            num_args={"i": "1"}, epsilon={"f": 0.0}, _output_shapes={"list": {}},
        )  # fmt: skip

    def weights(self, name: str, *shape: int, seed: int = 0) -> None:
        random = np.random.default_rng([seed, *shape])
        self.constant(f"{name}/weights", random.normal(size=shape).astype(np.float32) / 2)
        outputs = shape[2] if shape[3] == 1 else shape[3]
        self.constant(f"{name}/bias", random.normal(size=outputs).astype(np.float32))

    def rows(self, name: str, x: str, columns: int) -> str:
        shape = self.constant(f"{name}/shape", np.array([1, -1, columns], np.int32), "DT_INT64")
        return self.add(name, "Reshape", [x, shape], T={"type": "DT_FLOAT"}, Tshape={"type": "DT_INT64"})


def graph_model(*, last: str = "Relu6") -> GraphModel:
    """The graph; its map is 3x4, with two heads of a box a cell."""
    graph = GraphModel()
    sides = [{"size": str(side)} for side in (1, *GRAPH_SIZE_HW, 3)]
    image = graph.add("image", "Placeholder", dtype={"type": "DT_UINT8"}, shape={"shape": {"dim": sides}})
    x = graph.add("cast", "Cast", [image], SrcT={"type": "DT_UINT8"}, DstT={"type": "DT_FLOAT"})
    x = graph.binary("sub", "Sub", graph.binary("mul", "Mul", x, 2 / 255), 1)
    graph.weights("first", 3, 3, 3, CHANNELS)
    graph.weights("second", 3, 3, CHANNELS, 1)
    x = graph.convolution("first", "_FusedConv2D", x, 2, ["BiasAdd", last])
    x = graph.convolution("second", "FusedDepthwiseConv2dNative", x, 1, ["BiasAdd", "Relu"])
    axis, joined = graph.constant("one", np.array(1, np.int32)), []
    for kind, columns in (("boxes", 4), ("scores", GRAPH_COLUMNS)):
        rows = []
        for name in (f"{kind}0", f"{kind}1"):
            graph.weights(name, 1, 1, CHANNELS, columns, seed=int(name[-1]))
            rows.append(graph.rows(f"{name}/rows", graph.convolution(name, "_FusedConv2D", x, 1, ["BiasAdd"]), columns))
        sizes = {"T": {"type": "DT_FLOAT"}, "N": {"i": "2"}, "Tidx": {"type": "DT_INT32"}}
        joined.append(graph.add(kind, "ConcatV2", [*rows, axis], **sizes))
    offsets, logits = joined
    graph.add("detection_scores", "Sigmoid", [logits], T={"type": "DT_FLOAT"})
    axis = graph.constant("axis", np.array(2, np.int32))
    graph.add("split", "Split", [axis, offsets], T={"type": "DT_FLOAT"}, num_split={"i": "4"})
    boxes = graph_anchors()
    centres, halves = [], []
    for place, code in enumerate(("split", "split:1", "split:2", "split:3")):
        x = graph.binary(f"scaled{place}", "Mul", code, 0.1 if place < 2 else 0.2)
        if place < 2:
            x = graph.binary(f"shifted{place}", "Mul", x, boxes[:, 2 + place][None, :, None])
            centres.append(graph.binary(f"centre{place}", "AddV2", x, boxes[:, place][None, :, None]))
        else:
            x = graph.add(f"exp{place}", "Exp", [x], T={"type": "DT_FLOAT"})
            halves.append(graph.binary(f"half{place}", "Mul", x, boxes[:, place][None, :, None] / 2))
    corners = [
        graph.binary(f"{op}{axis}", op, centre, half)
        for op in ("Sub", "AddV2")
        for axis, (centre, half) in enumerate(zip(centres, halves, strict=True))
    ]
    kinds = {"T": {"type": "DT_FLOAT"}, "N": {"i": "4"}, "Tidx": {"type": "DT_INT32"}}
    graph.add("detection_boxes", "ConcatV2", [*corners, axis], **kinds)
    return graph


def graph_anchors() -> np.ndarray:
    """Default boxes of `graph_model`: ycenter, xcenter, height, width."""
    return np.random.default_rng(5).uniform(0.2, 0.6, (3 * 4 * GRAPH_BOXES, 4)).astype(np.float32)


def write_graph(folder: Path, graph: GraphModel) -> Path:
    """Write `model.json` and a shard."""
    entries = [{"name": name, "shape": a.shape, "dtype": str(a.dtype)} for name, a in graph.arrays.items()]
    (folder / SHARDS[0]).write_bytes(b"".join(array.tobytes() for array in graph.arrays.values()))
    manifest = [{"paths": SHARDS[:1], "weights": entries}]
    path = folder / "model.json"
    path.write_text(json.dumps({"modelTopology": {"node": graph.nodes}, "weightsManifest": manifest}))
    return path


def graph_reference(graph: GraphModel, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (K, 4) and scores (K, C) before the sigmoid, by numpy alone."""
    arrays = graph.arrays
    x = image.astype(np.float64) * (2 / 255) - 1
    pixels = np.pad(x, ((0, 1), (0, 1), (0, 0)))  # SAME, stride 2: what is missing stands at the end
    height, width = GRAPH_SIZE_HW[0] // 2, GRAPH_SIZE_HW[1] // 2
    windows = np.array([[pixels[2 * y : 2 * y + 3, 2 * x : 2 * x + 3] for x in range(width)] for y in range(height)])
    x = (np.einsum("yxhwi,hwio->yxo", windows, arrays["first/weights"]) + arrays["first/bias"]).clip(0, 6)
    around = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    windows = np.array([[around[y : y + 3, x : x + 3] for x in range(width)] for y in range(height)])
    x = np.einsum("yxhwc,hwc->yxc", windows, arrays["second/weights"][..., 0]) + arrays["second/bias"]
    x = np.maximum(x, 0)
    offsets, logits = (
        np.concatenate([(x @ arrays[f"{n}/weights"][0, 0] + arrays[f"{n}/bias"]).reshape(12, -1) for n in names])
        for names in (("boxes0", "boxes1"), ("scores0", "scores1"))
    )
    return offsets, logits


def text(value: str) -> str:
    """Bytes in protobuf's JSON."""
    return base64.b64encode(value.encode()).decode()
