"""A run that is cut, or loses a worker or an image, goes on to the same weights."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from singleshot.commands.train import train_command
from singleshot.data import loader
from singleshot.errors import ImageLostError, RequestError, SingleshotError, WorkerLostError
from singleshot.train import checkpoint, loop
from singleshot.train.checkpoint import RunState, checkpoints
from singleshot.train.plan import Plan
from singleshot.train.prepare import prepare
from singleshot.train.results import is_finished
from singleshot.train.run_log import RunLog, read_metrics
from singleshot.train.step import TrainStep
from train_fixtures import OPTIONS, assert_same_weights

if TYPE_CHECKING:
    from pathlib import Path


def test_a_terminated_run_resumes_to_the_same_weights(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, out=tmp_path / "cut")
    original = TrainStep.__call__

    def step_then_signal(*arguments: Any, step: int, **named: Any) -> Any:
        losses = original(*arguments, step=step, **named)
        if step == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    monkeypatch.setattr(TrainStep, "__call__", step_then_signal)
    with pytest.raises(SingleshotError, match="SIGTERM after step 1; go on with --resume") as stop:
        train_command([str(data)], options)
    assert stop.value.exit_code == 143
    assert "Not validated" in (tmp_path / "cut/last/README.md").read_text()
    assert "stopped after step 1 of 4" in (tmp_path / "cut/report.html").read_text()
    assert not is_finished(tmp_path / "cut")
    monkeypatch.undo()
    with pytest.raises(RequestError, match="holds a run already"):
        train_command([str(data)], options)
    with pytest.raises(RequestError, match=r"seed was 0, is 1"):
        train_command([str(data)], replace(options, seed=1, resume=True))
    assert train_command([str(data)], replace(options, resume=True)) == 0
    assert_same_weights(finished / "last", tmp_path / "cut/last")
    assert is_finished(tmp_path / "cut")


def test_a_run_that_stopped_before_its_first_checkpoint_starts_afresh(
    finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a full disk leaves it: `best/` of the first validation, no checkpoint."""
    out = tmp_path / "cut"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "last")
    shutil.rmtree(out / "checkpoints")
    with pytest.raises(RequestError, match="best"):
        train_command([str(data)], replace(OPTIONS, out=out, resume=True, seed=1))
    assert train_command([str(data)], replace(OPTIONS, out=out, resume=True)) == 0
    assert "starting afresh" in capsys.readouterr().err
    assert_same_weights(finished / "last", out / "last")


def test_a_run_cut_after_every_update_ends_with_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty cuts, with other numbers of workers each time."""
    modern = replace(OPTIONS, recipe="modern", iterations=21, checkpoint_every=40, validate_every=100)
    assert train_command([str(data)], replace(modern, out=tmp_path / "whole")) == 0
    original = TrainStep.__call__

    def step_then_signal(*arguments: Any, **named: Any) -> Any:
        losses = original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGTERM)
        return losses

    monkeypatch.setattr(TrainStep, "__call__", step_then_signal)
    for cut in range(20):
        options = replace(modern, out=tmp_path / "cut", resume=cut > 0, workers={5: 1, 12: 2}.get(cut, 0))
        with pytest.raises(SingleshotError, match=f"SIGTERM after step {cut + 1}; go on with --resume"):
            train_command([str(data)], options)
    assert train_command([str(data)], replace(modern, out=tmp_path / "cut", resume=True)) == 0
    assert_same_weights(tmp_path / "whole/last", tmp_path / "cut/last")


@pytest.mark.parametrize("stop_after", [None, 2])
def test_what_is_kept_are_the_weights_that_were_validated(
    stop_after: int | None, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The EMA of the weights, not the weights themselves: in `best/`, in `last/`, and in that of a stopped run."""
    options = replace(OPTIONS, out=tmp_path, overrides=("ema_decay=0.9",), validate_every=1000, checkpoint_every=1)
    train_step = TrainStep.__call__

    def step_then_signal(*arguments: Any, step: int) -> Any:
        losses = train_step(*arguments, step=step)
        if step + 1 == stop_after:
            os.kill(os.getpid(), signal.SIGINT)
        return losses

    monkeypatch.setattr(TrainStep, "__call__", step_then_signal)
    if stop_after is None:
        assert train_command([str(data)], options) == 0
    else:
        with pytest.raises(SingleshotError, match=f"SIGINT after step {stop_after}"):
            train_command([str(data)], options)
    saved = checkpoint.load_latest(tmp_path / "checkpoints")
    assert saved is not None
    for name in ("last", "best") if stop_after is None else ("last",):
        kept = load_file(tmp_path / name / "model.safetensors")
        weights = [key for key in kept if key.endswith("weight") and f"mean/{key}" in saved.optimizer]
        assert len(weights) > 50
        for key in weights:
            assert torch.equal(kept[key], saved.optimizer[f"mean/{key}"]), key
        assert any(not torch.equal(kept[key], saved.model[key]) for key in weights)


def kill_workers() -> None:
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()


def test_a_lost_worker_is_replaced_and_changes_nothing(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = TrainStep.__call__

    def step_then_kill(*arguments: Any, step: int, **named: Any) -> Any:
        losses = original(*arguments, step=step, **named)
        if step == 1:
            kill_workers()
        return losses

    monkeypatch.setattr(TrainStep, "__call__", step_then_kill)
    monkeypatch.setattr(Plan, "batches_ahead", lambda _plan: 2)  # else all of the run is made before the kill
    options = replace(OPTIONS, out=tmp_path, workers=1)
    assert train_command([str(data)], options) == 0
    assert "died; in work: JPEGImages/" in capsys.readouterr().err
    assert_same_weights(finished / "last", tmp_path / "last")


def test_workers_lost_twice_end_the_run_after_saving(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loader.batches

    def two_batches_then_lost(*arguments: Any, **named: Any) -> Any:
        made = original(*arguments, **named)
        yield next(made)
        yield next(made)
        raise WorkerLostError("a process that prepares images died; in work: a.jpg")

    monkeypatch.setattr(loader, "batches", two_batches_then_lost)
    options = replace(OPTIONS, out=tmp_path, checkpoint_every=40, val_split="none")
    with pytest.raises(WorkerLostError, match=r"in work: a\.jpg; stopped after step 2; go on") as stop:
        train_command([str(data)], options)
    assert stop.value.exit_code == 4
    assert checkpoints(tmp_path / "checkpoints")


def test_a_signal_that_also_ends_the_workers_is_told_as_the_signal(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loader.batches

    def one_batch_then_the_signal(*arguments: Any, on_retry: Any, **named: Any) -> Any:
        yield next(original(*arguments, on_retry=on_retry, **named))
        os.kill(os.getpid(), signal.SIGTERM)
        on_retry("a worker died")

    monkeypatch.setattr(loader, "batches", one_batch_then_the_signal)
    with pytest.raises(SingleshotError, match="stopped by SIGTERM after step 1; go on with --resume") as stop:
        train_command([str(data)], replace(OPTIONS, out=tmp_path, checkpoint_every=40, val_split="none"))
    assert stop.value.exit_code == 143
    assert checkpoints(tmp_path / "checkpoints")


def test_resuming_nothing_starts_afresh_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = replace(OPTIONS, out=tmp_path, resume=True, iterations=1, val_split="none")
    assert train_command([str(data)], options) == 0
    assert "starting afresh" in capsys.readouterr().err


def test_history_with_a_line_cut_by_a_crash_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo\xff')
    assert read_metrics(path) == [{"step": 1}]
    with RunLog(tmp_path, steps=4, done=2, console=Console(quiet=True)) as log:
        log.row({"step": 3})
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]
    with RunLog(tmp_path, steps=4, console=Console(quiet=True)):
        pass
    assert read_metrics(path) == []


def test_a_finished_run_resumes_to_the_same_card(finished_copy: Path, data: Path) -> None:
    card = (finished_copy / "last" / "README.md").read_text()
    assert train_command([str(data)], replace(OPTIONS, out=finished_copy, resume=True)) == 0
    assert (finished_copy / "last" / "README.md").read_text() == card


def test_a_run_begun_before_a_setting_existed_is_resumed(
    finished_copy: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = checkpoint.load_latest

    def older(folder: Path) -> Any:
        found = original(folder)
        assert found is not None
        del found.state.settings["recipe"]["label_smoothing"], found.state.settings["parts"]
        del found.state.settings["recipe"]["mining"], found.state.settings["model"]["class_agnostic"]
        del found.state.settings["recipe"]["lr_milestones"], found.state.settings["model"]["grid_head"]
        return found

    monkeypatch.setattr(checkpoint, "load_latest", older)
    assert train_command([str(data)], replace(OPTIONS, out=finished_copy, resume=True)) == 0


def test_a_resumed_run_keeps_its_boxes_which_another_version_might_search_otherwise(
    finished_copy: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("singleshot.train.box_choice.find_boxes", None)
    assert train_command([str(data)], replace(OPTIONS, out=finished_copy, boxes="adapt", resume=True)) == 0


def test_other_data_of_the_same_size_is_not_resumed(finished_copy: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(data, other)
    annotation = next((other / "Annotations").glob("*1.xml"))
    annotation.write_text(annotation.read_text().replace(">22<", ">21<"))
    with pytest.raises(RequestError, match="data was"):
        train_command([str(other)], replace(OPTIONS, out=finished_copy, resume=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_image_lost_during_a_run_costs_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    own = shutil.copytree(data, tmp_path / "set")
    options = replace(OPTIONS, out=tmp_path / "run", checkpoint_every=1000, workers=workers, iterations=12)
    plan = prepare([str(own)], options)
    learn = TrainStep.__call__

    def lose(*arguments: Any, step: int, **options: Any) -> Any:
        if step == 1:
            (own / "JPEGImages/p5.png").rename(tmp_path / "p5.png")
        return learn(*arguments, step=step, **options)

    monkeypatch.setattr(TrainStep, "__call__", lose)
    plan.folder.mkdir()
    with (
        RunLog(plan.folder, steps=plan.steps, console=Console(quiet=True)) as log,
        pytest.raises(
            ImageLostError, match=r"p5\.png.*stopped after step \d+; mend it and go on with --resume"
        ) as lost,
    ):
        loop.run(plan, log, RunState(0, plan.resume_values()))
    assert lost.value.exit_code == 4
    assert len(checkpoints(plan.folder / "checkpoints")) == 1
    monkeypatch.setattr(TrainStep, "__call__", learn)
    (tmp_path / "p5.png").rename(own / "JPEGImages/p5.png")
    assert train_command([str(own)], replace(options, resume=True)) == 0
    undisturbed = replace(options, out=tmp_path / "other")
    assert train_command([str(own)], undisturbed) == 0
    assert_same_weights(tmp_path / "run/last", tmp_path / "other/last")


def test_a_validation_image_lost_during_a_run_costs_nothing(data: Path, tmp_path: Path) -> None:
    own = shutil.copytree(data, tmp_path / "set")
    (own / "ImageSets/Main/train.txt").write_text("p3\np4\np5\np6\n")
    options = replace(OPTIONS, out=tmp_path / "run", checkpoint_every=1000)
    plan = prepare([str(own)], options)
    (own / "JPEGImages/p1.png").unlink()
    plan.folder.mkdir()
    with (
        RunLog(plan.folder, steps=plan.steps, console=Console(quiet=True)) as log,
        pytest.raises(ImageLostError, match=r"p1\.png"),
    ):
        loop.run(plan, log, RunState(0, plan.resume_values()))
    assert len(checkpoints(plan.folder / "checkpoints")) == 1


def test_a_line_too_deep_to_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n' + "[" * 200_000 + "\n")
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1}]
