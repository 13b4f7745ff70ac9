"""Verbs that judge a model say which of the images it has learnt; trainings and exports remember them."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from data_fixtures import voc
from golden import SHARED, needs_shared
from singleshot.cli.main import run
from singleshot.commands.learnt_images import learnt_overlap, learnt_overlaps, paths_of
from singleshot.commands.train import train_command
from singleshot.data.recognise import open_data
from singleshot.lab.bench import bench, report
from singleshot.lab.bench.timing import Measured
from singleshot.runtime.find_model import shipped_models
from singleshot.variants import SSD300_VGG16
from singleshot.weights.folder import read_folder
from train_fixtures import OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

TRAINED = "in this model's training set (voc)"


@pytest.fixture(scope="session")
def model(finished: Path) -> Path:
    return finished / "best"


def test_a_run_remembers_what_it_trained_and_validated_on(finished: Path) -> None:
    for name in ("best", "last"):
        learnt = read_folder(finished / name).learnt()
        assert learnt is not None
        assert (len(learnt.trained), len(learnt.validated), len(learnt.ancestors)) == (9, 3, 0)
        assert learnt.names == {"trained": "voc", "validated": "voc"}


def test_evaluate_says_it_on_the_console_in_json_and_on_the_page(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    arguments = ["evaluate", str(data), "--split", "val", "--against", str(model), "--json", str(figures)]
    assert run([*arguments, "--model", str(model), "--report", str(page)]) == 0
    told = capsys.readouterr().err
    assert told.count(f"{model}: 3 of 3 images are {TRAINED}: the figure flatters") == 2
    for written in (json.loads(figures.read_text()), json.loads(figures.read_text())["against"]):
        assert (written["learnt_images"]["judged"], written["learnt_images"]["trained_on"]) == (3, 3)
    assert "3 of 3 images are in this model&#39;s training set" in page.read_text()


def test_a_file_of_detections_and_an_old_model_claim_nothing(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = shutil.copytree(model, tmp_path / "old")
    (old / "learnt.safetensors").unlink()
    lines = (old / "SHA256SUMS").read_text().splitlines()
    (old / "SHA256SUMS").write_text("".join(f"{line}\n" for line in lines if "learnt" not in line))
    assert run(["evaluate", str(data), "--split", "val", "--model", str(old), "--json", str(tmp_path / "f.json")]) == 0
    assert "flatters" not in capsys.readouterr().err
    assert "learnt_images" not in json.loads((tmp_path / "f.json").read_text())
    paths = paths_of(open_data(data, split="val"))
    folder = read_folder(old)
    assert learnt_overlaps([("a", folder), ("b", None)], paths, on_note=print) == [None, None]
    assert learnt_overlap(folder, paths, on_note=print) is None
    assert capsys.readouterr().out == ""


def test_analyze_compare_explain_and_label_say_it_too(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> dict[str, object]:
        assert run([*arguments, "--json", str(tmp_path / "figures.json")]) == 0
        assert TRAINED in capsys.readouterr().err
        written: dict[str, object] = json.loads((tmp_path / "figures.json").read_text())
        return written

    page = tmp_path / "page.html"
    chosen = ["--model", str(model)]
    assert "learnt_images" in said("analyze", str(data), "--split", "val", *chosen, "--report", str(page))
    assert "3 of 3 images are" in page.read_text()
    image = str(data / "JPEGImages/p0.png")
    assert "learnt_images" in said("explain", image, *chosen, "--report", str(page))
    assert "1 of 1 images is" in page.read_text()
    assert "learnt_images" in said(
        "label", str(data), *chosen, "--out", str(tmp_path / "labels"), "--format", "voc", "--all", "--score", "0.001"
    )
    compared = said("compare", str(model), str(model.parent / "last"), "--data", str(data), "--split", "val")
    (first, _second) = compared["runs"]  # type: ignore[misc]
    assert "learnt_images" in first["evaluation"]
    assert any(TRAINED in note for note in compared["notes"])  # type: ignore[attr-defined]


def test_a_model_trained_further_remembers_what_its_start_learnt(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = voc(tmp_path / "others", {f"q{i}": [("cell", (2, 3, 20, 22))] for i in range(100, 104)})
    options = replace(OPTIONS, model=None, init=str(model), input_size=None, val_split="none", iterations=2)
    train_command([str(others)], replace(options, out=tmp_path / "run"), quietly=True)
    learnt = read_folder(tmp_path / "run/last").learnt()
    assert learnt is not None
    assert (len(learnt.trained), len(learnt.validated), len(learnt.ancestors)) == (4, 0, 9)
    assert learnt.names["ancestors"] == "voc"
    arguments = ["export", str(tmp_path / "run/last"), "--format", "openvino", "--out", str(tmp_path / "engine")]
    assert run(arguments) == 0
    exported = read_folder(tmp_path / "engine").learnt()
    assert exported is not None
    assert exported.trained.content.tolist() == learnt.trained.content.tolist()
    assert len(exported.ancestors) == 9


def test_a_run_that_shall_forget_its_images_keeps_none(data: Path, tmp_path: Path) -> None:
    train_command([str(data)], replace(OPTIONS, out=tmp_path, iterations=1, forget_images=True), quietly=True)
    assert not list(tmp_path.rglob("learnt.safetensors"))
    assert read_folder(tmp_path / "last").learnt() is None


@needs_shared
@pytest.mark.parametrize(
    ("name", "of_val"), [("ssd320-lite", (488, 0, 488)), ("ssdlite320-mobilenetv2", (488, 488, 0))]
)
def test_a_shipped_model_knows_its_own_training_images_and_no_test_image(name: str, of_val: tuple[int, ...]) -> None:
    """The first learnt files that show the same and are encoded anew."""
    folder = read_folder(shipped_models()[name])
    counts = {}
    for split in ("val", "test"):
        overlap = learnt_overlap(folder, paths_of(open_data(SHARED / "data/voc2007", split=split)), on_note=str)
        assert overlap is not None
        counts[split] = (overlap.judged, overlap.trained_on, overlap.trained_on_alike)
    assert counts == {"val": of_val, "test": (511, 0, 0)}


@pytest.mark.parametrize(("name", "images"), [("ssd320-lite", 5008), ("ssdlite320-mobilenetv2", 996)])
def test_every_folder_of_a_shipped_model_remembers(name: str, images: int) -> None:
    folder = shipped_models()[name]
    for path in (folder, *(sums.parent for sums in folder.glob("*/SHA256SUMS"))):
        learnt = read_folder(path).learnt()
        assert learnt is not None
        assert len(learnt.trained) == images


def test_a_benchmark_says_it_beside_the_accuracy(model: Path, data: Path) -> None:
    measured = Measured({"other_load": 0.0})
    bench._learnt_images([str(model), SSD300_VGG16.name], str(data), "val", measured)
    assert [overlap.trained_on for overlap in measured.learnt_images.values()] == [3]
    assert f"{model}: 3 of 3 images are {TRAINED}: the figure flatters" in list(report.lines(measured))
    assert json.dumps(asdict(measured))
