from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from singleshot.errors import HashError, MachineError, ModelError
from singleshot.train import checkpoint
from singleshot.train.ema import ModelEMA
from singleshot.train.optimizer import AdamW, CaffeSGD
from singleshot.train.resume_check import differences


def model_and_optimizer(seed: int = 0, width: int = 4) -> tuple[nn.Module, CaffeSGD]:
    """Another seed gives other weights and other velocities."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width))
    optimizer = CaffeSGD([{"params": list(model.parameters()), "rate_factor": 1.0}], learning_rate=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return model, optimizer


def state(step: int) -> checkpoint.RunState:
    return checkpoint.RunState(step, {"seed": 0, "sizes": (1, 2)}, best_map=0.5)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer(0)
    checkpoint.save(tmp_path, state(3), model, optimizer)
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    other, other_optimizer = model_and_optimizer(1)
    for saved, fresh in zip(model.parameters(), other.parameters(), strict=True):
        assert not torch.equal(optimizer.state[saved]["velocity"], other_optimizer.state[fresh]["velocity"])
    checkpoint.restore(loaded, other, other_optimizer)
    assert loaded.state.step == 3
    assert loaded.state.best_map == 0.5
    for saved, restored in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(saved, restored)
    for saved, restored in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(optimizer.state[saved]["velocity"], other_optimizer.state[restored]["velocity"])


def test_adamw_and_the_ema_come_back(tmp_path: Path) -> None:
    def made(seed: int) -> tuple[nn.Module, AdamW, ModelEMA]:
        model, _ = model_and_optimizer(seed)
        optimizer = AdamW([{"params": list(model.parameters()), "rate_factor": 1.0}], learning_rate=0.1)
        ema = ModelEMA(model, 0.9)
        optimizer.step()
        ema.update(1)
        return model, optimizer, ema

    model, optimizer, ema = made(0)
    checkpoint.save(tmp_path, state(3), model, optimizer, ema)
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    other, other_optimizer, other_ema = made(1)
    checkpoint.restore(loaded, other, other_optimizer, other_ema)
    for network, adamw in ((model, optimizer), (other, other_optimizer)):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 2)
        adamw.step()
    ema.update(2)
    other_ema.update(2)
    for saved, restored in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(saved, restored)
    for name, tensor in ema.weights.items():
        assert torch.equal(tensor, other_ema.weights[name])


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer()
    for step in (9, 10, 11):
        checkpoint.save(tmp_path, state(step), model, optimizer)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-00000010", "step-00000011"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "SHA256SUMS"])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path: Path, name: str) -> None:
    model, optimizer = model_and_optimizer()
    for step in (1, 2):
        checkpoint.save(tmp_path, state(step), model, optimizer)
    damaged = tmp_path / "step-00000002" / name
    content = bytearray(damaged.read_bytes())
    content[-2] ^= 1
    damaged.write_bytes(content)
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    assert loaded.state.step == 1
    assert name in loaded.damaged[0]
    (tmp_path / "step-00000001" / name).unlink()
    with pytest.raises(HashError, match="no checkpoint"):
        checkpoint.load_latest(tmp_path)


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = model_and_optimizer()
    checkpoint.save(tmp_path, state(1), model, optimizer)

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MachineError, match="No space left"):
        checkpoint.save(tmp_path, state(2), model, optimizer)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001"]
    assert checkpoint.load_latest(tmp_path) is not None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="makes a small disk, which needs root")
def test_a_disk_that_is_really_full_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]) != 0:  # noqa: S607
        pytest.skip("no disk may be mounted here")
    try:
        model, optimizer = model_and_optimizer()
        checkpoint.save(disk, state(1), model, optimizer)
        (disk / "other").write_bytes(bytes(shutil.disk_usage(disk).free))
        with pytest.raises(MachineError, match=r"(?i)no space left"):
            checkpoint.save(disk, state(2), model, optimizer)
        (disk / "other").unlink()
        loaded = checkpoint.load_latest(disk)
        assert loaded is not None
        assert loaded.state.step == 1
        checkpoint.save(disk, state(3), model, optimizer)
        assert sorted(path.name for path in disk.iterdir()) == ["step-00000001", "step-00000003"]
    finally:
        subprocess.check_call(["umount", "--lazy", str(disk)])  # noqa: S607 (tensors may still be mapped)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoint.load_latest(tmp_path) is None


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), *model_and_optimizer())
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None
    with pytest.raises(ModelError, match="does not fit the model"):
        checkpoint.restore(loaded, *model_and_optimizer(width=5))


def test_differences_are_named_by_their_place() -> None:
    before = {"recipe": {"rate": 0.1, "sizes": (1, 2)}, "seed": 0}
    assert differences(before, {"recipe": {"rate": 0.1, "sizes": [1, 2]}, "seed": 0}) == []
    changed = {"recipe": {"rate": 0.2, "sizes": [1, 2]}, "seed": 0, "new": 1}
    assert differences(before, changed) == ["recipe.rate was 0.1, is 0.2", "new was None, is 1"]
