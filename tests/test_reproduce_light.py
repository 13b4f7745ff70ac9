"""Tables 2 and 3 under the light budget: networks, trainings at once, detection without boundary boxes, intervals."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from data_fixtures import voc
from singleshot.cli.main import run
from singleshot.data.recognise import open_data
from singleshot.errors import RequestError
from singleshot.evaluate import protocols
from singleshot.evaluate.compare import ClassOutcomes, ResampledEvaluation
from singleshot.lab.reproduce import parallel
from singleshot.lab.reproduce.budget import budget
from singleshot.lab.reproduce.datasets import DataSplit
from singleshot.lab.reproduce.differences import Difference, differences, half_of_seeds
from singleshot.lab.reproduce.kept_matches import read_matches, write_matches
from singleshot.lab.reproduce.options import ReproduceOptions
from singleshot.lab.reproduce.outcome import Outcome, Result
from singleshot.lab.reproduce.page import difference_columns
from singleshot.lab.reproduce.paper import Pair
from singleshot.lab.reproduce.parallel import Job, RowFailedError, train_at_once
from singleshot.lab.reproduce.planning import wanted_rows
from singleshot.lab.reproduce.pruned import crosses_border, pruned_detector
from singleshot.lab.reproduce.runner import Runner
from singleshot.lab.reproduce.tables import TABLES, table
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.ssd.matching import CROSSING, match
from singleshot.train.signals import Stopped
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from singleshot.lab.reproduce.paper import TableRow

LIGHT = budget("light")
TINY = ["--budget", "light", "--width", "0.05", "--epochs", "1", "--workers", "0", "--threads", "1", "--rounds", "0"]
STARTS = ["--init", "none", "--init-vgg", "none"]


def light_rows(name: str) -> dict[str, TableRow]:
    return {row.key: row for row in LIGHT.rows(table(name))}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images: dict[str, Any] = {f"p{i}": [("cat" if i % 2 else "dog", (2 + i, 3, 20 + i, 22))] for i in range(40)}
    splits = {"trainval": list(images)[:32], "test": list(images)[32:]}
    return voc(tmp_path_factory.mktemp("light") / "voc", images, splits)


@pytest.mark.parametrize("name", ["table2", "table3"])
def test_the_light_budget_keeps_boxes_and_matching(name: str) -> None:
    for row in light_rows(name).values():
        spec, recipe = LIGHT.network(row), LIGHT.recipe(row, row.schedule)
        factor = spec.input_size_hw[0] / 300
        for light, whole in zip(spec.boxes.maps, row.spec.boxes.maps, strict=True):
            assert light.aspect_ratios == whole.aspect_ratios
            assert light.min_sizes == pytest.approx([size * factor for size in whole.min_sizes])
        assert recipe.iou_threshold == 0.5
        assert recipe.boundary_boxes == row.schedule.recipe.boundary_boxes
        assert replace(recipe.augment, pixels="exact") == row.schedule.recipe.augment
        assert spec.backbone == ("mobilenetv2" if not row.needs_vgg else spec.backbone)
        long = 2 if row.key.endswith("-long") else 1
        assert LIGHT.steps(row, row.schedule) == (625 if row.needs_vgg else 1875) * long


def test_light_rows_differ_as_the_papers_do() -> None:
    rows = light_rows("table2")
    assert grid_sizes(LIGHT.network(rows["ssd300"])) == tuple((side, side) for side in (24, 12, 6, 3, 2, 1))
    atrous, undilated = LIGHT.network(rows["atrous"]), LIGHT.network(rows["no-atrous"])
    assert (atrous.backbone, undilated.backbone) == ("vgg16", "vgg16-undilated")
    assert grid_sizes(atrous) == grid_sizes(undilated) == tuple((side, side) for side in (20, 10, 5, 3, 2, 1))
    weights = [
        sum(p.numel() for p in SSD(replace(spec, width=0.05)).backbone.parameters()) for spec in (atrous, undilated)
    ]
    assert weights[0] == weights[1]
    rows = light_rows("table3")
    assert LIGHT.network(rows["maps-1"]).sources == ("block14_expand",)
    assert LIGHT.network(rows["maps-3"]).sources == ("block7_expand", "block14_expand", "last")
    counts = {key: len(SSD(replace(LIGHT.network(row), width=0.05)).default_boxes) for key, row in rows.items()}
    assert min(counts.values()) > 0.9 * counts["ssd300"]
    assert max(counts.values()) < 1.2 * counts["ssd300"]


def test_other_budgets_have_the_papers_rows_alone() -> None:
    for name in TABLES:
        assert budget("full").rows(table(name)) == budget("small").rows(table(name)) == table(name).rows
    with pytest.raises(RequestError, match="--budget light is for table2 and table3, not for table1"):
        LIGHT.rows(table("table1"))
    for name in ("table2", "table3"):
        known = {row.key for row in (*table(name).rows, *table(name).controls)}
        assert all({pair.first, pair.second} <= known for pair in table(name).pairs)
    compared = [pair for pair in table("table2").pairs if LIGHT.compares(table("table2"), pair)]
    assert "atrous or not" not in {pair.statement for pair in compared}
    assert "atrous or not, VGG-16" in {pair.statement for pair in compared}


ROWS = "maps-1,maps-1-inside,maps-1-pruned"


@pytest.fixture(scope="module")
def command(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Table 3 in the smallest, whose rows two processes have trained."""
    out = tmp_path_factory.mktemp("table")
    words = ["reproduce", "table3", "--data", str(data), *TINY, *STARTS, "--out", str(out), "--rows", ROWS]
    command = [*words, "--json", str(out / "table.json")]
    assert run([*command, "--jobs", "2"]) == 0
    return command


def test_a_light_table_whose_rows_were_trained_at_once(command: list[str]) -> None:
    figures = Path(command[-1])
    content = json.loads(figures.read_text())
    assert [row["key"] for row in content["rows"]] == ROWS.split(",")
    runs = sorted(folder.name for folder in (figures.parent / "runs").iterdir())
    assert runs == ["maps-1-inside-seed0", "maps-1-seed0"]
    inside, pruned = (row["seeds"][0] for row in content["rows"][1:])
    assert inside["model"] == pruned["model"]
    first, second = content["differences"]
    assert (first["first"], first["second"], first["paper_points"]) == ("maps-1", "maps-1-inside", -1.6)
    assert second["second"] == "maps-1-pruned"
    assert first["half_of_seeds"] is None
    assert first["interval"][0] <= first["difference"] <= first["interval"][1]
    assert "differences of mAP in points" in (figures.parent / "table3.html").read_text()


def test_rows_that_are_done_are_found(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    figures = Path(command[-1])
    before = json.loads(figures.read_text())["differences"]
    capsys.readouterr()
    assert run([*command, "--jobs", "2"]) == 0
    shown = capsys.readouterr()
    assert " done: " not in shown.err  # no process is started for what is there
    assert "comparison on a light backbone" in shown.err
    assert "boundary boxes help, fc7 alone" in shown.out
    assert json.loads(figures.read_text())["differences"] == before
    longer = ["2" if word == "1" and command[place - 1] == "--epochs" else word for place, word in enumerate(command)]
    assert run([*longer, "--jobs", "2"]) == 2
    assert "holds another run: epochs was 1.0, is 2.0" in capsys.readouterr().err
    kept = figures.parent / "runs/maps-1-seed0/matches.safetensors"
    kept.write_bytes(kept.read_bytes()[:-3])
    assert run(command) == 2
    assert "matches.safetensors" in capsys.readouterr().err.splitlines()[-1]
    kept.unlink()  # as runs of the version before have none
    assert run(command) == 0
    assert json.loads(figures.read_text())["differences"] == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table2"], "--init FILE"),
        (["table1", *STARTS], "--budget light is for table2 and table3"),
        (["table2", *STARTS, "--jobs", "0"], "--jobs is between 1 and 64, got 0"),
        (["table2", "--init", "none", "--rows", "atrous"], "--init-vgg FILE"),
    ],
)
def test_wrong_requests_are_one_line(
    words: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["reproduce", *words, "--data", str(data), *TINY, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out/runs").exists()


def test_a_training_that_fails_ends_the_others(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    row = light_rows("table3")["maps-1"]
    options = ReproduceOptions(
        (str(data),), init=str(tmp_path / "nowhere.safetensors"), threads=1, workers=0, out=tmp_path
    )
    runner = Runner(options, budget("light", width=0.05, epochs=1))
    with pytest.raises(RowFailedError, match="fc7 alone, seed 0: its training ended with exit code 2") as caught:
        train_at_once(runner, [Job((row,), seed) for seed in range(3)], 1, say=print, stage=lambda _text: None)
    assert caught.value.exit_code == 2
    assert "there are no weights at" in capfd.readouterr().err


def test_a_signal_ends_trainings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    class Process:
        exitcode, sentinel = None, 0

        def __init__(self, **_arguments: Any) -> None:
            started.append(self)
            self.ended: list[str] = []

        def start(self) -> None:
            pass

        def terminate(self) -> None:
            self.ended.append("terminate")

        def join(self) -> None:
            self.ended.append("join")

    def raise_signal(*_arguments: Any, **_options: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    context = type("Context", (), {"Process": Process})
    monkeypatch.setattr(parallel.multiprocessing, "get_context", lambda _name: context)
    monkeypatch.setattr(parallel, "wait", raise_signal)
    runner = Runner(ReproduceOptions(), LIGHT)
    jobs = [Job((light_rows("table3")["maps-1"],), seed) for seed in range(3)]
    with pytest.raises(Stopped, match="the same command goes on") as caught:
        train_at_once(runner, jobs, 2, say=lambda _line: None, stage=lambda _text: None)
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert [process.ended for process in started] == [["terminate", "join"]] * 2


def test_boxes_that_cross_the_border_are_those_that_training_ignores() -> None:
    boxes = torch.tensor(
        [[0, 0, 1, 1], [-0.1, 0, 1, 1], [0, -0.1, 1, 1], [0, 0, 1.1, 1], [0, 0, 1, 1.1], [0.2, 0.2, 0.5, 0.5]]
    )
    matches = match(boxes, torch.zeros(1, 1, 4), torch.zeros(1, 1, dtype=torch.bool), ignore_cross_boundary=True)
    assert (matches.ground_truth[0] == CROSSING).tolist() == crosses_border(boxes).tolist()
    assert crosses_border(boxes).tolist() == [False, True, True, True, True, False]


def test_boundary_boxes_do_not_detect_in_a_pruned_detector(data: Path, tmp_path: Path) -> None:
    spec = replace(LIGHT.network(light_rows("table3")["maps-1"]), width=0.05, class_names=("cat", "dog"))
    network = SSD(spec)
    save_network(tmp_path / "model", network, card="")
    inner = ~crosses_border(network.default_boxes)
    backend = pruned_detector(tmp_path / "model", device="cpu").backend
    whole = Detector.load(tmp_path / "model", device="cpu").backend
    images = torch.randn(2, 3, *spec.input_size_hw)
    pruned, plain = backend.predict(images), whole.predict(images)  # type: ignore[attr-defined]
    assert torch.equal(pruned.offsets, plain.offsets)
    assert torch.equal(pruned.logits[:, inner], plain.logits[:, inner])
    assert pruned.logits[:, ~inner].softmax(-1)[..., 1:].max() < 1e-20
    assert 0 < inner.sum() < len(inner)


def test_matches_are_read_as_they_were_written(data: Path, tmp_path: Path) -> None:
    annotations = open_data(str(data), split="test")
    spec = replace(LIGHT.network(light_rows("table3")["maps-1"]), width=0.05, class_names=("cat", "dog"))
    save_network(tmp_path / "model", SSD(spec), card="")
    detections = detect_in_set(Detector.load(tmp_path / "model", device="cpu"), annotations)
    matches = ResampledEvaluation.of(annotations, detections, "voc07")
    write_matches(tmp_path / "m.safetensors", matches)
    again = read_matches(tmp_path / "m.safetensors", "voc07")
    times = np.arange(again.images)
    assert again.average_precisions(times) == matches.average_precisions(times)
    assert again.mean_ap(np.ones_like(times)) == protocols.evaluate(annotations, detections, "voc07").mean_ap
    wrong = replace(matches.classes[0], images=matches.classes[0].images + again.images)
    write_matches(tmp_path / "wrong.safetensors", ResampledEvaluation("voc07", (wrong,)))
    with pytest.raises(RequestError, match=r"0\.images names an image that is not there"):
        read_matches(tmp_path / "wrong.safetensors", "voc07")


def outcome(key: str, *found: list[int], paper: float = 70.0) -> Outcome:
    """A row of one class, one object in each of some images; each seed finds it in some of them, with no error."""
    row = replace(table("table2").rows[0], key=key, paper={"mAP": paper})
    results = []
    for seed, images in enumerate(found):
        correct = np.ones((1, len(images)), bool)
        classes = (ClassOutcomes(np.array(images, np.int64), correct, correct, np.ones(40, np.int64)),)
        matches = ResampledEvaluation("voc12", classes)
        results.append(Result(seed, {"mAP": len(images) / 40, "per_class": {}}, "m", matches))
    return Outcome(row, (), DataSplit("s", "test"), 1, 1, tuple(results))


def first(count: int) -> list[int]:
    return list(range(count))


def test_half_of_seeds_is_students_by_hand() -> None:
    # variances 1 and 4 (of 1, 2, 3 and 2, 4, 6): pooled 2.5, standard error sqrt(2.5 * 2/3), t of 4 degrees 2.776
    assert half_of_seeds([1, 2, 3], [2, 4, 6]) == pytest.approx(2.776 * (2.5 * 2 / 3) ** 0.5)
    assert half_of_seeds([1, 2, 3], [2]) is None


def test_the_interval_of_a_difference_holds_images_and_seeds() -> None:
    better, worse = (
        outcome("better", first(30), first(32), first(34)),
        outcome("worse", first(10), first(12), first(14)),
    )
    (one,) = differences([better, worse], [Pair("", "better", "worse")], resamples=200)
    assert one.ours == pytest.approx(0.5)
    assert one.of_seeds == pytest.approx(2.776 * (0.05**2 * 2 / 3) ** 0.5)
    assert one.of_images > 0.1
    assert one.high - one.low == pytest.approx(2 * np.hypot(one.of_images, one.of_seeds or 0), rel=0.1)
    assert one.low > 0
    assert differences([better, worse], [Pair("", "better", "other")]) == []
    elsewhere = replace(worse, evaluated_on=DataSplit("s", "val"))
    assert differences([better, elsewhere], [Pair("", "better", "worse")]) == []


def test_rows_see_the_same_resampled_images() -> None:
    (same,) = differences(
        [outcome("one", first(20)), outcome("longer name", first(20))], [Pair("", "one", "longer name")], resamples=50
    )
    assert (same.ours, same.low, same.high, same.of_images) == (0, 0, 0, 0)


def test_a_verdict_says_whether_the_papers_ordering_holds() -> None:
    pair = Pair("s", "a", "b")
    cases = [
        (0.05, (0.01, 0.03), "holds"),
        (-0.05, (-0.03, -0.01), "holds"),
        (-0.05, (0.01, 0.03), "does not hold: the opposite"),
        (0.05, (-0.01, 0.03), "not decided"),
        (0.001, (-0.01, 0.03), "no difference shown, as in the paper"),
        (0.001, (0.01, 0.03), "differs: even in the paper"),
        (None, (0.01, 0.03), "better"),
    ]
    for paper, (low, high), verdict in cases:
        difference = Difference(pair, paper, (low + high) / 2, low, high, 0.01, None)
        assert difference.verdict == verdict
    _, ((*_, of_seeds, told),) = difference_columns([Difference(pair, 0.05, 0.02, 0.01, 0.03, 0.01, None)])
    assert (of_seeds, told) == ("-", "holds")


def test_the_plan_holds_the_controls(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["reproduce", "table3", "--plan", "--budget", "light", "--json", str(tmp_path / "plan.json")]) == 0
    planned = {row["key"]: row for row in json.loads((tmp_path / "plan.json").read_text())["rows"]}
    assert planned["maps-2-pruned"]["steps_here"] == 0
    assert planned["maps-2-inside"]["steps_here"] == 1875
    assert "none at test either" in capsys.readouterr().out
    assert len(wanted_rows(table("table2"), ReproduceOptions(), LIGHT)) == 8
