"""ILSVRC DET: its tree, its lists, its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from data_fixtures import Object, image, xml
from singleshot.cli.main import run
from singleshot.data.class_names import ILSVRC_CLASSES, ILSVRC_NAMES
from singleshot.data.recognise import default_splits, open_data, read_splits, recognise, splits
from singleshot.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

ANT, ZEBRA = "n02219486", "n02391049"


def tree(root: Path, images: dict[str, list[Object]], lists: dict[str, list[str]]) -> Path:
    """An ILSVRC DET tree; images by part and id."""
    for seed, (place, objects) in enumerate(images.items()):
        image(root / f"Data/DET/{place}.png", seed=seed).rename(root / f"Data/DET/{place}.JPEG")
        path = root / f"Annotations/DET/{place}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(xml(objects), encoding="utf-8")
    (root / "ImageSets/DET").mkdir(parents=True)
    for name, lines in lists.items():
        (root / f"ImageSets/DET/{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    images: dict[str, list[Object]] = {
        "train/ILSVRC2013_train/n01/a": [(ANT, (5, 5, 25, 20))],
        "train/ILSVRC2013_train/n02/b": [(ZEBRA, (2, 2, 30, 28)), (ANT, (5, 5, 25, 20))],
        "train/extra/c": [],
        "val/v1": [(ZEBRA, (2, 2, 30, 28))],
        "val/v2": [],
    }
    lists = {
        "train_3": ["ILSVRC2013_train/n01/a 1", "ILSVRC2013_train/n02/b 1", "extra/c -1"],
        "train_200": ["ILSVRC2013_train/n02/b 1", "ILSVRC2013_train/n01/a 0"],
        "val": ["v1 1", "v2 2"],
        "val2": ["v2"],
    }
    return tree(tmp_path / "ILSVRC", images, lists)


def test_the_classes_are_the_kits() -> None:
    assert len(ILSVRC_CLASSES) == len(set(ILSVRC_CLASSES)) == 200
    assert (ILSVRC_CLASSES[0], ILSVRC_CLASSES[2], ILSVRC_CLASSES[199]) == ("accordion", "ant", "zebra")
    assert all(len(synset) == 9 and synset[0] == "n" and synset[1:].isdigit() for synset in ILSVRC_NAMES)
    assert ILSVRC_NAMES["n00007846"] == "person"


def test_lists_of_single_classes_are_one_split_of_their_positives(data: Path) -> None:
    assert recognise(data) == "ilsvrc"
    assert splits(data) == {"train": 2, "val": 2, "val2": 1}
    assert default_splits(data) == ("train", "val", None)
    train = open_data(data, split="train")
    assert sorted(train.ids) == ["ILSVRC2013_train/n01/a", "ILSVRC2013_train/n02/b"]
    assert train.format == "ilsvrc"
    assert train.class_names == ILSVRC_CLASSES
    assert train.category_ids == tuple(range(1, 201))
    assert sorted(train.class_names[label] for label in train.labels) == ["ant", "ant", "zebra"]
    val = open_data(data, split="val")
    assert val.ids == ("v1", "v2")
    assert val.files == ("Data/DET/val/v1.JPEG", "Data/DET/val/v2.JPEG")
    assert val.boxes_xyxy.tolist() == [[2, 2, 30, 28]]
    assert len(open_data(data)) == 5


def test_what_is_missing_is_named(data: Path) -> None:
    (data / "Data/DET/val/v2.JPEG").unlink()
    (data / "Annotations/DET/val/v1.xml").unlink()
    faults = read_splits(data, split="val")["val"].faults
    assert [(fault.kind, fault.file) for fault in faults] == [
        ("missing annotation", "Annotations/DET/val/v1.xml"),
        ("missing image", "Annotations/DET/val/v2.xml"),
    ]
    with pytest.raises(DataError, match="v2"):
        open_data(data, split="val")
    assert len(open_data(data, split="train", partial=True)) == 2
    with pytest.raises(UnknownNameError, match="val3"):
        open_data(data, split="val3")


def test_a_synset_of_another_task_keeps_its_number(tmp_path: Path) -> None:
    data = tree(tmp_path / "d", {"val/a": [("n99999999", (5, 5, 25, 20))]}, {"val": ["a 1"]})
    found = open_data(data, split="val")
    assert found.class_names[200:] == ("n99999999",)
    assert found.labels.tolist() == [200]


def test_check_and_evaluate_take_it(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(data)]) == 0
    found = '{"model": "m", "images": [{"file": "v1.JPEG", "width": 40, "height": 30, "detections": [{"box": [2, 2, 30, 28], "label": "zebra", "score": 0.9}]}]}'  # noqa: E501
    (tmp_path / "f.json").write_text(found)
    assert run(["evaluate", str(data), "--split", "val", "--detections", str(tmp_path / "f.json")]) == 0
    assert "mAP ilsvrc  100.0%" in capsys.readouterr().out
