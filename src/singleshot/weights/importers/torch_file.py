"""State dicts saved by torch (`.pth`, `.pt`), read without running any code in them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from singleshot.errors import ModelError

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
"""Keys under which training scripts keep the state dict beside their other things."""
PARALLEL = "module."
"""What torch's DataParallel puts in front of every name."""
MOST_BYTES = 2 << 30
"""Of a file; SSD512's weights take 0.1 GB."""


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name, without the wrappings that training scripts put around them.

    Raises:
        ModelError: it holds anything but tensors, or it is damaged or too large.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelError(f"{path} is larger than {MOST_BYTES >> 30} GiB, which no detector here is")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on files that it refuses a moment later
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's text advises to load it with its code
        raise ModelError(f"{path} is no file of plain tensors: it is damaged, or holds objects or code") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path} is no file of plain tensors: {reason}") from error
    return _unwrapped(content, path)


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        others = (
            [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
            if isinstance(content, dict)
            else []
        )
        what = f"but its {others[0]!r} is none" if others else f"got {type(content).__name__}"
        raise ModelError(f"{path} must hold a dictionary of tensors, {what}")
    for name, value in content.items():
        if not isinstance(name, str):
            raise ModelError(f"{path} must name its tensors by text, got {name!r}")
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu" or value.is_complex():
            raise ModelError(f"{path}: {name} is no plain array of real numbers")
    state: Mapping[str, Tensor] = content
    if state and all(name.startswith(PARALLEL) for name in state):
        return {name.removeprefix(PARALLEL): tensor for name, tensor in state.items()}
    return dict(state)
