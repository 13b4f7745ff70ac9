from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from data_fixtures import coco, coco_content, image, voc, xml, yolo
from singleshot.data.check import check
from singleshot.data.classes import join
from singleshot.data.recognise import DefaultSplits, default_splits, open_data, recognise, splits
from singleshot.data.splitting import split
from singleshot.errors import DataError, RequestError

if TYPE_CHECKING:
    from pathlib import Path

CAT = ("cat", (1, 2, 11, 22))


def test_formats(tmp_path: Path) -> None:
    assert recognise(voc(tmp_path / "v", {"a": [CAT]})) == "voc"
    assert recognise(coco(tmp_path / "c", coco_content())) == "coco"
    assert recognise(yolo(tmp_path / "y", {"a": ""})) == "yolo"
    for name, format_name in {"x.json": "coco", "x.YAML": "yolo", "x.csv": "csv"}.items():
        (tmp_path / name).touch()
        assert recognise(tmp_path / name) == format_name


@pytest.mark.parametrize("name", ["nowhere", "note.txt", "empty"])
def test_what_is_no_set_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "note.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=name) as caught:
        open_data(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.xml", "put them into Annotations/"),
        ("_annotations.coco.json", "if .*coco.json is in COCO's format, give that file in place of the folder"),
        ("_annotations.csv", "the header of _annotations.csv has to be file,x1,y1,x2,y2,label"),
    ],
)
def test_near_misses_are_told_what_to_do(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / name).write_text("filename,width,height\n")
    with pytest.raises(RequestError, match=advice):
        recognise(tmp_path)


def test_a_folder_of_sets_offers_them(tmp_path: Path) -> None:
    voc(tmp_path / "devkit/VOC2007", {"a": [CAT]})
    with pytest.raises(RequestError, match="VOC2007"):
        open_data(tmp_path / "devkit")


def test_mixed_formats_name_the_markers(tmp_path: Path) -> None:
    root = coco(voc(tmp_path / "v", {"a": [CAT]}), coco_content())
    with pytest.raises(RequestError, match=r"Annotations/.*annotations/instances_"):
        open_data(root)
    assert len(open_data(root / "annotations/instances_train2017.json")) == 2


def test_other_tables_and_settings_do_not_confuse(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT]})
    (root / "test.csv").write_text("filename,cell_type,xmin,xmax,ymin,ymax\na,RBC,1,2,3,4\n")
    (root / "train_labels.csv").write_text("filename,width,height,class,xmin,ymin,xmax,ymax\n")
    (root / "settings.yaml").write_text("colour: red\n")
    assert recognise(root) == "voc"


def test_empty_sets_are_refused(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT], "b": []}, {"none": [], "background": ["b"]})
    with pytest.raises(DataError, match="split none"):
        open_data(root, split="none")
    with pytest.raises(DataError, match="split background"):
        open_data(root, split="background")


def test_class_names_given(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT, ("dog", (1, 1, 5, 5))]})
    data = open_data(root, class_names=["dog", "bird", "cat"])
    assert data.class_names == ("dog", "bird", "cat")
    assert data.labels.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"dog.*cat"):
        open_data(root, class_names=["cat"])


def test_faults_stop_before_training_and_the_first_are_shown(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {f"p{i:02}": [CAT] for i in range(25)})
    for file in (root / "JPEGImages").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="25 faults") as caught:
        open_data(root)
    lines = str(caught.value).splitlines()
    assert len(lines) == 23
    assert "Annotations/p00.xml" in lines[1]
    assert "5 more" in lines[-2]
    assert "ssd data check" in lines[-2]
    assert "--leave-out-faulty" in lines[-1]


def test_headers_are_compared_unless_told_not_to(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": xml([CAT], size=(41, 30)), "b": [CAT]})
    (root / "JPEGImages/b.png").write_text("<html>")
    with pytest.raises(DataError, match=r"41x30.*40x30") as caught:
        open_data(root)
    assert "JPEGImages/b.png" in str(caught.value)
    assert len(open_data(root, headers=False)) == 2


def test_bad_boxes_alone_do_not_stop(tmp_path: Path) -> None:
    assert len(open_data(voc(tmp_path / "v", {"a": [CAT, ("cat", ("nan", 1, 2, 3))]})).labels) == 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "val", "trainval", "test"], DefaultSplits("train", "val", "test")),
        (["trainval", "test"], DefaultSplits("trainval", None, "test")),
        (["trainval", "train2007", "test"], DefaultSplits("train2007", None, "test")),
        (["training", "validation"], DefaultSplits("training", "validation", None)),
        (["fold1", "fold2"], DefaultSplits(None, None, None)),
        ([], DefaultSplits(None, None, None)),
    ],
)
def test_default_splits(tmp_path: Path, names: list[str], expected: DefaultSplits) -> None:
    root = voc(tmp_path / "v", {"a": [CAT]}, {name: ["a"] for name in names})
    assert default_splits(root) == expected
    assert splits(root) == dict.fromkeys(sorted(names), 1)


def test_default_splits_of_coco(tmp_path: Path) -> None:
    root = coco(coco(tmp_path / "c", coco_content()), coco_content(1), split="val2017")
    assert default_splits(root) == ("train2017", "val2017", None)
    assert splits(root) == {"train2017": 2, "val2017": 1}
    assert splits(root / "annotations/instances_val2017.json") == {}


def test_split_is_by_image_and_repeatable(tmp_path: Path) -> None:
    for i in range(10):
        image(tmp_path / f"{i}.png", seed=i)
    rows = [f"{i}.png,1,1,5,5,cat\n" for i in range(10)]
    (tmp_path / "x.csv").write_text("".join(rows))
    whole = open_data(tmp_path / "x.csv")
    train, val = split(whole, seed=1, fraction=0.3)
    assert (len(train), len(val)) == (7, 3)
    assert sorted(train.files + val.files) == sorted(whole.files)
    assert list(train.files) == sorted(train.files)
    (tmp_path / "x.csv").write_text("".join(reversed(rows)))
    assert set(split(open_data(tmp_path / "x.csv"), seed=1, fraction=0.3)[1].files) == set(val.files)
    assert {split(whole, seed=seed, fraction=0.3)[1].files for seed in range(5)} != {val.files}
    assert [len(part) for part in split(whole, fraction=0.001)] == [9, 1]
    with pytest.raises(DataError, match="cannot be split"):
        split(whole.subset([0]))
    with pytest.raises(DataError, match="between 0 and 1"):
        split(whole, fraction=1)


def test_a_table_beside_another_format_is_left_aside_and_said(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT]}, {"train": ["a"]})
    (root / "labels.csv").write_text("file,x1,y1,x2,y2,label\nJPEGImages/a.png,1,2,3,4,dog\n")
    data = open_data(root)
    assert data.class_names == ("cat",)
    assert any("labels.csv" in remark for remark in data.remarks)
    assert join([data, data]).remarks == tuple(f"{root}: {remark}" for remark in data.remarks * 2)
    assert any("labels.csv" in remark for remark in check(root).remarks)


@pytest.mark.parametrize("inside", ["VOC2007", "VOCdevkit/VOC2007"])
def test_a_set_in_a_folder_inside_is_named(tmp_path: Path, inside: str) -> None:
    voc(tmp_path / inside, {"a": [("cat", (1, 2, 10, 20))]})
    with pytest.raises(RequestError, match=f"did you mean .*{inside}"):
        recognise(tmp_path)


def test_an_address_is_named_as_it_was_given() -> None:
    with pytest.raises(RequestError, match=r"http://example\.org/set .*not fetched"):
        open_data("http://example.org/set")


@pytest.mark.parametrize(
    ("file", "tool"),
    [("ds0/ann/a.png.json", "Supervisely"), ("labelTxt/a.txt", "DOTA"), ("train/Apple/Label/a.txt", "OIDv4")],
)
def test_a_set_that_is_not_read_is_named(tmp_path: Path, file: str, tool: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("{}")
    with pytest.raises(RequestError, match=f"{tool}.*not read"):
        recognise(tmp_path)
