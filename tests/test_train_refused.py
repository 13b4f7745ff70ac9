"""What no run can learn from, or would harm, is refused or stopped in one line."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from filelock import FileLock
from rich.console import Console

from data_fixtures import image, voc
from singleshot.cli.main import run as command_line
from singleshot.commands.train import plan_of, train_command
from singleshot.errors import DataError, ImageError, NonFiniteLossError, RequestError
from singleshot.train import loop
from singleshot.train.checkpoint import RunState
from singleshot.train.prepare import prepare
from singleshot.train.run_log import RunLog
from singleshot.train.sets import read_sets
from train_fixtures import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path


def test_a_loss_that_is_not_finite_names_step_terms_and_images(data: Path, tmp_path: Path) -> None:
    plan = prepare([str(data)], replace(OPTIONS, out=tmp_path))
    with torch.no_grad():
        plan.model.get_parameter("backbone.stem.convolution.weight").fill_(float("nan"))
    start = loop.checkpoint.RunState(0, plan.resume_values())
    with (
        RunLog(tmp_path, steps=plan.steps, console=Console(quiet=True)) as log,
        pytest.raises(NonFiniteLossError, match=r"step 0: .*confidence = nan.*p\d") as error,
    ):
        loop.run(plan, log, start)
    assert error.value.exit_code == 5
    assert not (tmp_path / "checkpoints").exists()


def test_a_plan_refuses_the_folder_that_the_run_would_refuse(data: Path, finished_copy: Path) -> None:
    with pytest.raises(RequestError, match="--resume"):
        plan_of([str(data)], replace(OPTIONS, out=finished_copy))
    with pytest.raises(RequestError, match="seed was 0, is 1"):
        plan_of([str(data)], replace(OPTIONS, out=finished_copy, seed=1, resume=True))


def test_a_run_does_not_go_into_a_model_folder(data: Path, finished_copy: Path) -> None:
    with pytest.raises(RequestError, match="is a model folder"):
        plan_of([str(data)], replace(OPTIONS, out=finished_copy / "last"))


def test_images_are_held_out_although_the_set_has_a_validation_split(data: Path, tmp_path: Path) -> None:
    images = {f"p{i}": [("dot", (2, 3, 20, 22))] for i in range(20)}
    own = voc(tmp_path / "voc", images, {"train": list(images), "val": ["p0"]})
    train, val, _ = read_sets([str(own)], replace(OPTIONS, val_split="held-out"))
    assert val is not None
    assert (len(train), len(val)) == (16, 4)
    assert set(train.files).isdisjoint(val.files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        ([], "DATA"),
        (["DATA", "--model", "ssd300-vg16"], "ssd300-vgg16"),
        (["DATA", "--recipe", "cafe"], "caffe"),
        (["DATA", "--schedule", "linear"], "cosine"),
        (["DATA", "--fusion", "product"], "top-down"),
        (["DATA", "--train-split", "trian"], "train"),
        (["DATA", "--train-split", "train,val"], "2 splits"),
        (["DATA", "--classes", "cel,dot"], "cell"),
        (["DATA", "--classes", ""], "class"),
        (["DATA", "--epocs", "3"], "--epochs"),
        (["DATA", "--set", "foo=3"], "--settings"),
        (["DATA", "--set", "batch_size=1000000000"], "GiB"),
        (["DATA", "--epochs", "0"], "--epochs"),
        (["DATA", "--epochs", "nan"], "--epochs"),
        (["DATA", "--iterations", "0"], "--iterations"),
        (["DATA", "--validate-every", "0"], "--validate-every"),
        (["DATA", "--threads", "-1"], "--threads"),
        (["DATA", "--workers", "-1"], "--workers"),
        (["DATA", "--checkpoint-every", "0"], "--checkpoint-every"),
        (["DATA", "--epochs", "1", "--iterations", "1"], "not both"),
        (["DATA", "--input-size", "300x"], "WIDTHxHEIGHT"),
        (["DATA", "--input-size", "²x²"], "WIDTHxHEIGHT"),
        (["DATA", "--input-size", "9000x64"], "8192"),
        (["DATA", "--seed", "-1"], "--seed"),
        (["DATA", "--validate-every", "1e308"], "--validate-every"),
        (["DATA", "--iterations", "9" * 20], "--iterations"),
        (["DATA", "--device", "meta"], "meta"),
        (["DATA", "--device", "gpu"], "cpu"),
        (["DATA", "--precision", "fp8"], "bf16"),
        (["DATA", "--boxes", "fit"], "--boxes"),
        (["DATA", "--init", "missing.npz"], "missing.npz"),
        (["DATA", "--batch-size", "0"], "batch_size"),
        (["DATA", "--set", "batch_siz=8"], "batch_size"),
        (["DATA", "--batch-size", "8", "--set", "batch_size=4"], "--batch-size"),
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


def test_results_of_another_run_are_not_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "thesis.txt").write_text("years")
    for resume in (False, True):
        with pytest.raises(RequestError, match="best"):
            train_command([str(data)], replace(OPTIONS, out=tmp_path, resume=resume))
    assert (tmp_path / "best" / "thesis.txt").read_text() == "years"


def test_a_folder_that_another_process_trains_in_is_refused(data: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(RequestError, match="--out"):
        train_command([str(data)], replace(OPTIONS, out=tmp_path))


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(data: Path, tmp_path: Path) -> None:
    plan = prepare([str(data)], replace(OPTIONS, out=tmp_path))
    before = {name: tensor.clone() for name, tensor in plan.model.state_dict().items() if "norm" not in name}
    next(plan.model.backbone.parameters()).register_hook(lambda gradient: gradient * torch.nan)
    state = RunState(0, plan.resume_values())
    with (
        RunLog(tmp_path, steps=plan.steps, console=Console(quiet=True)) as log,
        pytest.raises(NonFiniteLossError, match=r"step 0: the gradient is not finite on .*p\d"),
    ):
        loop.run(plan, log, state)
    assert all(torch.equal(tensor, plan.model.state_dict()[name]) for name, tensor in before.items())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_image_damaged_behind_its_header_is_one_line(workers: int, data: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(data, cut)
    for path in (cut / "JPEGImages").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + content[-12:])  # it has its end, but not all before it
    with pytest.raises(ImageError, match=r"^\S+p?\w+\.\w+: truncated or damaged .*$") as caught:
        train_command([str(cut)], replace(OPTIONS, out=tmp_path / "run", workers=workers))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("background", "the background is no class"), ("a\u0007b", "cannot be shown"), ("n" * 501, "501 characters")],
)
def test_a_class_that_no_model_can_hold_is_refused_before_it_is_learnt(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "a.csv").write_text(f"file,x1,y1,x2,y2,label\na.png,2,3,20,22,{name}\n", encoding="utf-8")
    image(tmp_path / "a.png", seed=0)
    with pytest.raises(DataError, match=reason):
        prepare([str(tmp_path / "a.csv")], replace(OPTIONS, out=tmp_path / "run"))


def test_boxes_that_cannot_be_learnt_are_none(tmp_path: Path) -> None:
    data = voc(tmp_path / "voc", {"a": [("cell", (100, 100, 120, 120))]}, {"train": ["a"]})
    with pytest.raises(DataError, match="1 boxes"):
        prepare([str(data)], replace(OPTIONS, out=tmp_path / "run"))


def test_figures_of_another_tool_are_not_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"my": "precious figures"}\n')
    with pytest.raises(RequestError, match=r"metrics\.jsonl"):
        train_command([str(data)], replace(OPTIONS, out=tmp_path))
    assert "precious" in (tmp_path / "metrics.jsonl").read_text()


def test_one_image_at_a_time_is_refused_where_nothing_could_be_normalised(data: Path, tmp_path: Path) -> None:
    for settings in ({"batch_size": 1}, {"batch_size": 4, "accumulate": 4}):
        with pytest.raises(RequestError, match="--batch-size"):
            prepare([str(data)], replace(OPTIONS, out=tmp_path / "run", **settings))
