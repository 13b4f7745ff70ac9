from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_fixtures import voc
from evaluation_examples import random_set
from singleshot.cli.main import run
from singleshot.commands.compare import compare_runs, short_names
from singleshot.commands.options import CompareOptions
from singleshot.errors import ModelError, RequestError
from singleshot.evaluate.compare import compare
from singleshot.evaluate.per_image import ImageResult, PerImageResults, most_different
from singleshot.evaluate.protocols import evaluate
from singleshot.models.ssd import SSD
from singleshot.report.comparison import ComparisonContent, EvaluatedRun, RunRecord, differing_settings, render
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network
from test_report import Page, grey

SPEC = SSDLITE320_MOBILENETV2.with_input_size(64, 64)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders as `ssd train` leaves them, but for checkpoints and pages."""
    root = tmp_path_factory.mktemp("runs")
    for seed, rate in ((0, 0.1), (1, 0.2)):
        folder = root / f"run{seed}"
        origin = {"data": ["cells"], "pictures": 205, "updates": 20, "seed": seed, "recipe": {"name": "modern"}}
        save_network(folder / "best", SSD(SPEC, seed=seed), card="", provenance=origin)
        rows: list[dict[str, Any]] = [
            {
                "step": step,
                "epoch": step / 10,
                "loss": 9 / step,
                "learning_rate": rate,
                "pictures_per_second": 40 + step,
            }
            for step in range(1, 21)
        ]
        rows.insert(10, {"step": 10, "epoch": 1.0, "mAP": 0.75 + rate, "per_class": {"cat": 0.75 + rate}})
        rows.append({"step": 20, "epoch": 2.0, "mAP": 0.5, "per_class": {"cat": 0.5}})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = {"learning_rate": rate, "epochs": 2, "augment": {"expand": [1, rate]}}
        origins = {name: {"value": value, "origin": "user", "reason": ""} for name, value in settings.items()}
        (folder / "settings.json").write_text(json.dumps(origins))
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images: dict[str, Any] = {"a": [("car", (5, 5, 25, 20))], "b": [("cat", (2, 2, 30, 28))], "c": []}
    return voc(tmp_path / "set", images, {"train": ["a"], "val": ["a", "b", "c"]})


def test_what_runs_recorded_of_themselves(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    assert run(["compare", str(runs / "run0"), str(runs / "run1"), "--json", str(out)]) == 0
    lines = {line.split("  ")[0]: line.split()[-2:] for line in capsys.readouterr().out.splitlines()}
    assert lines["best validation"] == ["85.0%", "95.0%"]
    assert lines["seed"] == ["0", "1"]
    assert lines["input"] == ["64x64", "64x64"]
    figures = json.loads(out.read_text())
    assert [row["name"] for row in figures["runs"]] == ["run0", "run1"]
    assert figures["runs"][0]["best_validation"]["step"] == 10
    assert figures["runs"][0]["facts"]["trained at"] == "50.5 images/s"
    assert figures["settings"] == {
        "learning_rate": {"run0": "0.1", "run1": "0.2"},
        "augment.expand": {"run0": "[1, 0.1]", "run1": "[1, 0.2]"},
    }
    assert figures["notes"] == []


def test_the_model_of_a_run_has_the_log_of_the_run(runs: Path) -> None:
    result = compare_runs(CompareOptions((str(runs / "run0/best"), str(runs / "run1"))))
    first, second = result.content.runs
    assert (first.name, second.name) == ("run0/best", "run1")
    assert first.facts["best validation"] == "85.0%"


def test_a_run_is_compared_by_its_best_model(runs: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(runs / "run0", whole)
    save_network(whole / "last", SSD(SPEC, seed=3), card="", provenance={"updates": 99})
    facts = [item.facts for item in compare_runs(CompareOptions((str(whole), str(whole / "last")))).content.runs]
    assert [of_run["steps"] for of_run in facts] == ["20", "99"]


def test_runs_on_other_data_or_other_classes_are_said_not_to_compare(runs: Path) -> None:
    notes: list[str] = []
    result = compare_runs(CompareOptions((str(runs / "run0"), "ssdlite320-mobilenetv2")), on_note=notes.append)
    assert any("different data" in note and "cells" in note for note in notes)
    assert any("different classes" in note for note in notes)
    assert "best validation" not in result.content.runs[1].facts
    first, shipped = (item.facts["runs on"] for item in result.content.runs)
    assert (first, shipped.split()[0]) == ("torch fp32", "openvino")


def test_progress_is_that_of_all_models(runs: Path, data: Path) -> None:
    done: list[tuple[int, int]] = []
    options = CompareOptions((str(runs / "run0"), str(runs / "run1")), data=str(data))
    compare_runs(options, on_image=lambda *progress: done.append(progress))
    assert done == [(number, 6) for number in range(1, 7)]


def test_on_a_set_they_are_evaluated_and_the_difference_is_judged(
    runs: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, out = tmp_path / "page.html", tmp_path / "figures.json"
    command = ["compare", str(runs / "run0"), str(runs / "run1"), "--data", str(data), "--report", str(page)]
    assert run([*command, "--json", str(out)]) == 0
    told = capsys.readouterr()
    assert "3 images of" in told.err
    assert "split val" in told.err
    assert "run1 against run0: " in told.out
    assert "resamples of the 3 images" in told.out
    assert any(line.startswith("mAP voc07") for line in told.out.splitlines())
    figures = json.loads(out.read_text())
    (comparison,) = figures["comparisons"]
    maps = [row["evaluation"]["mAP"] for row in figures["runs"]]
    assert comparison["difference"] == pytest.approx(maps[1] - maps[0])
    assert (comparison["first"], comparison["second"]) == ("run0", "run1")
    text = Page(page.read_text()).text
    for heading in ("Side by side", "Learning curves", "Could the difference be chance?", "Settings that differ"):
        assert heading in text
    assert run(command) == 0  # a page of ours is replaced
    (tmp_path / "page.html").write_text("mine")
    assert run(command) == 2


@pytest.mark.parametrize(
    ("arguments", "token"),
    [(["one"], "two or more"), (["a", "./a"], "twice"), (["a", "b", "--split", "val"], "--data")],
)
def test_what_cannot_be_compared_is_refused(
    arguments: list[str], token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *arguments]) == 2
    assert token in capsys.readouterr().err


def test_a_run_without_a_model_or_with_damaged_settings_is_named(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "young").mkdir()
    (tmp_path / "young/metrics.jsonl").write_text("")
    with pytest.raises(RequestError, match="young has no best/"):
        compare_runs(CompareOptions((str(tmp_path / "young"), str(runs / "run0"))))
    save_network(tmp_path / "young/best", SSD(SPEC, seed=0), card="")
    (tmp_path / "young/settings.json").write_text("[1]")
    with pytest.raises(ModelError, match="settings"):
        compare_runs(CompareOptions((str(tmp_path / "young"), str(runs / "run0"))))


def test_a_class_agnostic_model_has_no_map_to_compare(runs: Path, data: Path, tmp_path: Path) -> None:
    spec = replace(SPEC, class_names=("object",), class_agnostic=True)
    save_network(tmp_path / "agnostic", SSD(spec, seed=0), card="")
    with pytest.raises(RequestError, match="class-agnostic"):
        compare_runs(CompareOptions((str(runs / "run0"), str(tmp_path / "agnostic")), data=str(data)))


def test_names_are_as_short_as_they_are_clear() -> None:
    assert short_names(["/x/runs/a/best", "/x/runs/b/best"]) == ["a/best", "b/best"]
    assert short_names(["runs/a", "runs/a/best"]) == ["a", "a/best"]
    assert short_names(["a", "b"]) == ["a", "b"]


def results(*f1_and_errors: tuple[float, int]) -> PerImageResults:
    """Images with so many false positives and this F1."""
    none = np.zeros(0, bool)
    of_images = [ImageResult(f1, np.zeros(errors, np.int8), none, none) for f1, errors in f1_and_errors]
    return PerImageResults(0.5, 0.5, tuple(of_images))


def test_images_differ_most_where_one_makes_more_errors_then_by_f1() -> None:
    first = results((0.5, 2), (0.5, 0), (0.5, 3), (0.8, 1), (0.5, 1), (float("nan"), 0))
    second = results((0.5, 5), (0.5, 4), (0.5, 1), (0.5, 1), (0.5, 1), (float("nan"), 0))
    assert most_different(first, second, 5) == [1, 0, 3, 2]
    assert most_different(second, first, 5) == [2, 1, 0, 3]
    assert most_different(first, second, 1) == [1, 2]
    assert most_different(first, first, 5) == []


def test_settings_are_compared_among_runs_that_have_any() -> None:
    with_rate = [RunRecord(name, {}, settings={"rate": rate, "seed": "0"}) for name, rate in (("a", "1"), ("b", "2"))]
    assert differing_settings([*with_rate, RunRecord("model", {})]) == [["rate", "1", "2", "–"]]  # noqa: RUF001
    assert differing_settings([with_rate[0], RunRecord("model", {})]) == []


@pytest.mark.parametrize("loss", ["1e308", "-1e308", "9" * 400, "NaN", '"text"', "[]", "true"])
def test_figures_of_a_log_that_cannot_be_drawn_are_left_out(runs: Path, tmp_path: Path, loss: str) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(runs / "run0", bad)
    with (bad / "metrics.jsonl").open("a") as log:
        log.write(f'{{"step": 1, "loss": -1e308, "mAP": {loss}}}\n{{"step": {loss}, "loss": {loss}, "mAP": 0.5}}\n')
        log.write('{"step": NaN, "mAP": 0.99, "per_class": {"cat": NaN}}\n')
    page = tmp_path / "page.html"
    result = compare_runs(CompareOptions((str(runs / "run0"), str(bad)), report=page))
    json.dumps(result.to_dict(), allow_nan=False)
    assert "</html>" in page.read_text()


def content(count: int) -> ComparisonContent:
    annotations, _ = random_set(0, images=6)
    evaluated: list[EvaluatedRun] = []
    for seed in range(count):
        _, detections = random_set(seed, images=6)
        against = compare(annotations, detections, evaluated[0].detections, resamples=5) if evaluated else None
        evaluated.append(EvaluatedRun(evaluate(annotations, detections), detections, against))
    runs = [RunRecord(f"run <{seed}>", {"size": f"{seed} MB"}) for seed in range(count)]
    return ComparisonContent("several", runs, (), annotations, evaluated)


def test_the_page_shows_pairs_of_images_of_the_first_and_each_other() -> None:
    page = Page(render(content(3), grey))
    assert "run <0> and run <1>" in page.text
    assert "run <0> and run <2>" in page.text
    assert page.tags.count("figure") % 2 == 0
    assert page.tags.count("figure") >= 4
    assert "script" not in page.tags


def test_more_runs_than_colours_are_drawn() -> None:
    page = Page(render(content(8), grey))
    assert "run <7>" in page.text
    assert page.tags.count("figure") <= 7 * 2 * 2


def test_without_a_set_the_page_has_what_was_recorded() -> None:
    runs = [RunRecord("a", {"size": "1 MB"}), RunRecord("b", {}, history=[{"step": 1, "loss": 2.0, "mAP": "x"}])]
    page = Page(render(ComparisonContent("a and b", runs), grey))
    assert "not validated" in page.text
    assert "Precision and recall" not in page.text
