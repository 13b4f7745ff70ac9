from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from filelock import FileLock
from rich.console import Console
from safetensors.torch import load_file

from data_fixtures import picture, voc
from singleshot.cli.main import run as command_line
from singleshot.data import loader
from singleshot.errors import (
    DataError,
    NonFiniteLossError,
    PictureError,
    PictureLostError,
    RequestError,
    SingleshotError,
    WorkerLostError,
)
from singleshot.losses.multibox import multibox_loss
from singleshot.runtime.detector import Detector
from singleshot.spec import VARIANTS
from singleshot.train import checkpoint, loop, step
from singleshot.train.checkpoint import RunState, checkpoints
from singleshot.train.command import train_command
from singleshot.train.initial import initial_network
from singleshot.train.journal import Journal, read_history
from singleshot.train.options import TrainOptions
from singleshot.train.plan import prepare
from singleshot.train.sets import read_sets

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
    (events,) = (finished / "tensorboard").iterdir()
    assert b"val/JPEGImages/p0.png" in events.read_bytes()
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


def test_a_seed_and_a_number_of_threads_give_the_same_weights(data: Path, tmp_path: Path) -> None:
    """The limit: sums are split by threads, and runs of different numbers of threads part as those of two seeds do."""
    usual = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            for turn in "ab":
                train_command([str(data)], replace(OPTIONS, threads=threads, out=tmp_path / f"{threads}{turn}"))
            assert_same_weights(tmp_path / f"{threads}a/last", tmp_path / f"{threads}b/last")
    finally:
        torch.set_num_threads(usual)


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


def test_a_run_cut_after_every_update_ends_with_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty cuts, with other numbers of workers each time."""
    modern = replace(OPTIONS, recipe="modern", iterations=21, checkpoint_every=40, validate_every=100)
    assert train_command([str(data)], replace(modern, out=tmp_path / "whole")) == 0
    original = loop.update

    def update_then_signal(*arguments: Any, **named: Any) -> Any:
        figures = original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGTERM)
        return figures

    monkeypatch.setattr(loop, "update", update_then_signal)
    for cut in range(20):
        options = replace(modern, out=tmp_path / "cut", resume=cut > 0, workers={5: 1, 12: 2}.get(cut, 0))
        with pytest.raises(SingleshotError, match=f"SIGTERM after step {cut + 1}; go on with --resume"):
            train_command([str(data)], options)
    assert train_command([str(data)], replace(modern, out=tmp_path / "cut", resume=True)) == 0
    assert_same_weights(tmp_path / "whole/last", tmp_path / "cut/last")


def kill_workers() -> None:
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join()


def test_a_lost_worker_is_replaced_and_changes_nothing(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = loop.update

    def update_then_kill(*arguments: Any, step: int, **named: Any) -> Any:
        figures = original(*arguments, step=step, **named)
        if step == 1:
            kill_workers()
        return figures

    monkeypatch.setattr(loop, "update", update_then_kill)
    monkeypatch.setattr(loader, "PREFETCHED", 2)  # else all of the run is made before the kill
    options = replace(OPTIONS, out=tmp_path, workers=1)
    assert train_command([str(data)], options) == 0
    assert "died; in work: JPEGImages/" in capsys.readouterr().err
    assert_same_weights(finished / "last", tmp_path / "last")


def test_workers_lost_twice_end_the_run_after_saving(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.batches

    def two_batches_then_lost(*arguments: Any, **named: Any) -> Any:
        made = original(*arguments, **named)
        yield next(made)
        yield next(made)
        raise WorkerLostError("a process that prepares pictures died; in work: a.jpg")

    monkeypatch.setattr(loop, "batches", two_batches_then_lost)
    options = replace(OPTIONS, out=tmp_path, checkpoint_every=40, val_split="none")
    with pytest.raises(WorkerLostError, match=r"in work: a\.jpg; stopped after step 2; go on") as stop:
        train_command([str(data)], options)
    assert stop.value.exit_code == 4
    assert checkpoints(tmp_path / "checkpoints")


def test_a_signal_that_also_ends_the_workers_is_told_as_the_signal(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = loop.batches

    def one_batch_then_the_signal(*arguments: Any, on_retry: Any, **named: Any) -> Any:
        yield next(original(*arguments, on_retry=on_retry, **named))
        os.kill(os.getpid(), signal.SIGTERM)
        on_retry("a worker died")

    monkeypatch.setattr(loop, "batches", one_batch_then_the_signal)
    with pytest.raises(SingleshotError, match="stopped by SIGTERM after step 1; go on with --resume") as stop:
        train_command([str(data)], replace(OPTIONS, out=tmp_path, checkpoint_every=40, val_split="none"))
    assert stop.value.exit_code == 143
    assert checkpoints(tmp_path / "checkpoints")


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
        (["DATA", "--train-split", "train,val"], "names 2 splits for 1 data sets"),
        (["DATA", "--classes", "cel,dot"], "did you mean cell"),
        (["DATA", "--classes", ""], "unknown class"),
        (["DATA", "--epocs", "3"], "did you mean --epochs"),
        (["DATA", "--epochs", "0"], "--epochs is a number above 0"),
        (["DATA", "--epochs", "nan"], "--epochs is a number above 0"),
        (["DATA", "--iterations", "0"], "a run needs from one"),
        (["DATA", "--validate-every", "0"], "--validate-every is a number of epochs above 0"),
        (["DATA", "--threads", "-1"], "--threads is 1 or more"),
        (["DATA", "--workers", "-1"], "--workers is 0 or more"),
        (["DATA", "--checkpoint-every", "0"], "--checkpoint-every is 1 or more"),
        (["DATA", "--epochs", "1", "--iterations", "1"], "not both"),
        (["DATA", "--input-size", "300"], "WIDTHxHEIGHT"),
        (["DATA", "--input-size", "²x²"], "WIDTHxHEIGHT"),
        (["DATA", "--input-size", "9000x64"], "8192 at most"),
        (["DATA", "--seed", "-1"], "--seed is between"),
        (["DATA", "--validate-every", "1e308"], "--validate-every"),
        (["DATA", "--iterations", "9" * 20], "a run needs from one"),
        (["DATA", "--device", "meta"], "device 'meta' cannot be used"),
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
    assert prepare([str(data)], replace(options, iterations=5000)).recipe.warmup_steps == 50


def test_small_sets_get_more_epochs_and_smaller_updates_and_are_told_why(data: Path, tmp_path: Path) -> None:
    free = replace(OPTIONS, out=tmp_path, iterations=None, batch_size=None, validate_every=None)
    plan = prepare([str(data)], free)
    assert (plan.recipe.batch_size, plan.steps) == (4, 450)  # 200 epochs of 9 pictures
    text = "\n".join(plan.notes)
    assert "4 pictures an update, not 16: the set has 9" in text
    assert "200 epochs, not the usual 30, which would be only 68 updates on 9 pictures" in text
    assert 25 <= plan.validations_after(0) <= 35
    plan = prepare([str(data)], replace(free, epochs=2.0, batch_size=3))
    assert (plan.recipe.batch_size, plan.steps) == (3, 6)
    assert not any("decides" in note for note in plan.notes)


@pytest.mark.parametrize("every", [0.4, 0.5, 1.0, 2.5, 100.0])
def test_validations_left_are_counted_as_they_happen(every: float, data: Path, tmp_path: Path) -> None:
    plan = prepare([str(data)], replace(OPTIONS, out=tmp_path, iterations=37, validate_every=every))
    for done in range(38):
        assert plan.validations_after(done) == sum(map(plan.validates_after, range(done + 1, 38)))


def test_a_run_stops_when_it_gets_no_better(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = loop.evaluate
    found = iter([0.1, 0.3, 0.2, 0.3, 0.9, 0.9])

    def evaluate(*arguments: Any, **named: Any) -> Any:
        return replace(original(*arguments, **named), mean_ap=next(found))

    monkeypatch.setattr(loop, "evaluate", evaluate)
    options = replace(OPTIONS, out=tmp_path, iterations=40, validate_every=0.4, patience=2)
    assert train_command([str(data)], options) == 0
    assert "stopped early: 2 validations in a row were no better" in capsys.readouterr().err
    assert checkpoints(tmp_path / "checkpoints")[-1].name == "step-00000004"
    assert train_command([str(data)], replace(options, resume=True)) == 0  # nothing more is learnt
    assert checkpoints(tmp_path / "checkpoints")[-1].name == "step-00000004"


def test_chosen_classes_are_learnt_and_all_other_objects_are_background(data: Path, tmp_path: Path) -> None:
    plan = prepare([str(data)], replace(OPTIONS, out=tmp_path, classes="dot, dot"))
    assert plan.model.spec.class_names == ("dot",)
    assert (len(plan.train_set), len(plan.train_set.labels)) == (9, 4)
    assert plan.val_set is not None
    assert (plan.val_set.class_names, len(plan.val_set), len(plan.val_set.labels)) == (("dot",), 3, 2)


def test_each_data_set_may_have_its_own_split(data: Path, tmp_path: Path) -> None:
    plan = prepare(
        [str(data), str(data)], replace(OPTIONS, out=tmp_path, train_split="train,val", val_split="none,val")
    )
    assert len(plan.train_set) == 9 + 3
    assert plan.val_set is not None
    assert len(plan.val_set) == 3


def test_history_with_a_line_cut_by_a_crash_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo\xff')
    assert read_history(path) == [{"step": 1}]
    with Journal(tmp_path, steps=4, done=2, console=Console(quiet=True)) as journal:
        journal.row({"step": 3})
    assert read_history(path) == [{"step": 1}, {"step": 3}]
    with Journal(tmp_path, steps=4, console=Console(quiet=True)):
        pass
    assert read_history(path) == []


def test_results_of_another_run_are_not_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "thesis.txt").write_text("years")
    for resume in (False, True):
        with pytest.raises(RequestError, match="holds best of another run"):
            train_command([str(data)], replace(OPTIONS, out=tmp_path, resume=resume))
    assert (tmp_path / "best" / "thesis.txt").read_text() == "years"


def test_a_folder_that_another_process_trains_in_is_refused(data: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(RequestError, match="another training writes to"):
        train_command([str(data)], replace(OPTIONS, out=tmp_path))


def test_a_finished_run_resumes_to_the_same_card(finished: Path, data: Path) -> None:
    card = (finished / "last" / "README.md").read_text()
    assert train_command([str(data)], replace(OPTIONS, out=finished, resume=True)) == 0
    assert (finished / "last" / "README.md").read_text() == card


def test_a_run_begun_before_a_setting_existed_is_resumed(
    finished: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = checkpoint.load_latest

    def older(folder: Path) -> Any:
        found = original(folder)
        assert found is not None
        del found[0].settings["recipe"]["label_smoothing"], found[0].settings["parts"]
        del found[0].settings["recipe"]["mining"], found[0].settings["model"]["class_agnostic"]
        del found[0].settings["recipe"]["drops"], found[0].settings["model"]["grid_head"]
        return found

    monkeypatch.setattr(checkpoint, "load_latest", older)
    assert train_command([str(data)], replace(OPTIONS, out=finished, resume=True)) == 0


def test_a_class_that_only_the_validation_pictures_have_is_named(tmp_path: Path) -> None:
    pictures: dict[str, Any] = {f"p{i}": [("cell" if i < 4 else "dot", (2, 3, 20, 22))] for i in range(6)}
    names = list(pictures)
    data = voc(tmp_path / "voc", pictures, {"train": names[:4], "val": names[4:]})
    _, _, notes = read_sets([str(data)], OPTIONS)
    assert "not one object to learn dot from, though the validation pictures hold some" in notes


def test_other_data_of_the_same_size_is_not_resumed(finished: Path, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(data, other)
    annotation = next((other / "Annotations").glob("*1.xml"))
    annotation.write_text(annotation.read_text().replace(">22<", ">21<"))
    with pytest.raises(RequestError, match="data was"):
        train_command([str(other)], replace(OPTIONS, out=finished, resume=True))


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(data: Path, tmp_path: Path) -> None:
    plan = prepare([str(data)], replace(OPTIONS, out=tmp_path))
    before = {name: tensor.clone() for name, tensor in plan.model.state_dict().items() if "norm" not in name}
    next(plan.model.backbone.parameters()).register_hook(lambda gradient: gradient * torch.nan)
    state = RunState(0, plan.settings())
    with (
        Journal(tmp_path, steps=plan.steps, console=Console(quiet=True)) as journal,
        pytest.raises(NonFiniteLossError, match=r"step 0: the gradient is not finite on .*p\d"),
    ):
        loop.run(plan, journal, state)
    assert all(torch.equal(tensor, plan.model.state_dict()[name]) for name, tensor in before.items())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_damaged_behind_its_header_is_one_line(workers: int, data: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(data, cut)
    for path in (cut / "JPEGImages").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(PictureError, match=r"^\S+p?\w+\.\w+: truncated .*$") as caught:
        train_command([str(cut)], replace(OPTIONS, out=tmp_path / "run", workers=workers))
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_lost_during_a_run_costs_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    own = shutil.copytree(data, tmp_path / "set")
    options = replace(OPTIONS, out=tmp_path / "run", checkpoint_every=1000, workers=workers, iterations=12)
    plan = prepare([str(own)], options)
    learn = loop.update

    def lose(*arguments: Any, step: int, **options: Any) -> Any:
        if step == 1:
            (own / "JPEGImages/p5.png").rename(tmp_path / "p5.png")
        return learn(*arguments, step=step, **options)

    monkeypatch.setattr(loop, "update", lose)
    plan.folder.mkdir()
    with (
        Journal(plan.folder, steps=plan.steps, console=Console(quiet=True)) as journal,
        pytest.raises(
            PictureLostError, match=r"p5\.png.*stopped after step \d+; mend it and go on with --resume"
        ) as lost,
    ):
        loop.run(plan, journal, RunState(0, plan.settings()))
    assert lost.value.exit_code == 4
    assert len(checkpoints(plan.folder / "checkpoints")) == 1
    monkeypatch.setattr(loop, "update", learn)
    (tmp_path / "p5.png").rename(own / "JPEGImages/p5.png")
    assert train_command([str(own)], replace(options, resume=True)) == 0
    undisturbed = replace(options, out=tmp_path / "other")
    assert train_command([str(own)], undisturbed) == 0
    assert_same_weights(tmp_path / "run/last", tmp_path / "other/last")


def test_a_validation_picture_lost_during_a_run_costs_nothing(data: Path, tmp_path: Path) -> None:
    own = shutil.copytree(data, tmp_path / "set")
    (own / "ImageSets/Main/train.txt").write_text("p3\np4\np5\np6\n")
    options = replace(OPTIONS, out=tmp_path / "run", checkpoint_every=1000)
    plan = prepare([str(own)], options)
    (own / "JPEGImages/p1.png").unlink()
    plan.folder.mkdir()
    with (
        Journal(plan.folder, steps=plan.steps, console=Console(quiet=True)) as journal,
        pytest.raises(PictureLostError, match=r"p1\.png"),
    ):
        loop.run(plan, journal, RunState(0, plan.settings()))
    assert len(checkpoints(plan.folder / "checkpoints")) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("background", "the background is no class"), ("a\u0007b", "cannot be shown"), ("n" * 501, "501 characters")],
)
def test_a_class_that_no_model_can_hold_is_refused_before_it_is_learnt(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "a.csv").write_text(f"file,x1,y1,x2,y2,label\na.png,2,3,20,22,{name}\n", encoding="utf-8")
    picture(tmp_path / "a.png", seed=0)
    with pytest.raises(DataError, match=reason):
        prepare([str(tmp_path / "a.csv")], replace(OPTIONS, out=tmp_path / "run"))


def test_class_names_in_any_script_are_learnt(tmp_path: Path) -> None:
    name = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER} soft\N{NO-BREAK SPACE}drink"
    (tmp_path / "a.csv").write_text(f"file,x1,y1,x2,y2,label\na.png,2,3,20,22,{name}\n", encoding="utf-8")
    picture(tmp_path / "a.png", seed=0)
    assert train_command([str(tmp_path / "a.csv")], replace(OPTIONS, out=tmp_path / "run", val_split="none")) == 0
    assert Detector.load(tmp_path / "run/last").spec.class_names == (name,)


def test_boxes_that_cannot_be_learnt_are_none(tmp_path: Path) -> None:
    data = voc(tmp_path / "voc", {"a": [("cell", (100, 100, 120, 120))]}, {"train": ["a"]})
    with pytest.raises(DataError, match="not one of the 1 boxes can be learnt from"):
        prepare([str(data)], replace(OPTIONS, out=tmp_path / "run"))


def test_figures_of_another_tool_are_not_replaced(data: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"my": "precious figures"}\n')
    with pytest.raises(RequestError, match=r"metrics\.jsonl is none of ours"):
        train_command([str(data)], replace(OPTIONS, out=tmp_path))
    assert "precious" in (tmp_path / "metrics.jsonl").read_text()


def test_a_line_too_deep_to_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1}\n' + "[" * 200_000 + "\n")
    assert read_history(tmp_path / "m.jsonl") == [{"step": 1}]


def test_one_picture_at_a_time_is_refused_where_nothing_could_be_normalised(data: Path, tmp_path: Path) -> None:
    for settings in ({"batch_size": 1}, {"batch_size": 4, "accumulate": 4}):
        with pytest.raises(RequestError, match="two pictures at a time"):
            prepare([str(data)], replace(OPTIONS, out=tmp_path / "run", **settings))


def test_fresh_networks_are_normalised_but_for_vgg() -> None:
    """Without batch normalisation a fresh MobileNet does not learn; VGG-16 has none in the paper, atrous or not."""
    names = ("ssd300-vgg16", "ssd300-vgg16-full", "ssd300-mobilenetv1")
    specs = [replace(VARIANTS[name], width=1 / 16) for name in names]
    assert [initial_network(spec, None, seed=0).network.spec.batch_norm for spec in specs] == [False, False, True]


def test_a_class_agnostic_model_learns_objects_of_all_classes_as_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = replace(OPTIONS, model="multibox-mobilenetv2", input_size=None, iterations=1, out=out)
    assert train_command([str(data)], options) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "objects of 2 classes are learnt as one: object" in said
    assert "recipe multibox" in said
    assert "AR100" in said
    assert Detector.load(out / "best").spec.class_names == ("object",)
    card = (out / "best/README.md").read_text()
    assert "Protocol proposals" in card
    assert "average recall" in card
    assert "         1,420" in card
    figures = [row for row in read_history(out / "metrics.jsonl") if "AR100" in row]
    assert len(figures) == 1
    page = (out / "report.html").read_text()
    assert "Validation AR100" in page
    assert "Recall against the number of proposals" in page
    further = replace(options, model=str(out / "best"), init=None, val_split="none", out=tmp_path / "further")
    assert train_command([str(data)], further) == 0


def test_chosen_classes_are_the_objects_that_are_proposed(data: Path) -> None:
    train_set, val_set, _ = read_sets([str(data)], replace(OPTIONS, classes="dot"), class_agnostic=True)
    assert val_set is not None
    assert (len(train_set.labels), len(val_set.labels)) == (4, 2)
    assert train_set.class_names == val_set.class_names == ("object",)


@pytest.mark.parametrize(
    ("settings", "mines"), [((), True), (("mining=none",), False), (("confidence_loss=focal",), False)]
)
def test_where_nothing_is_mined_every_box_is_a_negative_and_heads_begin_with_background(
    settings: tuple[str, ...], mines: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, settings=settings, iterations=1, val_split="none", out=tmp_path)
    with torch.no_grad():
        found = prepare([str(data)], options).model(torch.zeros(2, 3, 64, 64)).logits.softmax(-1)[..., 1:].sum(-1)
    assert (found.mean() < 0.1) == (not mines)
    of_all = []

    def watched(predictions: Any, targets: Any, **settings: Any) -> Any:
        loss = multibox_loss(predictions, targets, **settings)
        of_all.append(torch.equal(loss.negatives, ~targets.matched))
        return loss

    monkeypatch.setattr(step, "multibox_loss", watched)
    assert train_command([str(data)], options) == 0
    assert of_all == [not mines]
