"""Images with faults are left out on request: named, counted, and never learnt as background."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_fixtures import coco, coco_content, voc, yolo
from singleshot.cli.main import run
from singleshot.data.recognise import open_data
from singleshot.errors import DataError


def faulty_voc(root: Path) -> Path:
    """Five images; of one the end is missing, of one the XML is none, of one an object, and one is not there."""
    good = [("cat", (2, 3, 20, 22))]
    data = voc(root, {name: list(good) for name in ("good", "cut", "broken", "half", "gone")})
    image = next((data / "JPEGImages").glob("cut.*"))
    image.write_bytes(image.read_bytes()[:-40])
    (data / "Annotations/broken.xml").write_text("<annotation>")
    text = (data / "Annotations/half.xml").read_text()
    (data / "Annotations/half.xml").write_text(text.replace("<xmin>", "<xmin>x"))
    next((data / "JPEGImages").glob("gone.*")).unlink()
    return data


def test_only_whole_images_of_a_voc_folder_are_left(tmp_path: Path) -> None:
    data = faulty_voc(tmp_path / "voc")
    with pytest.raises(DataError, match="--leave-out-faulty"):
        open_data(data)
    annotations = open_data(data, leave_out_faulty=True)
    assert [Path(file).stem for file in annotations.files] == ["good"]
    told = "\n".join(annotations.remarks)
    assert all(name in told for name in ("cut", "broken", "half", "gone"))
    assert "left out as asked: 3 with faults" in told


def test_an_image_of_a_faulty_label_file_is_no_background(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.2 0.2\n"
    labels = {"train/a": line, "train/b": line + "0 0.5 half 0.2 0.2\n", "val/a": line}
    data = yolo(tmp_path / "yolo", dict(labels), yaml="train: images/train\nval: images/val\nnames: [cat]\n")
    annotations = open_data(data, split="train", leave_out_faulty=True)
    assert [Path(file).name for file in annotations.files] == ["a.png"]
    assert "b" in annotations.remarks[-1]


def test_images_of_one_name_in_other_folders_stay(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.2 0.2\n"
    labels = {"cam1/a": line + "0 0.5 half 0.2 0.2\n", "cam1/b": line, "cam2/a": line, "cam3/a": line}
    data = yolo(tmp_path / "yolo", dict(labels), yaml="train: images\nval: images\nnames: [cat]\n")
    annotations = open_data(data, split="train", leave_out_faulty=True)
    assert [file.rpartition("images/")[2] for file in annotations.files] == ["cam1/b.png", "cam2/a.png", "cam3/a.png"]
    assert "1 with faults (1 malformed): labels/cam1/a.txt" in annotations.remarks[-1]


def test_a_fault_that_names_no_image_still_refuses_the_set(tmp_path: Path) -> None:
    content = coco_content(3)
    content["images"][0]["file_name"] = "gone.png"
    data = coco(tmp_path / "coco", content)
    for file in data.rglob("gone.png"):
        file.unlink()
    assert len(open_data(data, leave_out_faulty=True)) == 2
    content["annotations"].append({"id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]})
    coco(data, content)
    with pytest.raises(DataError, match="image_id"):
        open_data(data, leave_out_faulty=True)


def test_training_and_evaluation_go_on_with_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(faulty_voc(tmp_path / "voc"))
    short = ["--iterations", "1", "--input-size", "64", "--workers", "0", "--init", "none", "--val-split", "none"]
    assert run(["train", data, *short, "--out", str(tmp_path / "refused")]) == 2
    assert run(["train", data, *short, "--leave-out-faulty", "--out", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().err
    assert "training on 1 images" in told
    assert "left out as asked: 3 with faults" in told
    assert run(["evaluate", data, "--model", str(tmp_path / "run/last"), "--leave-out-faulty"]) == 0
    assert "left out as asked" in capsys.readouterr().err
