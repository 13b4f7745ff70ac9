from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_fixtures import image, yolo
from singleshot.data.recognise import default_splits, open_data, splits
from singleshot.data.yolo import read_yolo
from singleshot.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"
LABELS = {"train/a": "1 0.5 0.5 0.5 0.2\n0 0.25 0.5 0.5 1\n", "train/b": None, "val/c": "0 0.5 0.5 1 1\n"}


def test_fractions_become_pixels(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", LABELS, yaml=YAML)
    data = open_data(root, split="train")
    np.testing.assert_allclose(data.ground_truth(0).boxes_xyxy, [[10, 12, 30, 18], [0, 0, 20, 30]], rtol=1e-6)
    assert data.ground_truth(0).labels.tolist() == [1, 0]
    assert data.class_names == ("cat", "dog")
    assert data.sizes_wh.tolist() == [[40, 30], [40, 30]]
    assert data.files == ("images/train/a.png", "images/train/b.png")
    assert len(data.ground_truth(1)) == 0
    assert splits(root) == {"train": 2, "val": 1}
    assert default_splits(root / "data.yaml") == ("train", "val", None)
    assert len(open_data(root)) == 3
    with pytest.raises(UnknownNameError, match="train"):
        read_yolo(root, split="training")


def test_a_list_of_names_and_images_in_a_text_file(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", LABELS, yaml="train: train.txt\nnames: [cat, dog]\n")
    (root / "train.txt").write_bytes(b"\xef\xbb\xbf./images/train/b.png\r\nimages/train/a.png\r\n")
    data = open_data(root, split="train")
    assert [file.rpartition("/")[2] for file in data.files] == ["b.png", "a.png"]
    assert len(data.ground_truth(1)) == 2


def test_exporters_paths_that_begin_above(tmp_path: Path) -> None:
    root = tmp_path / "y"
    image(root / "train/images/a.png")
    (root / "train/labels").mkdir()
    (root / "train/labels/a.txt").write_text("0 0.5 0.5 0.5 0.5")
    (root / "data.yaml").write_text("path: /nowhere/at/all\ntrain: ../train/images\nnc: 1\nnames: ['cell']\n")
    assert len(open_data(root).labels) == 1


def test_folders_without_yaml(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", {"a": "1 0.5 0.5 0.5 0.5", "b": "0 0.5 0.5 0.1 0.1"})
    assert open_data(root).class_names == ("class 0", "class 1")
    assert splits(root) == {}
    (root / "classes.txt").write_text("cat\r\ndog\r\n")
    assert open_data(root).class_names == ("cat", "dog")
    other = yolo(tmp_path / "z", {"train/a": "2 0.5 0.5 0.5 0.5", "val/b": "0 0.5 0.5 0.1 0.1"})
    assert open_data(other, split="val").class_names == ("class 0", "class 1", "class 2")  # the same in every split


def test_outlines_become_boxes(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", {"a": "0 0.1 0.2 0.5 0.1 0.4 0.6"})
    np.testing.assert_allclose(open_data(root).boxes_xyxy, [[4, 3, 20, 18]], rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0.5", "malformed"),
        ("0 0.5 0.5 0.5 0.5 0.9", "malformed"),
        ("cat 0.5 0.5 0.5 0.5", "malformed"),
        ("0.5 0.5 0.5 0.5 0.5", "malformed"),
        ("-1 0.5 0.5 0.5 0.5", "malformed"),
        ("nan 0.5 0.5 0.5 0.5", "malformed"),
        ("2 0.5 0.5 0.5 0.5", "unknown class"),
    ],
)
def test_faults_name_the_object(tmp_path: Path, line: str, kind: str) -> None:
    root = yolo(tmp_path / "y", {**LABELS, "train/d": f"0 0.5 0.5 0.5 0.5\n\n{line}\n"}, yaml=YAML)
    faults = read_yolo(root, split="train").faults
    assert [(fault.kind, fault.file, fault.number) for fault in faults] == [(kind, "labels/train/d.txt", 2)]


def test_labels_and_images_that_lack_each_other(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", LABELS, yaml=YAML)
    (root / "labels/train/ghost.txt").write_text("0 0.5 0.5 0.5 0.5")
    (root / "images/train/a.png").write_bytes(b"no image")
    faults = read_yolo(root, split="train").faults
    assert [fault.kind for fault in faults] == ["unreadable image", "missing image"]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: nowhere\nnames: [a]", "'nowhere' is neither a folder"),
        ("train: images/train", "expected `names`"),
        ("train: images/train\nnames: [a, a]", "same name"),
        ("names: [a]", "keys train, val, test and names"),
        ("train: [", "not yaml"),
        ("[" * 5000, "nested too deep"),
        ("- " * 5000, "not yaml"),
        ("train: !!python/object/apply:os.system ['true']\nnames: [a]", "not yaml"),
        ("", "keys train"),
        ("a: &a [x]\nb: &b [*a, *a]\ntrain: *b\nnames: [a]", "aliases"),
        ("train: 3\nnames: [a]", "train must be a path, got '3'"),
        ('path: "a\\0b"\ntrain: images/train\nnames: [a]', "path must be a path"),
    ],
)
def test_bad_yaml_is_one_line(tmp_path: Path, yaml: str, message: str) -> None:
    root = yolo(tmp_path / "y", LABELS, yaml=yaml)
    with pytest.raises(DataError, match=message) as caught:
        open_data(root / "data.yaml")
    assert "\n" not in str(caught.value)


def test_a_list_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", LABELS, yaml="train: list.txt\nnames: [a, b, c]")
    (root / "list.txt").write_bytes(b"images/train/\xe9.png\n")
    with pytest.raises(DataError, match=r"list\.txt"):
        open_data(root / "data.yaml")


def test_labels_lie_beside_the_last_folder_called_images(tmp_path: Path) -> None:
    """A set below a folder `images` of the user's, as `/data/images/project/images/a.png`."""
    root = yolo(tmp_path / "images" / "project", LABELS, yaml=YAML)
    assert [len(open_data(root, split="train").ground_truth(i)) for i in range(2)] == [2, 0]
    nested = image(root / "images/train/images/d.png", seed=7)
    (root / "images/train/labels").mkdir()
    (root / "images/train/labels/d.txt").write_text("0 0.5 0.5 0.5 0.5")
    data = open_data(root, split="train")
    assert len(data.ground_truth(data.files.index(nested.relative_to(root).as_posix()))) == 1


def test_numbered_names_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    yaml = "train: images/train\nnames:\n  10: bird\n  1: dog\n  0: cat\n"
    data = open_data(yolo(tmp_path / "y", LABELS, yaml=yaml), split="train")
    assert data.class_names == ("cat", "dog", "bird")
    assert [data.class_names[label] for label in data.ground_truth(0).labels] == ["dog", "cat"]
