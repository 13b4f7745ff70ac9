"""A small SSD MobileNetV1 of random weights as a manifest of TensorFlow.js, and the same network by OpenVINO."""

from __future__ import annotations

import json
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
