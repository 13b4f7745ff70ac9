from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from data_fixtures import coco, coco_content, voc
from ground_truth_sets import ground_truth_set
from singleshot.cli.main import run
from singleshot.commands.analyze import analyze_set
from singleshot.commands.evaluate import beyond_coco_limit, evaluate_set, held_out
from singleshot.commands.options import AnalyzeOptions, DetectionSource, EvaluateOptions
from singleshot.errors import RequestError
from singleshot.models.ssd import SSD
from singleshot.train.options import TrainOptions
from singleshot.train.sets import read_sets
from singleshot.variants import SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images: dict[str, Any] = {"a": [("car", (5, 5, 25, 20))], "b": [("cat", (2, 2, 30, 28))], "c": []}
    return voc(tmp_path / "set", images, {"train": ["a"], "val": ["b"], "test": ["a", "b", "c"]})


def detections(folder: Path, **boxes: list[float]) -> Path:
    detected = {"a": ("car", boxes.get("a")), "b": ("cat", boxes.get("b"))}
    documents = [
        {
            "file": f"{name}.png",
            "width": 40,
            "height": 30,
            "detections": [{"box": box, "label": label, "score": 0.9}] if box else [],
        }
        for name, (label, box) in detected.items()
        if name in boxes
    ]
    path = folder / "found.json"
    path.write_text(json.dumps({"model": "by hand", "images": documents}))
    return path


def test_a_file_of_detections_is_measured_on_the_test_split(data: Path, tmp_path: Path) -> None:
    detected = detections(tmp_path, a=[5, 5, 25, 20], b=[30, 2, 39, 9])
    out = tmp_path / "deep/figures.json"
    assert run(["evaluate", str(data), "--detections", str(detected), "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["protocol"] == "voc07"
    assert figures["per_class"] == {"car": 1.0, "cat": 0.0}
    assert figures["mAP"] == 0.5


def test_from_python_nothing_is_printed_and_notes_are_handed_over(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(tmp_path / "model", SSD(SSDLITE320_MOBILENETV2.with_input_size(64, 64)), card="")
    notes: list[str] = []
    done: list[tuple[int, int]] = []
    source = DetectionSource(model=str(tmp_path / "model"), split="val")
    result = evaluate_set(
        EvaluateOptions(str(data), source=source),
        on_note=notes.append,
        on_image=lambda *progress: done.append(progress),
    )
    assert result.protocol == "voc07"
    assert notes == [f"1 images of {data}, split val"]
    assert done == [(1, 1)]
    analyze_set(AnalyzeOptions(str(data), source=source, report=tmp_path / "analysis.html"))
    assert "<html" in (tmp_path / "analysis.html").read_text()
    assert capsys.readouterr() == ("", "")


def test_a_class_without_ground_truth_is_null_and_no_part_of_the_mean(data: Path, tmp_path: Path) -> None:
    detected = detections(tmp_path, b=[2, 2, 30, 28])
    out = tmp_path / "figures.json"
    arguments = ["evaluate", str(data), "--detections", str(detected), "--split", "val", "--json", str(out)]
    assert run([*arguments, "--protocol", "voc12", "--report", str(tmp_path / "report.html")]) == 0
    figures = json.loads(out.read_text())
    assert figures["per_class"] == {"car": None, "cat": 1.0}
    assert figures["mAP"] == 1.0
    assert "<html" in (tmp_path / "report.html").read_text()


def test_a_model_is_measured(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(tmp_path / "model", SSD(SSDLITE320_MOBILENETV2.with_input_size(64, 64)), card="")
    assert run(["evaluate", str(data), "--model", str(tmp_path / "model")]) == 0
    assert "mAP voc07" in capsys.readouterr().out


def test_classes_that_the_model_does_not_know_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = voc(tmp_path / "set", {"a": [("car", (5, 5, 25, 20)), ("zebra", (5, 5, 25, 20))]})
    save_network(tmp_path / "model", SSD(SSDLITE320_MOBILENETV2.with_input_size(64, 64)), card="")
    assert run(["evaluate", str(data), "--model", str(tmp_path / "model")]) == 0
    assert "does not know 1 classes of the data, which count as 0: zebra" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["DATA", "--split", "tset"], "tset"),
        (["DATA", "--model", "x", "--detections", "y"], "--detections"),
        (["DATA", "--detections", "missing.json"], "missing.json"),
        (["DATA", "--protocol", "voc7", "--detections", "FOUND"], "voc7"),
    ],
)
def test_wrong_requests_are_one_line(
    arguments: list[str], message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"DATA": str(data), "FOUND": str(detections(tmp_path))}
    assert run(["evaluate", *(places.get(argument, argument) for argument in arguments)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ssd:")]
    assert len(lines) == 1
    assert message in lines[0]


def test_two_models_are_compared_on_the_same_images(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = SSDLITE320_MOBILENETV2.with_input_size(64, 64)
    for seed in (0, 1):
        save_network(tmp_path / f"model{seed}", SSD(spec, seed=seed), card="")
    out = tmp_path / "figures.json"
    arguments = ["evaluate", str(data), "--model", str(tmp_path / "model0"), "--against", str(tmp_path / "model1")]
    assert run([*arguments, "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["against"]["difference"] == pytest.approx(figures["mAP"] - figures["against"]["mAP"])
    assert figures["against"]["per_class"].keys() == figures["per_class"].keys()
    out_lines = capsys.readouterr().out.splitlines()
    assert all("%  against " in line for line in out_lines[:-2] if "no ground-truth boxes" not in line)
    assert out_lines[-1].startswith(f"{tmp_path / 'model0'} against {tmp_path / 'model1'}: ")
    assert "resamples of the 3 images" in out_lines[-1]
    assert run([*arguments, "--protocol", "coco"]) == 0
    assert "resamples of the 3 images" in capsys.readouterr().out


def test_of_a_set_without_splits_the_part_that_training_held_out_can_be_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images: dict[str, Any] = {f"p{i}": [("cell", (2, 3, 20, 22))] for i in range(10)}
    data = voc(tmp_path / "set", images, {})
    spec = replace(SSDLITE320_MOBILENETV2.with_input_size(64, 64), class_names=("cell",))
    save_network(tmp_path / "m", SSD(spec), card="")
    arguments = ["evaluate", str(data), "--model", str(tmp_path / "m")]
    assert run(arguments) == 0
    assert "--split held-out takes the fifth that training held out" in " ".join(capsys.readouterr().err.split())
    assert run([*arguments, "--split", "held-out"]) == 0
    assert capsys.readouterr().err.startswith("2 images")
    _, validation, notes = read_sets([str(data)], TrainOptions())
    assert validation is not None
    assert held_out(str(data)).files == validation.files
    assert notes[-1] == "validating on 2 images, held out of training"


def test_a_training_split_alone_is_held_out_of_and_a_validation_split_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="split val"):
        held_out(str(data))
    images: dict[str, Any] = {f"p{i}": [("cell", (2, 3, 20, 22))] for i in range(12)}
    names = list(images)
    alone = voc(tmp_path / "alone", images, {"train": names[:10], "test": names[10:]})
    _, validation, _ = read_sets([str(alone)], TrainOptions())
    assert validation is not None
    assert held_out(str(alone)).files == validation.files
    few = voc(tmp_path / "few", {name: images[name] for name in names[:5]}, {})
    with pytest.raises(RequestError, match="too few images"):
        held_out(str(few))


@pytest.mark.parametrize("present", [0, 1])
def test_annotations_and_detections_suffice_without_the_images(
    tmp_path: Path, present: int, capsys: pytest.CaptureFixture[str]
) -> None:
    root = coco(tmp_path / "c", coco_content())
    for file in sorted((root / "train2017").iterdir())[present:]:
        file.unlink()
    file = root / "annotations/instances_train2017.json"
    rows = [
        {"image_id": image_id, "category_id": category, "bbox": [1, 2, 10, 20], "score": 0.9}
        for image_id, category in ((10.0, "3"), ("11", 3.0))
    ]
    results = tmp_path / "dets.json"
    results.write_text(json.dumps(rows))
    assert run(["evaluate", str(file), "--detections", str(results), "--json", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["mAP"] == 1
    said = capsys.readouterr()
    assert f"{2 - present} images are not here" in said.out + said.err
    assert run(["evaluate", str(file), "--detections", str(results), "--report", str(tmp_path / "page.html")]) == 2
    assert "missing image" in capsys.readouterr().err


def test_without_images_the_annotations_must_state_their_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "boxes.csv").write_text("file,x1,y1,x2,y2,label\na.png,1,2,11,22,cat\n")
    document = {"images": [{"file": "a.png", "detections": [{"box": [1, 2, 11, 22], "label": "cat", "score": 0.9}]}]}
    (tmp_path / "dets.json").write_text(json.dumps(document))
    arguments = ["evaluate", str(tmp_path / "boxes.csv"), "--detections", str(tmp_path / "dets.json")]
    assert run(arguments) == 2
    assert "missing image" in capsys.readouterr().err
    (tmp_path / "boxes.csv").write_text("file,x1,y1,x2,y2,label,width,height\na.png,1,2,11,22,cat,40,30\n")
    assert run(arguments) == 0


def test_more_objects_than_coco_counts_are_said() -> None:
    crowded = ground_truth_set([[i, 0, i + 1, 1] for i in range(300)], [0] * 250 + [1] * 50)
    (line,) = beyond_coco_limit(crowded)
    assert "250" in line
    assert "50.0%" in line  # 100 of 250, and all 50 of the other class
    assert beyond_coco_limit(crowded.as_one_class("cell").subset([])) == []
    assert beyond_coco_limit(ground_truth_set([[0, 0, 1, 1]] * 100, [0] * 100)) == []
