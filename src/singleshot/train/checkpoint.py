"""Checkpoints that survive a crash: written beside, synced, hashed, renamed; the last two good ones are kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as format_tensors
from torch import nn

from singleshot.errors import HashError, ModelError
from singleshot.train.ema import ModelEMA
from singleshot.train.optimizer import Optimizer
from singleshot.weights.replace import replaced_folder

KEPT = 2
"""Checkpoints kept in a run's folder."""
MODEL, OPTIMIZER, STATE, SUMS = "model.safetensors", "optimizer.safetensors", "state.json", "SHA256SUMS"
_EMA = "mean"
"""Prefix of the EMA's tensors in the optimizer's file."""
_OLD_NAMES = {"solver.safetensors": OPTIMIZER}
"""Files of checkpoints of version 0.1.0."""
_OLD_KEYS = {"worse": "validations_since_best"}
"""Keys of their `state.json`."""


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        step: steps done.
        settings: what must be equal for a run to be resumed (data, model, recipe, seed, length), as plain values.
        best_map: best validation mAP so far, None before the first.
        validations_since_best: validations in a row that were no better.
        validations: of the run so far: the steps done, and the figure of 0..1.
        tail_from: steps done when the run began to end early, see `length`; None where it does not.
    """

    step: int
    settings: dict[str, Any]
    best_map: float | None = None
    validations_since_best: int = 0
    validations: tuple[tuple[int, float], ...] = ()
    tail_from: int | None = None


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint as read from disk.

    Attributes:
        state: where the run stood.
        model: the model's state dict.
        optimizer: tensors of optimizer and EMA by `kind/parameter`, as `velocity/heads.location.fc7.weight`.
        damaged: a line on each newer checkpoint that was damaged and passed over.
    """

    state: RunState
    model: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    damaged: tuple[str, ...] = ()


def save(folder: Path, state: RunState, model: nn.Module, optimizer: Optimizer, ema: ModelEMA | None = None) -> Path:
    """Write checkpoint `step-N` into the folder and remove all but the newest `KEPT`.

    Raises:
        MachineError: the disk is full; earlier checkpoints are untouched.
    """
    target = folder / f"step-{state.step:08d}"
    files = {
        MODEL: format_tensors({name: tensor.contiguous() for name, tensor in model.state_dict().items()}),
        OPTIMIZER: format_tensors(_optimizer_tensors(model, optimizer, ema)),
        STATE: json.dumps(asdict(state), indent=1).encode(),
    }
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    for abandoned in folder.glob(".step-*"):  # by a process that was killed while it wrote
        shutil.rmtree(abandoned, ignore_errors=True)
    with replaced_folder(target) as beside:
        for name, content in (*files.items(), (SUMS, sums.encode())):
            (beside / name).write_bytes(content)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in the folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose hashes hold; None where the folder has no checkpoint at all.

    Raises:
        HashError: there are checkpoints, but every one is damaged.
    """
    damaged: list[str] = []
    for path in reversed(checkpoints(folder)):
        try:
            files = _verified(path)
            state = _read_state(files[STATE])
            return Checkpoint(state, load_file(files[MODEL]), load_file(files[OPTIMIZER]), tuple(damaged))
        except HashError as error:
            damaged.append(str(error))
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            damaged.append(f"{path} is damaged: {str(error).splitlines()[0]}")
    if damaged:
        raise HashError(f"no checkpoint in {folder} is whole: {'; '.join(damaged)}")
    return None


def newest_settings(folder: Path) -> dict[str, Any]:
    """Settings of the newest checkpoint, without its tensors and unverified; empty where none can be read."""
    for path in reversed(checkpoints(folder)):
        try:
            return _read_state(path / STATE).settings
        except (OSError, ValueError, TypeError, HashError):
            continue
    return {}


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, ema: ModelEMA | None = None) -> None:
    """Put a checkpoint's tensors into model, optimizer and EMA.

    Raises:
        ModelError: the checkpoint is of another architecture.
    """
    try:
        model.load_state_dict(checkpoint.model)
    except RuntimeError as error:
        raise ModelError(f"the checkpoint does not fit the model: {str(error).splitlines()[-1].strip()}") from error
    parameters = dict(model.named_parameters())
    averaged = {}
    for key, tensor in checkpoint.optimizer.items():
        kind, _, name = key.partition("/")
        if kind == _EMA:
            averaged[name] = tensor
        else:
            # A scalar counts steps and stays where it is; the others get their parameter's memory layout.
            like = parameters[name] if tensor.dim() else tensor
            optimizer.state[parameters[name]][kind] = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
    if ema is not None:
        ema.restore(averaged)


def _optimizer_tensors(model: nn.Module, optimizer: Optimizer, ema: ModelEMA | None) -> dict[str, torch.Tensor]:
    tensors = {
        f"{kind}/{name}": tensor.contiguous()
        for name, parameter in model.named_parameters()
        for kind, tensor in optimizer.state.get(parameter, {}).items()
    }
    if ema is not None:
        tensors |= {f"{_EMA}/{name}": tensor.contiguous() for name, tensor in ema.weights.items()}
    return tensors


def _read_state(path: Path) -> RunState:
    fields = {_OLD_KEYS.get(key, key): value for key, value in json.loads(path.read_bytes()).items()}
    validations = tuple((int(step), float(figure)) for step, figure in fields.pop("validations", ()))
    state = RunState(**fields, validations=validations)
    if not isinstance(state.settings, dict):
        raise HashError(f"{path} is damaged: it holds no settings")
    return state


def _verified(path: Path) -> dict[str, Path]:
    """The checkpoint's files by their present names, after their hashes were compared."""
    sums = dict(line.split("  ", 1)[::-1] for line in (path / SUMS).read_text(encoding="utf-8").splitlines())
    files = {_OLD_NAMES.get(name, name): path / name for name in sums}
    if set(files) != {MODEL, OPTIMIZER, STATE}:
        raise HashError(f"{path / SUMS} is damaged: it does not list the checkpoint's files")
    for name, digest in sums.items():
        with (path / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise HashError(f"{path / name} is damaged: its SHA-256 is not the one in {SUMS}")
    return files
