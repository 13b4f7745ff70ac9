"""Training killed at any moment (SIGKILL): what was saved before is whole, and going on gives the same weights.

SINGLESHOT_KILLS sets how often (docs/results.md: 200).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from data_fixtures import voc
from singleshot.train import checkpoint
from singleshot.train.optimizer import CaffeSGD

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("SINGLESHOT_KILLS", "20"))
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def save_for_ever(model: nn.Module, optimizer: CaffeSGD, folder: Path, step: int) -> None:
    """Checkpoint after checkpoint; all weights of each are its number."""
    torch.set_num_threads(1)  # the parent's threads are not in a forked child
    while True:
        step += 1
        for parameter in model.parameters():
            nn.init.constant_(parameter, step)
            optimizer.state[parameter]["velocity"] = torch.full_like(parameter, -step)
        checkpoint.save(folder, checkpoint.RunState(step, {}), model, optimizer)


def test_a_kill_while_saving_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    generator = random.Random(0)
    last = 0
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3))
    optimizer = CaffeSGD([{"params": list(model.parameters()), "rate_factor": 1.0}], learning_rate=0.1)
    for _ in range(KILLS):
        child = os.fork()
        if child == 0:
            try:
                save_for_ever(model, optimizer, tmp_path, last)
            finally:
                os._exit(1)
        time.sleep(generator.uniform(0.02, 0.5))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        latest = checkpoint.load_latest(tmp_path)
        if latest is None:
            assert last == 0
            continue
        state = latest.state
        assert latest.damaged == ()  # nothing half written stands where a checkpoint is looked for
        assert state.step >= last
        assert all(bool((tensor == state.step).all()) for tensor in latest.model.values())
        assert all(bool((tensor == -state.step).all()) for tensor in latest.optimizer.values())
        last = state.step
    assert last > 0


def test_a_run_killed_again_and_again_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    images: dict[str, Any] = {f"p{i}": [("cell" if i % 2 else "dot", (2 + i, 3, 20 + i, 22))] for i in range(8)}
    data = voc(tmp_path / "voc", images, {"train": list(images)})

    def command(out: str, *more: str) -> list[str]:
        settings = "--input-size 64x64 --init none --iterations 30 --batch-size 4 --checkpoint-every 3 --workers 1"
        fixed = "--precision fp32 --boxes keep --threads 1 --val-split none --set solver=adamw --set average=0.9"
        entry = "from singleshot.cli.main import main; main()"
        program = [sys.executable, "-c", entry, "train", str(data), "--out", str(tmp_path / out)]
        return [*program, *settings.split(), *fixed.split(), *more]

    subprocess.run(command("whole"), check=True, capture_output=True)
    generator = random.Random(1)
    kills = 0
    while not (tmp_path / "killed/last").is_dir():
        process = subprocess.Popen(
            command("killed", *(["--resume"] if kills else [])), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if kills < 3:  # soon after another checkpoint, so that each life gets on
            newest = newest_step(tmp_path / "killed")
            while process.poll() is None and newest_step(tmp_path / "killed") <= newest:
                time.sleep(0.01)
            time.sleep(generator.uniform(0, 0.3))
            process.kill()
            kills += 1
        assert process.wait() in {0, -signal.SIGKILL}
    assert kills >= 2
    whole, killed = (load_file(tmp_path / name / "last/model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def newest_step(out: Path) -> int:
    return max((int(path.name[5:]) for path in out.glob("checkpoints/step-*")), default=0)
