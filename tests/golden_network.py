"""The golden networks' recipe: weights and images from integers, equal on every machine (6_network/README.txt)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from golden import gauss

MEAN_BGR = np.array([104, 117, 123])[:, None, None]


def recipe_blobs(params: list[dict[str, Any]], *, seed: int, num_classes: int) -> dict[str, list[np.ndarray]]:
    """The blobs of every layer with parameters; `params` lists them in net order."""
    return {
        layer["layer"]: _blobs(layer, i, seed=seed + 10 * i, num_classes=num_classes) for i, layer in enumerate(params)
    }


def _blobs(layer: dict[str, Any], i: int, *, seed: int, num_classes: int) -> list[np.ndarray]:
    shapes = [tuple(shape) for shape in layer["shapes"]]
    if layer["type"] == "Convolution":
        return _convolution(layer["layer"], shapes, i, seed=seed, num_classes=num_classes)
    if layer["type"] == "Normalize":
        return [np.float32(20) * (1 + np.float32(0.125) * gauss(seed, shapes[0]))]
    if layer["type"] == "BatchNorm":
        mean, variance = (np.float32(0.25) * gauss(seed + k, shapes[k]) for k in range(2))
        return [mean, 2 + variance, np.array([2.0], np.float32)]
    assert layer["type"] == "Scale", layer
    return [1 + np.float32(0.125) * gauss(seed, shapes[0]), np.float32(0.125) * gauss(seed + 1, shapes[1])]


def _convolution(name: str, shapes: list[tuple[int, ...]], i: int, *, seed: int, num_classes: int) -> list[np.ndarray]:
    shape = shapes[0]
    gain = 1.2247 / 64 if i == 0 else 1.75 if shape[1] == 1 else 1.2247
    gain = 0.5 if name.endswith("mbox_loc") else 1.5 if name.endswith("mbox_conf") else gain
    blobs = [gauss(seed, shape) * np.float32(gain / math.sqrt(np.prod(shape[1:])))]
    if len(shapes) > 1:
        bias = gauss(seed + 1, shapes[1]) * np.float32(0.05)
        if name.endswith("mbox_conf"):
            bias[::num_classes] += 3
        blobs.append(bias)
    return blobs


def recipe_images(seed: int, count: int, height: int, width: int) -> np.ndarray:
    """Network input (count, 3, height, width): blocks of 20 pixels and noise, the mean subtracted, BGR."""
    random = np.random.RandomState(seed)
    rows, columns = (height + 19) // 20, (width + 19) // 20
    blocks = random.randint(0, 256, size=(count, 3, rows, columns))
    values = blocks.repeat(20, 2).repeat(20, 3)[:, :, :height, :width]
    values = values + random.randint(-20, 21, size=values.shape)
    return (values.clip(0, 255) - MEAN_BGR).astype(np.float32)
