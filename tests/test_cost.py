"""What a run will cost is told before it starts, and measuring it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from singleshot.cli.main import run as command_line
from singleshot.commands import train as command
from singleshot.train.cost import Cost, measure_cost
from singleshot.train.prepare import prepare
from train_fixtures import OPTIONS


def test_a_long_run_is_told_with_what_is_shorter() -> None:
    lines = Cost(seconds=3900, seconds_per_step=3.9, steps=1000, epochs=200).lines()
    assert "200 epochs, 1,000 steps: about 1 h 05 min" in lines[0]
    assert "--patience 5" in lines[1]
    assert "--epochs 30 takes about 10 min" in lines[2]
    assert len(Cost(seconds=3900, seconds_per_step=3.9, steps=1000, epochs=30).lines()) == 2
    assert len(Cost(seconds=599, seconds_per_step=0.6, steps=1000, epochs=200).lines()) == 1


def test_a_run_of_one_epoch_is_told_in_whole_seconds_and_without_patience() -> None:
    lines = Cost(seconds=2900, seconds_per_step=113.4, steps=26, epochs=1).lines()
    assert lines == ["1 epoch, 26 steps: about 48 min on this machine (113 s per step)"]


def test_a_run_that_may_end_early_is_told_as_the_longest() -> None:
    lines = Cost(seconds=3900, seconds_per_step=3.9, steps=1000, epochs=30, at_most=True).lines()
    assert lines[0].startswith("at most 30 epochs, 1,000 steps: about 1 h 05 min")
    assert lines[0].endswith("it ends early where the validations bring nothing more")
    assert len(lines) == 1


def test_measuring_leaves_weights_and_random_numbers_as_they_are(data: Path, tmp_path: Path) -> None:
    plan = prepare([str(data)], replace(OPTIONS, out=tmp_path / "run", iterations=500, accumulate=2))
    weights = {name: tensor.clone() for name, tensor in plan.model.state_dict().items()}
    state = torch.get_rng_state()
    cost = measure_cost(plan)
    assert cost.seconds > 500 * cost.seconds_per_step > 0
    assert (cost.steps, cost.epochs) == (500, 222.22)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in plan.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not (tmp_path / "run").exists()


def test_a_plan_tells_decisions_and_time_and_trains_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = "--model ssdlite320-mobilenetv2 --input-size 64x64 --init none --workers 0 --boxes keep --threads 1"
    out = ["--out", str(tmp_path / "run"), "--set", "negative_ratio=5:1"]
    assert command_line(["train", str(data), "--plan", *arguments.split(), *out]) == 0
    told = capsys.readouterr().out
    assert "negative_ratio 3 -> 5, yours (--set)" in told
    assert "at most 200 epochs, 450 steps: about" in told
    assert not (tmp_path / "run").exists()


def test_only_a_run_of_many_steps_is_measured_beforehand(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "measure_cost", lambda plan: Cost(1e4, 1.0, plan.steps, 9.0))
    options = replace(OPTIONS, val_split="none", checkpoint_every=None)
    for many, told in ((5, False), (4, True)):
        monkeypatch.setattr(command, "MANY_STEPS", many)
        assert command.train_command([str(data)], replace(options, out=tmp_path / f"{many}")) == 0
        assert ("4 steps: about 2 h 47 min" in capsys.readouterr().err) == told
