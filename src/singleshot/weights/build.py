"""From a model folder to a network and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models.own_backbone import BackboneFactory
from singleshot.models.ssd import SSD
from singleshot.weights.folder import ModelFolder, read_folder, save_folder
from singleshot.weights.learnt import LearntImages


def load_network(source: Path | ModelFolder, *, backbone: BackboneFactory | None = None) -> SSD:
    """The network of a model folder, in evaluation mode.

    Args:
        source: the folder.
        backbone: makes the backbone of a model that has one of the user's own.

    Raises:
        ModelError: no model folder, or weights that do not fit its configuration; HashError: a damaged file.
    """
    folder = read_folder(source)
    tensors = folder.tensors()
    model = SSD(folder.spec, backbone=backbone)
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
    path: Path,
    model: SSD,
    *,
    card: str,
    provenance: Mapping[str, Any] | None = None,
    learnt: LearntImages | None = None,
    half: bool = False,
) -> None:
    """Write a network as a model folder, see `folder.save_folder`."""
    tensors = {name: _array(tensor) for name, tensor in model.state_dict().items()}
    save_folder(path, model.spec, tensors, card=card, provenance=provenance, learnt=learnt, half=half)


def _array(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().cpu()
    if values.dtype == torch.bfloat16:
        values = values.float()  # numpy has no bfloat16
    return np.asarray(values.numpy(), order="C")
