"""MobileNetV2 weights that come from TensorFlow, as an `.npz` file of arrays in graph order.

Arrays are called `NN.<operation>.s<stride>.weight` and `.bias` (NN counts the convolutions from 00); batch
normalisation is already folded in. Filters are OHWI, depthwise ones 1HWC. The network pads as TensorFlow's SAME does,
uses ReLU6 and takes RGB pixels as x / 127.5 - 1.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models.mobilenetv2 import MobileNetV2

LARGEST = 500_000_000
"""Bytes that a file may unpack to; MobileNetV2 1.4 takes 25 million."""


def read_mobilenetv2(path: Path) -> dict[str, Tensor]:
    """The base's tensors under our names (`backbone.stem.convolution.weight`, ...); a classifier behind it is left out.

    Raises:
        ModelError: it is no such file, or it holds another network; the first array that does not fit is named.
    """
    arrays = _arrays(path)
    layers = sorted({name.rpartition(".")[0] for name in arrays})
    expected = layer_names()
    if len(layers) not in {len(expected), len(expected) + 1}:
        raise ModelError(
            f"{path} holds {len(layers)} layers; MobileNetV2 has {len(expected)}, and one more with its classifier"
        )
    base: dict[str, Tensor] = {}
    for layer, name in zip(layers, expected, strict=False):
        depthwise = "DEPTHWISE" in layer
        if depthwise != name.endswith("depthwise"):
            raise ModelError(f"{path} is no MobileNetV2: {layer} stands where {name} was expected")
        weight, bias = _pair(path, arrays, layer)
        base[f"backbone.{name}.convolution.weight"] = weight.permute((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        base[f"backbone.{name}.convolution.bias"] = bias
    return {name: tensor.contiguous() for name, tensor in base.items()}


def layer_names() -> list[str]:
    """Our names of all convolutions of the base, in graph order."""
    names = ["stem"]
    for number, (expansion, *_) in enumerate(MobileNetV2.BLOCKS, 1):
        parts = ("depthwise", "project") if expansion == 1 else ("expand", "depthwise", "project")
        names += [f"block{number}.{part}" for part in parts]
    return [*names, "last"]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST:
                raise ModelError(f"{path} unpacks to more than {LARGEST:,} bytes")
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        # numpy's own text advises to load objects with their code
        reason = "it holds objects or code" if "pickle" in str(error) else error
        raise ModelError(f"{path} cannot be read as an .npz file of arrays: {reason}") from error


def _pair(path: Path, arrays: dict[str, np.ndarray], layer: str) -> tuple[Tensor, Tensor]:
    parts = [arrays.get(f"{layer}.{part}") for part in ("weight", "bias")]
    weight, bias = parts
    if weight is None or bias is None or weight.ndim != 4 or bias.ndim != 1:
        raise ModelError(f"{path}: {layer} must have a 4-dimensional weight and a bias")
    return torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32))
