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
from singleshot.train.average import WeightAverage
from singleshot.train.solver import Solver
from singleshot.weights.replace import replaced_folder

KEPT = 2
_MEAN = "mean"
_MODEL, _SOLVER, _STATE, _SUMS = "model.safetensors", "solver.safetensors", "state.json", "SHA256SUMS"


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        step: updates done.
        settings: what must be equal for a run to go on (data, model, recipe, seed, length), as plain values.
        best_map: best validation mAP so far, None before the first.
        worse: validations since then.
    """

    step: int
    settings: dict[str, Any]
    best_map: float | None = None
    worse: int = 0


def save(folder: Path, state: RunState, model: nn.Module, solver: Solver, average: WeightAverage | None = None) -> Path:
    """Write checkpoint `step-N` into the folder and remove all but the newest `KEPT`.

    Raises:
        MachineError: the disk is full; earlier checkpoints are untouched.
    """
    target = folder / f"step-{state.step:08d}"
    files = {
        _MODEL: format_tensors({name: tensor.contiguous() for name, tensor in model.state_dict().items()}),
        _SOLVER: format_tensors(_solver_tensors(model, solver) | _mean_tensors(average)),
        _STATE: json.dumps(asdict(state), indent=1).encode(),
    }
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    for abandoned in folder.glob(".step-*"):  # by a process that was killed while it wrote
        shutil.rmtree(abandoned, ignore_errors=True)
    with replaced_folder(target) as beside:
        for name, content in (*files.items(), (_SUMS, sums.encode())):
            (beside / name).write_bytes(content)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in the folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def load_latest(folder: Path) -> tuple[RunState, dict[str, torch.Tensor], dict[str, torch.Tensor], list[str]] | None:
    """The newest checkpoint whose hashes hold: state, tensors of model and solver, notes on damaged ones passed over.

    None where the folder has no checkpoint at all.

    Raises:
        HashError: there are checkpoints, but every one is damaged.
    """
    notes: list[str] = []
    for path in reversed(checkpoints(folder)):
        try:
            _verify(path)
            state = RunState(**json.loads((path / _STATE).read_bytes()))
            if not isinstance(state.settings, dict):
                raise HashError(f"{path / _STATE} is damaged: it holds no settings")
            return state, load_file(path / _MODEL), load_file(path / _SOLVER), notes
        except HashError as error:
            notes.append(str(error))
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            notes.append(f"{path} is damaged: {str(error).splitlines()[0]}")
    if notes:
        raise HashError(f"no checkpoint in {folder} is whole: {'; '.join(notes)}")
    return None


def restore(
    model: nn.Module,
    solver: Solver,
    tensors: dict[str, torch.Tensor],
    solver_tensors: dict[str, torch.Tensor],
    average: WeightAverage | None = None,
) -> None:
    """Put a checkpoint's tensors into model, solver and average.

    Raises:
        ModelError: the checkpoint is of another architecture.
    """
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"the checkpoint does not fit the model: {str(error).splitlines()[-1].strip()}") from error
    parameters = dict(model.named_parameters())
    mean = {}
    for key, tensor in solver_tensors.items():
        kind, _, name = key.partition("/")
        if kind == _MEAN:
            mean[name] = tensor
        else:
            # A scalar counts steps and stays where it is; the others lie in memory as their parameter does.
            like = parameters[name] if tensor.dim() else tensor
            solver.state[parameters[name]][kind] = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
    if average is not None:
        average.restore(mean)


def _solver_tensors(model: nn.Module, solver: Solver) -> dict[str, torch.Tensor]:
    """By `kind/parameter`, as `velocity/heads.location.fc7.weight`."""
    return {
        f"{kind}/{name}": tensor.contiguous()
        for name, parameter in model.named_parameters()
        for kind, tensor in solver.state.get(parameter, {}).items()
    }


def _mean_tensors(average: WeightAverage | None) -> dict[str, torch.Tensor]:
    return {} if average is None else {f"{_MEAN}/{name}": tensor.contiguous() for name, tensor in average.mean.items()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path) -> None:
    sums = dict(line.split("  ", 1)[::-1] for line in (path / _SUMS).read_text(encoding="utf-8").splitlines())
    if set(sums) != {_MODEL, _SOLVER, _STATE}:
        raise HashError(f"{path / _SUMS} is damaged: it does not list the checkpoint's files")
    for name, digest in sums.items():
        if _digest(path / name) != digest:
            raise HashError(f"{path / name} is damaged: its SHA-256 is not the one in {_SUMS}")
