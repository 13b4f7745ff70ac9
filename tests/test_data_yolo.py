from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_fixtures import image, yolo
from singleshot.data.check import check
from singleshot.data.recognise import default_splits, open_data, recognise, splits
from singleshot.data.split_folders import is_split_name
from singleshot.data.yolo import read_yolo
from singleshot.errors import DataError, RequestError, UnknownNameError

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
        ("0 0.5 0.5 0.5 0.5 7.5", "malformed"),
        ("0 16 12 8 6", "malformed"),
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


def flat(folder: Path, names: str = "ab", *, suffix: str = ".txt") -> Path:
    """Images with label files beside them."""
    for seed, name in enumerate(names):
        image(folder / f"{name}.png", seed=seed)
        (folder / f"{name}{suffix}").write_text("1 0.5 0.5 0.5 0.5\n", encoding="utf-8")
    return folder


def test_labels_beside_the_images_are_read_below_any_folder(tmp_path: Path) -> None:
    """Whatever folder is called `images`: the set's, the one above it, or none."""
    root = flat(tmp_path / "images/project")
    (root / "classes.txt").write_text("cat\ndog\n", encoding="utf-8")
    assert recognise(root) == "yolo"
    data = open_data(root)
    assert (len(data.labels), data.class_names, data.remarks) == (2, ("cat", "dog"), ())
    inside = tmp_path / "set"
    flat(inside / "images")
    (inside / "data.yaml").write_text("train: images\nnames: [cat, dog]\n", encoding="utf-8")
    assert len(open_data(inside).labels) == 2
    (inside / "labels").mkdir()
    (inside / "labels/a.txt").write_text("0 0.5 0.5 0.5 0.5\n", encoding="utf-8")
    data = open_data(inside)
    assert data.labels.tolist() == [0, 1]  # that of labels/ counts
    assert "1 images have two label files" in data.remarks[0]


def test_captions_beside_images_are_no_labels(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a cat on a mat\n")
    with pytest.raises(RequestError, match="no data set"):
        recognise(tmp_path)


def test_images_without_label_files_are_counted_with_the_place(tmp_path: Path) -> None:
    root = yolo(
        tmp_path / "y",
        {"train/a": "0 0.5 0.5 0.5 0.5", "train/b": None, "train/c": None},
        yaml=YAML.replace("val:", "#"),
    )
    assert open_data(root).remarks == (
        "2 of 3 images have no label file and count as background, such as images/train/b.png "
        "(looked for labels/train/b.txt)",
    )
    (root / "labels/train/a.txt").unlink()
    with pytest.raises(DataError, match=r"not one labelled object; 3 of 3 .* labels/train/a\.txt"):
        open_data(root)
    assert [fault.kind for fault in check(root).faults] == ["no objects"]


def test_label_files_in_other_letters_are_read(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", {"a": "0 0.5 0.5 0.5 0.5", "b": None})
    (root / "labels/B.TXT").write_text("0 0.5 0.5 0.5 0.5")
    data = open_data(root)
    assert len(data.labels) == 2
    assert any("labels/B.TXT for images/b.png" in remark for remark in data.remarks)


def test_a_folder_of_many_digits_is_told_apart_at_once() -> None:
    start = time.perf_counter()
    assert not is_split_name("train" + "1" * 200 + "x")
    assert is_split_name("train_2017" + "1" * 200)
    assert time.perf_counter() - start < 5


def test_split_folders_without_yaml(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        flat(tmp_path / "nested" / split / "images", split[:2])
        flat(tmp_path / "beside" / split, split[:2])
        (tmp_path / "nested" / split / "labels").mkdir()
        for file in (tmp_path / "nested" / split / "images").glob("*.txt"):
            file.rename(tmp_path / "nested" / split / "labels" / file.name)
    (tmp_path / "beside/train/_darknet.labels").write_text("cat\ndog\n")
    for name in ("nested", "beside"):
        assert splits(tmp_path / name) == {"train": 2, "valid": 2}
        assert default_splits(tmp_path / name) == ("train", "valid", None)
        assert len(open_data(tmp_path / name).labels) == 4
    assert open_data(tmp_path / "beside").class_names == ("cat", "dog")
    (tmp_path / "beside/valid/_darknet.labels").write_text("dog\ncat\n")
    with pytest.raises(DataError, match="number the classes differently"):
        open_data(tmp_path / "beside")


def test_the_lists_of_cvat_name_a_folder_that_is_not_there(tmp_path: Path) -> None:
    root = flat(tmp_path / "old/obj_train_data").parent
    (root / "obj.names").write_text("cat\ndog\n")
    (root / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    (root / "train.txt").write_text("data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    data = open_data(root, split="train")
    assert (data.class_names, data.files) == (("cat", "dog"), ("obj_train_data/a.png", "obj_train_data/b.png"))
    assert data.labels.tolist() == [1, 1]
    (root / "train.txt").unlink()
    assert splits(root) == {"train": 2}
    new = yolo(tmp_path / "new", LABELS, yaml="path: .\ntrain: train.txt\nnames:\n  '0': cat\n  '1': dog\n")
    (new / "train.txt").write_text("data/images/train/a.png\ndata/images/train/b.png\n")
    data = open_data(new)
    assert (len(data), len(data.labels), data.class_names) == (2, 2, ("cat", "dog"))


def test_a_list_may_leave_images_out(tmp_path: Path) -> None:
    """Labels of images that no list names, or another split does, are no fault."""
    root = yolo(tmp_path / "y", {"a": "0 0.5 0.5 0.5 0.5", "b": "0 0.5 0.5 0.5 0.5", "c": "0 0.5 0.5 0.5 0.5"})
    (root / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cat]\n")
    (root / "train.txt").write_text("images/a.png\n")
    (root / "val.txt").write_text("images/b.png\n")
    assert read_yolo(root, split="train").faults == ()
    (root / "labels/notes.txt").write_text("labelled by hand\n")
    assert read_yolo(root).faults == ()


@pytest.mark.parametrize(
    ("yaml", "names", "remark"),
    [
        ("train: images/train\nnc: 2\n", ("class 0", "class 1"), "class 0 to class 1"),
        ("train: images/train\nnames: [yes, no]\n", ("yes", "no"), ""),
        ("train: images/train\nnames: {'1': dog, '0': cat}\n", ("cat", "dog"), ""),
        ("train: images/train\nnames: [cat, dog]\nnc: 3\n", ("cat", "dog"), "nc is 3"),
        ("train: images/train\nnames: [cat, dog]\ntest: ../test/images\n", ("cat", "dog"), "left out"),
        ("train: /content/set/images/train\nnames: [cat, dog]\n", ("cat", "dog"), "is read as images/train"),
        ("train: D:\\set\\images\\train\nnames: [cat, dog]\n", ("cat", "dog"), "is read as images/train"),
    ],
)
def test_yamls_of_many_writers(tmp_path: Path, yaml: str, names: tuple[str, ...], remark: str) -> None:
    data = open_data(yolo(tmp_path / "y", LABELS, yaml=yaml))
    assert data.class_names == names
    assert data.labels.tolist() == [1, 0]
    said = [line for line in data.remarks if "background" not in line]
    assert len(said) == bool(remark)
    assert all(remark in line for line in said)


@pytest.mark.parametrize(
    ("line", "yaml", "box", "remark"),
    [
        ("1 0.5 0.5 0.5 0.2 0.87", "", [10, 12, 30, 18], "1 lines hold a number more"),
        ("1 0.5 0.5 0.5 0.2 0.87 12", "", [10, 12, 30, 18], "1 lines hold a number more"),
        ("1 0.25 0.4 0.5 0.2 0.75 0.4 0.5 0.6", "", [10, 6, 30, 18], "1 objects are outlines or oriented"),
        ("1 0.5 0.5 0.5 0.2 0.1 0.1 2 0.9 0.9 2", "kpt_shape: [2, 3]\n", [10, 12, 30, 18], "1 objects have key points"),
        ("1 0.5 0.5 0.5 0.2 0.1 0.1 0.9 0.9", "kpt_shape: [2, 2]\n", [10, 12, 30, 18], "1 objects have key points"),
    ],
)
def test_longer_lines_are_read_and_counted(tmp_path: Path, line: str, yaml: str, box: list[int], remark: str) -> None:
    yaml = "train: images/train\nnames: [cat, dog]\n" + yaml
    data = open_data(yolo(tmp_path / "y", {"train/a": line}, yaml=yaml))
    np.testing.assert_allclose(data.boxes_xyxy, [box], rtol=1e-6)
    assert len(data.remarks) == 1
    assert remark in data.remarks[0]


def test_pixels_are_refused_as_they_stand_in_the_file(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", {"a": "0 16 12 8 6"})
    with pytest.raises(DataError, match=r"fractions of the image are expected, got '0 16 12 8 6'"):
        open_data(root)


def test_fiftyones_list_of_all_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image(tmp_path / f"data/{name}.png")
        (tmp_path / f"data/{name}.txt").write_text("1 0.5 0.5 0.5 0.5")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "images.txt").write_text("data/a.png\ndata/b.png\n")
    assert recognise(tmp_path) == "yolo"
    data = open_data(tmp_path)
    assert (data.files, len(data.labels), splits(tmp_path)) == (("data/a.png", "data/b.png"), 2, {})
    assert data.class_names == ("cat", "dog")


def test_lists_of_another_machine(tmp_path: Path) -> None:
    yaml = "train: /content/y/train.txt\nval: images/val\nnames: [cat, dog]\n"
    root = yolo(tmp_path / "y", LABELS, yaml=yaml)
    (root / "train.txt").write_text("/content/y/images/train/a.png\n/content/y/images/train/b.png\n")
    data = open_data(root, split="train")
    assert data.files == ("images/train/a.png", "images/train/b.png")
    assert len(data.labels) == 2


@pytest.mark.parametrize(("images", "labels"), [("JPEGImages", "labels"), ("Images", "Labels")])
def test_other_names_of_the_folders(tmp_path: Path, images: str, labels: str) -> None:
    image(tmp_path / images / "train/a.png")
    (tmp_path / labels / "train").mkdir(parents=True)
    (tmp_path / labels / "train/a.txt").write_text("0 0.5 0.5 0.5 0.5")
    (tmp_path / "data.yaml").write_text(f"train: {images}/train\nnames: [cat]\n")
    data = open_data(tmp_path)
    assert (len(data.labels), data.remarks) == (1, ())


def test_an_empty_line_among_the_names_keeps_its_number(tmp_path: Path) -> None:
    root = yolo(tmp_path / "y", {"a": "2 0.5 0.5 0.5 0.5", "b": "0 0.5 0.5 0.1 0.1"})
    (root / "classes.txt").write_bytes(b"\xef\xbb\xbfcat\r\n\r\ndog \r\nbird\r\n\r\n")
    data = open_data(root)
    assert [data.class_names[label] for label in data.labels] == ["dog", "cat"]


@pytest.mark.parametrize("layout", ["{}/{}", "train/{}/{}", "{}/train/{}"])
@pytest.mark.parametrize("labels", ["labels", "Annotations", "annotation"])
@pytest.mark.parametrize("images", ["JPEGImages", "images", "img"])
def test_folders_of_other_names_without_yaml(tmp_path: Path, images: str, labels: str, layout: str) -> None:
    image(tmp_path / layout.format(images, "a.png"))
    label = tmp_path / layout.format(labels, "a.txt")
    label.parent.mkdir(parents=True)
    label.write_text("0 0.5 0.5 0.5 0.5\n")
    data = open_data(tmp_path)
    assert (data.format, data.files) == ("yolo", (layout.format(images, "a.png"),))
    assert data.boxes_xyxy.tolist() == [[10, 7.5, 30, 22.5]]


def test_a_link_to_a_folder_above_repeats_no_image(tmp_path: Path) -> None:
    root = yolo(tmp_path, {"a": "0 0.5 0.5 0.5 0.5\n"})
    (root / "images/up").symlink_to("..")
    (root / "images/here").symlink_to(".")
    assert open_data(root).files == ("images/a.png",)


def test_a_yaml_means_the_folder_labels(tmp_path: Path) -> None:
    image(tmp_path / "train/images/a.png")
    (tmp_path / "train/annotations").mkdir()
    (tmp_path / "train/annotations/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text("train: train/images\nnames: [cat]\n")
    place = r"train/labels/a\.txt; train/annotations/a\.txt is there: call its folder labels"
    with pytest.raises(DataError, match=f"not one labelled object; .*{place}"):
        open_data(tmp_path)
