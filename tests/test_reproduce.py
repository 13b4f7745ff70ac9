"""The paper's tables: their rows, what they need, and a whole one in small."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from data_fixtures import coco, coco_content, voc
from singleshot.cli.main import run
from singleshot.data.class_names import COCO_CLASSES
from singleshot.errors import RequestError, UnknownNameError
from singleshot.evaluate.compare import ResampledEvaluation
from singleshot.lab.bench.timing import Case
from singleshot.lab.reproduce import runner, speed
from singleshot.lab.reproduce.budget import budget
from singleshot.lab.reproduce.datasets import Datasets, DataSplit, MissingDataError
from singleshot.lab.reproduce.options import ReproduceOptions
from singleshot.lab.reproduce.outcome import Outcome, Result, orderings
from singleshot.lab.reproduce.page import columns
from singleshot.lab.reproduce.tables import TABLES, table
from singleshot.models.ssd import grid_sizes
from singleshot.ssd.default_boxes import caffe_default_boxes
from singleshot.train.recipe import OLD_NAMES
from singleshot.train.signals import Stopped
from singleshot.variants import SSDLITE320_MOBILENETV2, VOC_CLASSES
from singleshot.weights.folder import read_spec

if TYPE_CHECKING:
    from pathlib import Path

    from singleshot.lab.reproduce.paper import TableRow

TINY = ["--budget", "small", "--width", "0.02", "--epochs", "1", "--workers", "0", "--threads", "1", "--rounds", "0"]


NOTHING_MATCHED = ResampledEvaluation("voc07", ())


def rows_of(name: str) -> dict[str, TableRow]:
    return {row.key: row for row in table(name).rows}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images: dict[str, Any] = {f"p{i}": [("cat" if i % 2 else "dog", (2 + i, 3, 20 + i, 22))] for i in range(6)}
    splits = {"trainval": list(images)[:4], "test": list(images)[4:]}
    return voc(tmp_path_factory.mktemp("reproduce") / "voc", images, splits)


@pytest.mark.parametrize("name", ["table2", "table3"])
def test_default_boxes_are_as_many_as_the_paper_counts(name: str) -> None:
    for row in table(name).rows:
        count = len(caffe_default_boxes(row.spec.boxes, grid_sizes(row.spec), row.spec.input_size_hw))
        assert row.boxes in {None, count}, row.label


def test_rows_of_table_2_differ_in_what_they_are_called_after() -> None:
    rows = rows_of("table2")
    whole = rows["ssd300"]
    assert {len(boxes.ratios) for boxes in rows["squares"].spec.boxes.maps} == {0}
    assert [boxes.ratios for boxes in rows["no-thirds"].spec.boxes.maps] == [(2.0, 0.5)] * 6
    assert rows["no-atrous"].spec.backbone == "vgg16-full"
    bare = rows["bare"].schedule.recipe.augment
    assert (len(bare.samplers), bare.hue_probability, bare.mirror_probability) == (1, 0, 0.5)
    assert whole.schedule.recipe.augment.expand_probability == 0
    assert [row.paper["mAP"] for row in rows.values()] == [65.5, 71.6, 73.7, 74.2, 74.3]


def test_rows_of_table_3_lose_their_coarsest_maps_and_boundary_boxes() -> None:
    rows = rows_of("table3")
    assert rows["maps-3"].spec.sources == ("conv4_3", "fc7", "conv8_2")
    assert rows["maps-1"].spec.sources == ("fc7",)
    assert (rows["maps-1"].spec.normalised, rows["maps-1"].spec.extras) == ((), ())
    assert rows["maps-3"].schedule.recipe.boundary_boxes
    assert not rows["maps-3-inside"].schedule.recipe.boundary_boxes
    assert rows["maps-1-inside"].paper["mAP"] == 64.0


def test_rows_of_one_key_are_one_training_in_every_table() -> None:
    seen: dict[str, tuple[object, ...]] = {}
    for name in TABLES:
        rows = table(name).rows
        assert len({row.key for row in rows}) == len(rows)
        for row in rows:
            what = (row.spec, row.schedule, row.before, row.on_coco)
            assert seen.setdefault(row.key, what) == what, (name, row.key)


def test_expansion_doubles_the_updates_and_coco_keeps_its_boxes() -> None:
    rows = rows_of("table6")
    assert rows["ssd300"].schedule.steps * 2 == rows["ssd300-expanded"].schedule.steps == 120_000
    after = rows["ssd300-after-coco-expanded"]
    assert after.before is not None
    assert after.before.steps == 400_000
    assert after.before.recipe.lr_milestones == (0.7, 0.9)
    assert after.spec.boxes.maps[0].min_sizes == (21.0,)
    assert rows["ssd512-coco"].paper == {"AP": 26.8, "AP50": 46.5, "AP75": 27.8}
    assert rows["ssd300-voc12"].protocol == "voc12"


def test_what_a_row_lacks_is_said(data: Path, tmp_path: Path) -> None:
    rows = rows_of("table1")
    path = str(data)
    alone, pair = Datasets(ReproduceOptions((path,))), Datasets(ReproduceOptions((path, path)))
    assert alone.training_splits(rows["ssd300-first"]) == (DataSplit(path, "trainval"),)
    assert len(pair.training_splits(rows["ssd300"])) == 2
    with pytest.raises(MissingDataError, match="needs a set behind --data"):
        Datasets(ReproduceOptions()).training_splits(rows["ssd300"])
    with pytest.raises(MissingDataError, match="needs a set in COCO's format: --coco DIR"):
        alone.training_splits(rows["ssd300-after-coco"])
    own = voc(tmp_path, {"a": [("cat", (1, 2, 11, 22))]})
    with pytest.raises(MissingDataError, match="has no splits; a table needs one to train on"):
        Datasets(ReproduceOptions((str(own),))).training_splits(rows["ssd300"])
    (own / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    (own / "ImageSets/Main/fold.txt").write_text("a\n")
    with pytest.raises(MissingDataError, match="no split to evaluate on: name one of fold with --test-split"):
        Datasets(ReproduceOptions((str(own),))).evaluation_split(rows["ssd300"])
    learnt = pair.training_splits(rows_of("table4")["ssd300-voc12"])
    assert [source.split for source in learnt] == ["trainval", "trainval", "test"]
    assert Datasets(replace(alone.options, test_split="trainval")).evaluation_split(rows["ssd300"]).split == "trainval"


def outcome(key: str, *values: float) -> Outcome:
    row = replace(rows_of("table2")["ssd300"], key=key)
    results = tuple(
        Result(seed, {"mAP": value, "per_class": {}}, "m", NOTHING_MATCHED) for seed, value in enumerate(values)
    )
    return Outcome(row, (), DataSplit("s", "test"), 1, 1, results)


def test_columns_tell_data_where_rows_differ_and_ours_where_the_paper_says_nothing() -> None:
    one = outcome("one", 0.5)
    other = replace(one, row=replace(one.row, paper={}), learnt=(DataSplit("x", "train"),))
    head, (first, second) = columns([one, other])
    assert head[:5] == ["row", "trained on", "evaluated on", "boxes", "paper mAP"]
    assert (first[1], second[1]) == ("", "x train")
    assert (second[4], second[5]) == ("-", "50.0")
    assert columns([one])[0][:3] == ["row", "boxes", "paper mAP"]
    assert columns([other])[1][0][2:4] == ["-", "50.0"]


def test_an_ordering_is_claimed_only_where_intervals_part() -> None:
    good, bad, vague = outcome("good", 0.7, 0.71, 0.72), outcome("bad", 0.5, 0.51, 0.52), outcome("vague", 0.1, 0.9)
    assert good.interval == pytest.approx((0.71 - 4.303 * 0.01 / 3**0.5, 0.71 + 4.303 * 0.01 / 3**0.5))
    assert orderings([bad, vague, good, outcome("once", 0.99)]) == [("good", "bad")]


def test_a_budget_changes_the_cost_and_not_the_comparison() -> None:
    for row in (*table("table2").rows, *table("table3").rows):
        small = budget("small").recipe(row, row.schedule)
        assert small.boundary_boxes == row.schedule.recipe.boundary_boxes
        assert small.augment.samplers == row.schedule.recipe.augment.samplers
        assert small.iou_threshold == row.schedule.recipe.iou_threshold
        assert budget("full").recipe(row, row.schedule) is row.schedule.recipe
        assert budget("small").network(row).boxes == row.spec.boxes
    top_down = rows_of("relatives")["ssd300-top-down"]
    fused = top_down.spec
    small_fused = budget("small", width=0.125).network(top_down)
    assert (fused.fusion and fused.fusion.channels, small_fused.fusion and small_fused.fusion.channels) == (256, 32)
    assert budget("full").network(top_down) == fused
    with pytest.raises(UnknownNameError, match="did you mean small"):
        budget("smal")
    for width in (0.0, 2.0, float("nan")):
        with pytest.raises(RequestError, match="--width is above 0 and at most 1, got"):
            budget("small", width=width)
    with pytest.raises(RequestError, match="--epochs is above 0 and at most a million, got 0"):
        budget("small", epochs=0)


def test_a_table_in_small(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "table.json"
    command = [
        "reproduce",
        "table2",
        "--data",
        str(data),
        *TINY,
        "--out",
        str(tmp_path / "out"),
        "--json",
        str(figures),
    ]
    assert run([*command, "--rows", "squares,ssd300", "--seeds", "0,1"]) == 0
    shown = capsys.readouterr().out
    assert "without {1/2, 2} and {1/3, 3} boxes" in shown
    assert "paper mAP" in shown
    found = json.loads(figures.read_text())
    assert [row["key"] for row in found["rows"]] == ["squares", "ssd300"]
    squares, whole = found["rows"]
    assert (squares["boxes"], whole["boxes"], whole["paper_percent"]) == (3880, 8732, {"mAP": 74.3})
    assert [seed["seed"] for seed in whole["seeds"]] == [0, 1]
    assert whole["learnt"] == ["voc trainval"]
    assert whole["judged"] == "voc test"
    assert whole["trained"]["model"]["width"] == 0.02
    page = (tmp_path / "out/table2.html").read_text()
    assert "no figure here is the paper&#39;s" in page
    assert "class_names" not in page

    folder = tmp_path / "out/runs/ssd300-seed0"
    before = (folder / "last/model.safetensors").stat().st_mtime_ns
    given = ["--given", f"squares={tmp_path / 'out/runs/squares-seed0/last'}"]
    assert run([*command, "--rows", "squares,ssd300", *given]) == 0
    assert (folder / "last/model.safetensors").stat().st_mtime_ns == before  # found there, not trained again
    again = json.loads(figures.read_text())["rows"]
    assert again[0]["given"]
    assert again[0]["seeds"][0]["mAP"] == squares["seeds"][0]["mAP"]
    capsys.readouterr()
    kept = folder / "judged.json"
    for damage in ('{"figures": {}', json.dumps({**json.loads(kept.read_text()), "figures": {"mAP": 7}})):
        kept.write_text(damage)
        assert run([*command, "--rows", "ssd300"]) == 2
        assert "judged.json" in capsys.readouterr().err.splitlines()[-1]
    longer = ["2" if word == "1" else word for word in command]
    assert run([*longer, "--rows", "ssd300"]) == 2
    assert "ssd300-seed0 holds another run: epochs was 1.0, is 2.0" in capsys.readouterr().err


def test_fine_tuning_from_coco_is_a_chain(data: Path, tmp_path: Path) -> None:
    content = coco_content(3)
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(COCO_CLASSES, 1)]
    other = coco(coco(tmp_path / "coco", content), content, "val2017")
    command = ["reproduce", "table1", "--data", str(data), "--coco", str(other), *TINY, "--out", str(tmp_path / "out")]
    assert run([*command, "--rows", "ssd300-after-coco"]) == 0
    first = tmp_path / "out/runs/ssd300-vgg16-coco-240000-seed0"
    assert read_spec(first / "last").class_names == COCO_CLASSES
    assert read_spec(first / "voc").class_names == VOC_CLASSES
    tuned = read_spec(tmp_path / "out/runs/ssd300-after-coco-seed0/last")
    assert tuned.class_names == ("cat", "dog")
    assert tuned.boxes.maps[0].min_sizes == (21.0,)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table9"], "unknown table 'table9'"),
        (["table2"], "which data?"),
        (["table5", "--data", "DATA"], "no row can be made of what was given"),
        (["table2", "--data", "DATA", "--rows", "squres"], "did you mean squares"),
        (["table2", "--data", "DATA", "--seeds", "0,x"], "--seeds takes different whole numbers"),
        (["table2", "--data", "DATA", "--given", "squares"], "--given takes ROW=FOLDER"),
        (["table2", "--data", "DATA", "--given", "squares=/nowhere"], "/nowhere"),
        (["table2", "--data", "/nowhere"], "/nowhere: no such file or folder"),
        (["table2", "--data", "DATA", "--test-split", "nope"], "unknown split 'nope'"),
        (["table2", "--data", "DATA", "--train-split", "nope"], "unknown split 'nope'"),
        (["table1", "--data", "DATA", "--coco", "DATA"], "--coco takes a set in COCO's format"),
        (["table2", "--data", "DATA", "--rows", ","], "unknown row of table2 ''"),
    ],
)
def test_wrong_requests_are_one_line(
    words: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(data) if word == "DATA" else word for word in words]
    assert run(["reproduce", *words, *TINY, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert not (tmp_path / "out/runs").exists()


def test_the_plan_lists_every_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in TABLES:
        assert run(["reproduce", name, "--plan", "--json", str(tmp_path / "plan.json")]) == 0
        listed = json.loads((tmp_path / "plan.json").read_text())["rows"]
        assert [row["key"] for row in listed] == [row.key for row in table(name).rows]
        assert all(row["model"]["backbone"].startswith("vgg16") for row in listed)
    assert "maps-2-inside" in capsys.readouterr().out
    assert run(["reproduce", "table1", "--plan", "--rows", "ssd512-after-coco"]) == 0
    (_, line) = capsys.readouterr().out.splitlines()
    assert "COCO, then all" in line
    assert "60,000" in line
    assert run(["reproduce", "table7", "--plan"]) == 0
    assert "Fast YOLO" in capsys.readouterr().out


def test_rows_that_would_be_the_same_training_are_told_apart_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reproduce", "table1", "--data", str(data), *TINY, "--out", str(tmp_path / "out")]
    assert run([*command, "--rows", "ssd300-first,ssd300"]) == 0
    captured = capsys.readouterr()
    assert "left out: SSD300, 07+12: of what was given it would be the same as SSD300, 07" in captured.err
    assert "every row is trained on voc trainval and evaluated on voc test" in captured.err
    assert not (tmp_path / "out/runs/ssd300-seed0").exists()


def test_a_signal_names_the_way_to_go_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_arguments: Any, **_options: Any) -> int:
        raise Stopped(signal.SIGTERM, 3)

    monkeypatch.setattr(runner, "train_command", stopped)
    command = ["reproduce", "table2", "--data", str(data), *TINY, "--rows", "ssd300", "--out", str(tmp_path / "out")]
    assert run(command) == 128 + signal.SIGTERM
    assert "after step 3; the same command goes on from there" in capsys.readouterr().err


def test_table_7_sets_images_a_second_beside_the_papers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cases(model: str, *, threads: int) -> list[tuple[Case, None]]:
        assert threads == 1
        works: dict[str, Any] = {"whole": lambda: time.sleep(0.01), "batch8": lambda: time.sleep(0.04), "post": print}
        return [(Case(f"ours {model}, fp32", model, works), None)]

    monkeypatch.setattr(speed, "ours", cases)
    figures, out = tmp_path / "speed.json", tmp_path / "out"
    command = ["reproduce", "table7", "--threads", "1", "--rounds", "3", "--out", str(out), "--json", str(figures)]
    assert run(command) == 0
    found = {(row["method"], row["batch"]): row["ours"] for row in json.loads(figures.read_text())["rows"]}
    assert 0 < found["SSD300", 1]["fp32"] <= 100  # what sleeping allows at most
    assert 0 < found["SSD512", 8]["fp32"] <= 200
    assert found["YOLO", 1] == {}
    assert "Titan X" in (out / "table7.html").read_text()
    assert "paper FPS" in capsys.readouterr().out


def test_settings_of_ones_own_are_an_ablation_beside_the_papers_row(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "table.json"
    command = ["reproduce", "table2", "--data", str(data), *TINY, "--rows", "ssd300", "--out", str(tmp_path / "out")]
    own = ["--set", "negative_ratio=1", "--set", "learning_rate=0.01"]
    assert run([*command, *own, "--seeds", "0,1", "--json", str(figures)]) == 0
    plain, variant = json.loads(figures.read_text())["rows"]
    assert variant["key"] == "ssd300_negative_ratio=1_learning_rate=0.01"
    assert variant["paper_percent"] == {}
    assert (plain["trained"]["recipe"]["negative_ratio"], variant["trained"]["recipe"]["negative_ratio"]) == (3, 1)
    assert variant["trained"]["recipe"]["learning_rate"] == 0.01  # the budget does not change what the user said
    assert len(variant["interval"]) == 2
    sources = json.loads((tmp_path / "out/runs" / f"{variant['key']}-seed0" / "settings.json").read_text())
    assert sources["negative_ratio"]["value"] == 1
    assert sources["negative_ratio"]["origin"] == "user"
    capsys.readouterr()
    assert run([*command, "--set", "negative_ration=1"]) == 2
    assert "negative_ratio" in capsys.readouterr().err.splitlines()[-1]


def test_the_plan_of_a_budget_has_its_own_steps_and_time(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "table2", "--rows", "ssd300", "--plan", "--budget", "small", "--width", "0.02"]
    assert run([*words, "--epochs", "10"]) == 0
    assert "10 epochs" in capsys.readouterr().out
    plan = tmp_path / "plan.json"
    assert run([*words, "--epochs", "10", "--data", str(data), "--seeds", "0,1", "--json", str(plan)]) == 0
    (row,) = json.loads(plan.read_text())["rows"]
    assert row["steps_here"] == 5  # 10 passes over 4 images in batches of 8
    assert row["updates"] == row["steps"] == 60_000
    assert row["seconds_here"] >= 0
    assert all(row["recipe"][old] == row["recipe"][new] for old, new in OLD_NAMES.items())
    assert row["model"]["lite_activation"] == row["model"]["compatibility"]["lite_activation"]
    assert row["model"]["boxes"]["limit"] == row["model"]["compatibility"]["box_limits"]
    assert "with 2 seeds" in capsys.readouterr().out
    assert not list(tmp_path.glob("**/runs"))


def test_rows_are_timed_by_real_networks() -> None:
    spec = replace(SSDLITE320_MOBILENETV2.with_input_size(64, 64), width=0.25)
    rounds: list[int] = []
    timed = speed.milliseconds({"tiny": spec}, threads=1, rounds=2, on_round=rounds.append)
    assert list(timed) == ["tiny"]
    assert timed["tiny"].keys() == {"network", "whole"}
    assert all(milliseconds > 0 for milliseconds in timed["tiny"].values())
    assert rounds == [1, 2]


def test_runs_of_the_version_before_are_found_and_not_trained_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reproduce", "table2", "--data", str(data), *TINY, "--rows", "ssd300", "--out", str(tmp_path / "out")]
    assert run(command) == 0
    folder = tmp_path / "out/runs/ssd300-seed0"
    record = json.loads((folder / "row.json").read_text())
    former = {new: old for old, new in OLD_NAMES.items()}
    record["recipe"] = {former.get(name, name): value for name, value in record["recipe"].items()}
    assert {"updates", "learnt"} <= set(record)
    assert "solver" in record["recipe"]
    (folder / "row.json").write_text(json.dumps(record))
    before = (folder / "last/model.safetensors").stat().st_mtime_ns
    assert run(command) == 0, capsys.readouterr().err
    assert (folder / "last/model.safetensors").stat().st_mtime_ns == before
