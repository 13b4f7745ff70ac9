from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from data_fixtures import voc
from singleshot.cli.main import run as command_line
from singleshot.errors import NonFiniteLossError, RequestError, SingleshotError
from singleshot.runtime.detector import Detector
from singleshot.train import loop
from singleshot.train.command import train_command
from singleshot.train.journal import Journal, read_history
from singleshot.train.options import TrainOptions
from singleshot.train.plan import prepare

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = TrainOptions(
    model="ssdlite320-mobilenetv2",
    input_size="64x64",
    init="none",
    iterations=4,
    batch_size=4,
    checkpoint_every=2,
    validate_every=1.0,
    workers=0,
    precision="fp32",
    boxes="keep",
    threads=1,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    boxes = [(2 + i, 3, 20 + i, 22) for i in range(8)]
    pictures: dict[str, Any] = {f"p{i}": [("cell" if i % 2 else "dot", box)] for i, box in enumerate(boxes)}
    pictures["background"] = []
    names = list(pictures)
    return voc(tmp_path_factory.mktemp("set") / "voc", pictures, {"train": names, "val": names[:3]})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train_command([str(data)], replace(OPTIONS, out=out)) == 0
    return out


def test_a_run_leaves_models_checkpoints_figures_and_a_page(finished: Path) -> None:
    for name in ("last", "best"):
        assert sorted(p.name for p in (finished / name).iterdir()) == [
            "README.md",
            "SHA256SUMS",
            "config.json",
            "model.safetensors",
        ]
    assert [p.name for p in sorted((finished / "checkpoints").iterdir())] == ["step-00000002", "step-00000004"]
    assert list((finished / "tensorboard").iterdir())
    rows = read_history(finished / "metrics.jsonl")
    assert {"step", "epoch", "loss", "loss_location", "loss_confidence", "learning_rate"} <= rows[0].keys()
    assert any("mAP" in row for row in rows)
    assert "<html" in (finished / "report.html").read_text()


def test_the_model_of_a_run_detects(finished: Path, data: Path) -> None:
    detector = Detector.load(finished / "best")
    assert detector.spec.class_names == ("cell", "dot")
    found = detector(data / "JPEGImages/p0.png")
    assert found.boxes.shape == (len(found), 4)


def test_the_same_seed_gives_the_same_weights(finished: Path, data: Path, tmp_path: Path) -> None:
    train_command([str(data)], replace(OPTIONS, out=tmp_path / "again"))
    assert_same_weights(finished / "last", tmp_path / "again/last")


def test_a_terminated_run_resumes_to_the_same_weights(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, out=tmp_path / "cut")
    original = loop.update

    def update_then_signal(*arguments: Any, step: int, **named: Any) -> Any:
        figures = original(*arguments, step=step, **named)
        if step == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return figures

    monkeypatch.setattr(loop, "update", update_then_signal)
    with pytest.raises(SingleshotError, match="SIGTERM after step 1; go on with --resume") as stop:
        train_command([str(data)], options)
    assert stop.value.exit_code == 143
    monkeypatch.undo()
    with pytest.raises(RequestError, match="holds a run already"):
        train_command([str(data)], options)
    with pytest.raises(RequestError, match=r"seed was 0, is 1"):
        train_command([str(data)], replace(options, seed=1, resume=True))
    assert train_command([str(data)], replace(options, resume=True)) == 0
    assert_same_weights(finished / "last", tmp_path / "cut/last")


def test_accumulated_parts_learn_from_the_same_pictures(data: Path, tmp_path: Path) -> None:
    assert train_command([str(data)], replace(OPTIONS, out=tmp_path, accumulate=2, iterations=1, val_split="none")) == 0
    assert (tmp_path / "last").is_dir()
    assert not (tmp_path / "best").exists()


def test_a_loss_that_is_not_finite_names_step_terms_and_pictures(data: Path, tmp_path: Path) -> None:
    plan = prepare([str(data)], replace(OPTIONS, out=tmp_path))
    with torch.no_grad():
        plan.model.get_parameter("backbone.stem.convolution.weight").fill_(float("nan"))
    start = loop.checkpoint.RunState(0, plan.settings())
    with (
        Journal(tmp_path, steps=plan.steps, console=Console(quiet=True)) as journal,
        pytest.raises(NonFiniteLossError, match=r"step 0: .*confidence = nan.*p\d") as error,
    ):
        loop.run(plan, journal, start)
    assert error.value.exit_code == 5
    assert not (tmp_path / "checkpoints").exists()


def test_resuming_nothing_starts_afresh_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = replace(OPTIONS, out=tmp_path, resume=True, iterations=1, val_split="none")
    assert train_command([str(data)], options) == 0
    assert "starting afresh" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        ([], "which data"),
        (["DATA", "--model", "ssd300-vg16"], "did you mean ssd300-vgg16"),
        (["DATA", "--recipe", "cafe"], "did you mean caffe"),
        (["DATA", "--train-split", "trian"], "did you mean train"),
        (["DATA", "--epocs", "3"], "did you mean --epochs"),
        (["DATA", "--epochs", "0"], "--epochs is a number above 0"),
        (["DATA", "--epochs", "nan"], "--epochs is a number above 0"),
        (["DATA", "--iterations", "0"], "at least one update"),
        (["DATA", "--validate-every", "0"], "--validate-every is a number of epochs above 0"),
        (["DATA", "--threads", "-1"], "--threads is 1 or more"),
        (["DATA", "--workers", "-1"], "--workers is 0 or more"),
        (["DATA", "--checkpoint-every", "0"], "--checkpoint-every is 1 or more"),
        (["DATA", "--epochs", "1", "--iterations", "1"], "not both"),
        (["DATA", "--input-size", "300"], "WIDTHxHEIGHT"),
        (["DATA", "--device", "gpu"], "device 'gpu' cannot be used here; known: auto, cpu"),
        (["DATA", "--precision", "fp8"], "auto, fp32 or bf16"),
        (["DATA", "--boxes", "fit"], "unknown choice of --boxes"),
        (["DATA", "--init", "missing.npz"], "missing.npz"),
        (["DATA", "--batch-size", "0"], "batch size and parts are 1 or more"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(
    arguments: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [str(data) if argument == "DATA" else argument for argument in arguments]
    assert command_line(["train", *named, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message.lower() in error.lower()
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_short_run_warms_up_for_a_fifth_of_it(data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, out=tmp_path, epochs=None, iterations=10, warmup=None)
    assert prepare([str(data)], options).recipe.warmup_steps == 2
    assert prepare([str(data)], replace(options, warmup=7)).recipe.warmup_steps == 7
    assert prepare([str(data)], replace(options, iterations=5000)).recipe.warmup_steps == 100


def test_history_with_a_cut_last_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo')
    assert read_history(tmp_path / "metrics.jsonl") == [{"step": 1}]
