"""A training run: what it leaves, what is decided for it, and equal weights from equal seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from data_fixtures import image, voc
from singleshot.commands.train import train_command
from singleshot.errors import RequestError
from singleshot.runtime.detector import Detector
from singleshot.ssd.loss import multibox_loss
from singleshot.train import loop, step
from singleshot.train.checkpoint import checkpoints
from singleshot.train.initial import initial_network
from singleshot.train.prepare import prepare
from singleshot.train.run_log import read_metrics
from singleshot.train.sets import read_sets
from singleshot.variants import VARIANTS
from train_fixtures import OPTIONS, assert_same_weights

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_leaves_models_checkpoints_figures_and_a_page(finished: Path) -> None:
    for name in ("last", "best"):
        assert sorted(p.name for p in (finished / name).iterdir()) == [
            "README.md",
            "SHA256SUMS",
            "config.json",
            "learnt.safetensors",
            "model.safetensors",
        ]
    assert [p.name for p in sorted((finished / "checkpoints").iterdir())] == ["step-00000002", "step-00000004"]
    (events,) = (finished / "tensorboard").iterdir()
    assert b"val/JPEGImages/p0.png" in events.read_bytes()
    rows = read_metrics(finished / "metrics.jsonl")
    assert {"step", "epoch", "loss", "loss_location", "loss_confidence", "learning_rate"} <= rows[0].keys()
    assert any("mAP" in row for row in rows)
    page = (finished / "report.html").read_text()
    assert "<html" in page
    settings = json.loads((finished / "settings.json").read_text())
    assert (settings["batch_size"]["value"], settings["batch_size"]["origin"]) == (4, "user")
    assert "16 -&gt; 4, yours (--batch-size)" in page


def test_the_model_of_a_run_detects(finished: Path, data: Path) -> None:
    detector = Detector.load(finished / "best")
    assert detector.spec.class_names == ("cell", "dot")
    found = detector(data / "JPEGImages/p0.png")
    assert found.boxes.shape == (len(found), 4)


def test_a_run_is_resumed_by_the_same_values_whoever_gave_them(finished_copy: Path, data: Path) -> None:
    options = replace(OPTIONS, out=finished_copy, resume=True)
    assert train_command([str(data)], replace(options, batch_size=None, overrides=("batch_size=4",))) == 0
    with pytest.raises(RequestError, match=r"batch_size was 4, is 3, yours \(--batch-size\)"):
        train_command([str(data)], replace(options, batch_size=3))


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


def test_accumulated_parts_learn_from_the_same_images(data: Path, tmp_path: Path) -> None:
    assert train_command([str(data)], replace(OPTIONS, out=tmp_path, accumulate=2, iterations=1, val_split="none")) == 0
    assert (tmp_path / "last").is_dir()
    assert not (tmp_path / "best").exists()


def test_a_short_run_warms_up_for_a_fifth_of_it(data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, out=tmp_path, epochs=None, iterations=10, warmup=None)
    assert prepare([str(data)], options).recipe.warmup_steps == 2
    assert prepare([str(data)], replace(options, warmup=7)).recipe.warmup_steps == 7
    assert prepare([str(data)], replace(options, iterations=5000)).recipe.warmup_steps == 50


def test_small_sets_get_more_epochs_and_smaller_updates_and_are_told_why(data: Path, tmp_path: Path) -> None:
    free = replace(OPTIONS, out=tmp_path, iterations=None, batch_size=None, validate_every=None)
    plan = prepare([str(data)], free)
    assert (plan.recipe.batch_size, plan.steps) == (4, 450)  # 200 epochs of 9 images
    text = "\n".join(plan.notes)
    assert "batch_size 16 -> 4, from the data: the set has 9 images" in text
    assert "epochs 30 -> 200, from the data: 30 epochs of 9 images would be only 68 steps" in text
    assert 25 <= plan.length.validations_after(0) <= 35
    plan = prepare([str(data)], replace(free, epochs=2.0, batch_size=3))
    assert (plan.recipe.batch_size, plan.steps) == (3, 6)
    assert not any("from the data: the set" in note for note in plan.notes)


@pytest.mark.parametrize("every", [0.4, 0.5, 1.0, 2.5, 100.0])
def test_validations_left_are_counted_as_they_happen(every: float, data: Path, tmp_path: Path) -> None:
    plan = prepare([str(data)], replace(OPTIONS, out=tmp_path, iterations=37, validate_every=every))
    for done in range(38):
        left = sum(map(plan.length.validates_after, range(done + 1, 38)))
        assert plan.length.validations_after(done) == left


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
    assert "stopped early, after 1.78 of 17.8 epochs: 2 validations in a row were no better" in capsys.readouterr().err
    assert checkpoints(tmp_path / "checkpoints")[-1].name == "step-00000004"
    assert train_command([str(data)], replace(options, resume=True)) == 0  # nothing more is learnt
    assert checkpoints(tmp_path / "checkpoints")[-1].name == "step-00000004"


def test_a_validation_set_without_objects_is_no_validation(tmp_path: Path) -> None:
    """Here as none of the chosen class is in it; best/ would be the first model that was validated."""
    cell, dot = ("cell", (2, 3, 20, 22)), ("dot", (4, 4, 9, 9))
    images: dict[str, Any] = {"a": [cell, dot], "b": [dot], "c": [cell], "d": [cell]}
    data = voc(tmp_path / "voc", images, {"train": ["a", "b"], "val": ["c", "d"]})
    _, val_set, notes = read_sets([str(data)], replace(OPTIONS, classes="dot"))
    assert val_set is None
    assert "none of the 2 validation images holds an object" in notes[-1]


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


def test_images_held_out_for_validation_are_not_trained_on(tmp_path: Path) -> None:
    images: dict[str, Any] = {f"p{i:02}": [("cell", (2, 3, 20, 22))] for i in range(20)}
    for index, split in enumerate(({"train": list(images)}, {})):
        data = voc(tmp_path / f"voc{index}", images, split)
        train_set, val_set, notes = read_sets([str(data)], OPTIONS)
        assert val_set is not None
        assert not set(train_set.files) & set(val_set.files)
        assert len(set(train_set.files) | set(val_set.files)) == 20
        assert len(val_set) == 4
        assert "validating on 4 images, held out of training" in notes


def test_a_named_training_split_is_validated_on_a_part_of_itself(tmp_path: Path) -> None:
    """The set's own validation split might overlap it; here it is part of `train`."""
    names = [f"p{i:02}" for i in range(20)]
    images: dict[str, Any] = {name: [("cell", (2, 3, 20, 22))] for name in names}
    data = voc(tmp_path / "voc", images, {"train": names, "val": names[:3]})
    train_set, val_set, _ = read_sets([str(data)], replace(OPTIONS, train_split="train"))
    assert val_set is not None
    assert not set(train_set.files) & set(val_set.files)


def test_a_class_that_only_the_validation_images_have_is_named(tmp_path: Path) -> None:
    images: dict[str, Any] = {f"p{i}": [("cell" if i < 4 else "dot", (2, 3, 20, 22))] for i in range(6)}
    names = list(images)
    data = voc(tmp_path / "voc", images, {"train": names[:4], "val": names[4:]})
    _, _, notes = read_sets([str(data)], OPTIONS)
    assert "no training object of dot, though the validation images hold some" in notes


def test_class_names_in_any_script_are_learnt(tmp_path: Path) -> None:
    name = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER} soft\N{NO-BREAK SPACE}drink"
    (tmp_path / "a.csv").write_text(f"file,x1,y1,x2,y2,label\na.png,2,3,20,22,{name}\n", encoding="utf-8")
    image(tmp_path / "a.png", seed=0)
    assert train_command([str(tmp_path / "a.csv")], replace(OPTIONS, out=tmp_path / "run", val_split="none")) == 0
    assert Detector.load(tmp_path / "run/last").spec.class_names == (name,)


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
    figures = [row for row in read_metrics(out / "metrics.jsonl") if "AR100" in row]
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
    ("overrides", "mines"), [((), True), (("mining=none",), False), (("confidence_loss=focal",), False)]
)
def test_where_nothing_is_mined_every_box_is_a_negative_and_heads_begin_with_background(
    overrides: tuple[str, ...], mines: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, overrides=overrides, iterations=1, val_split="none", out=tmp_path)
    with torch.no_grad():
        found = prepare([str(data)], options).model(torch.zeros(2, 3, 64, 64)).logits.softmax(-1)[..., 1:].sum(-1)
    assert (found.mean() < 0.1) == (not mines)
    of_all = []

    def watched(predictions: Any, targets: Any, *settings: Any, **named: Any) -> Any:
        loss = multibox_loss(predictions, targets, *settings, **named)
        of_all.append(torch.equal(loss.negatives, ~targets.matched))
        return loss

    monkeypatch.setattr(step, "multibox_loss", watched)
    assert train_command([str(data)], options) == 0
    assert of_all == [not mines]


def test_quality_aware_scores_go_with_their_recipe_alone(data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, model="ssd320-lite", out=tmp_path / "run", init="none", recipe=None, boxes="auto")
    assert prepare([str(data)], options).recipe.name == "aligned"
    with pytest.raises(RequestError, match="sigmoids"):
        prepare([str(data)], replace(options, recipe="modern"))
    with pytest.raises(RequestError, match="giou"):
        prepare([str(data)], replace(options, overrides=("localisation_loss=smooth_l1",)))
    with pytest.raises(RequestError, match="a softmax"):
        prepare([str(data)], replace(options, model="ssdlite320-mobilenetv2", recipe="aligned"))
