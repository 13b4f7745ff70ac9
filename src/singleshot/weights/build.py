"""From a model folder to a network and back; starting weights from any file of ours or of a base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from singleshot.errors import ModelError, RequestError
from singleshot.models.ssd import SSD
from singleshot.spec import TIMM
from singleshot.weights.folder import ModelFolder, read_folder, save_folder
from singleshot.weights.importers.tensorflow import read_mobilenetv2
from singleshot.weights.importers.timm_file import from_timm
from singleshot.weights.importers.torchvision import from_torchvision
from singleshot.weights.transfer import Transfer, start_from

__all__ = ["Transfer", "load_network", "save_network", "start_from", "start_from_file"]


def load_network(source: Path | ModelFolder) -> SSD:
    """The network of a model folder, in evaluation mode.

    Raises:
        ModelError: no model folder, or weights that do not fit its configuration; HashError: a damaged file.
    """
    folder = read_folder(source)
    tensors = folder.tensors()
    model = SSD(folder.spec)
    fill(model, {name: torch.from_numpy(array) for name, array in tensors.items()}, origin=str(folder.path))
    return model.eval()


def fill(model: SSD, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Set all tensors of a model; nothing may be missing, left over or of another shape.

    Raises:
        ModelError: names the first tensor that does not fit, with both sides.
    """
    targets = model.state_dict()
    for name, target in targets.items():
        if name not in state:
            raise ModelError(f"{origin} has no {name}, which {model.spec.name} needs as {tuple(target.shape)}")
        if state[name].shape != target.shape:
            raise ModelError(
                f"{origin} holds {name} as {tuple(state[name].shape)}, but its architecture {model.spec.name} needs "
                f"{tuple(target.shape)}"
            )
    left_over = [name for name in state if name not in targets]
    if left_over:
        raise ModelError(f"{origin} holds {left_over[0]}, which {model.spec.name} does not have")
    model.load_state_dict(dict(state))


def save_network(
    path: Path, model: SSD, *, card: str, provenance: Mapping[str, Any] | None = None, half: bool = False
) -> None:
    """Write a network as a model folder, see `folder.save_folder`."""
    tensors = {name: _array(tensor) for name, tensor in model.state_dict().items()}
    save_folder(path, model.spec, tensors, card=card, provenance=provenance, half=half)


def start_from_file(model: SSD, path: Path) -> Transfer:
    """Start a fresh model from whatever weights a path holds, see `transfer.start_from`.

    A model folder (heads of other classes are replaced), a `.npz` of MobileNetV2 (see `tensorflow`), or a
    `.safetensors` file with tensors of ours or of a classifier: of timm's where the base is timm's, else torchvision's.

    Raises:
        RequestError: no such path, or a kind of file that is not read here.
        ModelError: the weights are of another architecture.
    """
    if path.is_dir():
        folder = read_folder(path)
        tensors = {name: torch.from_numpy(array) for name, array in folder.tensors().items()}
        return start_from(model, tensors, origin=str(path), source_classes=folder.spec.class_names)
    if not path.is_file():
        raise RequestError(f"there are no weights at {path}")
    if path.suffix == ".npz":
        return start_from(model, read_mobilenetv2(path).base, origin=str(path))
    if path.suffix == ".safetensors":
        tensors = _load_safetensors(path)
        if model.spec.backbone.startswith(TIMM):
            tensors = from_timm(tensors, model, origin=str(path))
        else:
            whole = model.spec.backbone == "vgg16-full"
            tensors = from_torchvision(tensors, model.spec.preprocess, whole=whole, origin=str(path))
        return start_from(model, tensors, origin=str(path))
    raise RequestError(
        f"{path} cannot be a start: give a model folder, a .safetensors or a MobileNetV2 .npz file; other files become "
        f"a model folder by: ssd weights import {path.name} --out DIR"
    )


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no valid safetensors file: {error}") from error


def _array(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().cpu()
    if values.dtype == torch.bfloat16:
        values = values.float()  # numpy has no bfloat16
    return np.asarray(values.numpy(), order="C")
