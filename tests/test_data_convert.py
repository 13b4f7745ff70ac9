from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import data_fixtures as drawn
from golden import SHARED
from singleshot.cli.main import run
from singleshot.commands.data_convert import ConvertOptions, class_map, convert
from singleshot.commands.new_set import write_new_set
from singleshot.data.whole_set import LabelledSet, image_places, read_whole_set
from singleshot.data.writers.new_set import WRITERS
from singleshot.errors import DataError, ImageError, RequestError, UnknownNameError

SUB_PIXEL = ("1.25", "2.3", "10.7", "20.123")
SPLITS = {"train": ["a", "c"], "val": ["b"]}


def content(data: LabelledSet, *, fields: int = 4) -> dict[str, tuple[tuple[int, ...], list[tuple[object, ...]]]]:
    """Of each image by its file name: size, and class, box, difficult and crowd of each object."""
    annotations = data.annotations
    rows = {}
    for index, place in enumerate(data.places):
        of_image = annotations.ground_truth(index)
        names = [annotations.class_names[label] for label in of_image.labels]
        columns = (names, map(tuple, of_image.boxes_xyxy.tolist()), of_image.difficult, of_image.crowd)
        objects = [row[:fields] for row in zip(*columns, strict=True)]
        rows[Path(place).name] = (tuple(annotations.sizes_wh[index].tolist()), objects)
    return rows


def split_names(data: LabelledSet) -> dict[str, list[str]]:
    return {name: [Path(data.places[index]).name for index in rows] for name, rows in data.splits.items()}


def voc_set(folder: Path) -> Path:
    """Three images: two objects of sub-pixel boxes, one difficult; one object; none."""
    two = drawn.xml([("dog", SUB_PIXEL), ("cat", ("0", "0", "12", "12"))], difficult=(2,))
    return drawn.voc(folder, {"a": two, "b": [("dog", ("3", "4", "30", "20"))], "c": []}, SPLITS)


def coco_set(folder: Path) -> Path:
    rows = drawn.coco_content(3)
    rows["annotations"][1]["iscrowd"] = 1
    rows["annotations"][2]["bbox"] = [1.1, 2.3, 10.7, 20.1]
    return drawn.coco(folder, rows)


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("between", WRITERS)
def test_a_set_comes_back_equal_through_every_format(tmp_path: Path, to: str, between: str) -> None:
    source = read_whole_set(voc_set(tmp_path / "source"))
    convert(tmp_path / "source", ConvertOptions(tmp_path / "between", between))
    convert(tmp_path / "between", ConvertOptions(tmp_path / "target", to))
    target = read_whole_set(tmp_path / "target")
    fields = (
        2 if {"yolo", "csv", "cvat", "label-studio"} & {to, between} else 4
    )  # they have no mark for difficult objects
    assert content(target, fields=fields) == content(source, fields=fields)
    assert split_names(target) == split_names(source)
    for index, place in enumerate(target.places):
        original = tmp_path / "source/JPEGImages" / Path(place).name
        assert target.annotations.path(index).read_bytes() == original.read_bytes()


@pytest.mark.parametrize("to", ["coco", "csv"])
def test_crowd_regions_are_kept_where_the_format_has_them(tmp_path: Path, to: str) -> None:
    source = read_whole_set(coco_set(tmp_path / "source"))
    convert(tmp_path / "source", ConvertOptions(tmp_path / "target", to))
    assert content(read_whole_set(tmp_path / "target")) == content(source)


@pytest.mark.parametrize(
    ("to", "word", "boxes"), [("voc", "difficult", 3), ("labelme", "difficult", 3), ("yolo", "left out", 2)]
)
def test_crowd_regions_that_a_format_cannot_hold_are_counted(tmp_path: Path, to: str, word: str, boxes: int) -> None:
    written = convert(coco_set(tmp_path / "source"), ConvertOptions(tmp_path / "target", to))
    assert any("1 crowd" in remark and word in remark for remark in written.remarks)
    assert written.boxes == boxes == len(read_whole_set(tmp_path / "target").annotations.labels)


def test_coco_areas_and_ids_are_kept_and_counted_where_lost(tmp_path: Path) -> None:
    convert(coco_set(tmp_path / "source"), ConvertOptions(tmp_path / "coco", "coco"))
    rows = json.loads((tmp_path / "coco/annotations/instances_train2017.json").read_text())
    assert [image["id"] for image in rows["images"]] == [10, 11, 12]
    assert {row["area"] for row in rows["annotations"]} == {150}
    assert [(item["id"], item["name"]) for item in rows["categories"]] == [(1, "cat"), (3, "dog")]
    assert rows["annotations"][2]["bbox"] == [1.1, 2.3, 10.7, 20.1]
    lost = convert(tmp_path / "source", ConvertOptions(tmp_path / "voc", "voc")).remarks
    assert any("3 areas" in remark for remark in lost)


def test_objects_of_an_image_in_two_tables_count_once(tmp_path: Path) -> None:
    source = drawn.voc(tmp_path / "source", {"a": [("dog", ("1", "2", "3", "4"))]}, {"train": ["a"], "trainval": ["a"]})
    convert(source, ConvertOptions(tmp_path / "target", "csv"))
    assert len(read_whole_set(tmp_path / "target").annotations.labels) == 1


def test_sub_folders_are_kept_and_equal_stems_are_renamed() -> None:
    places, remarks = image_places(["JPEGImages/x/a.jpg", "JPEGImages/x/a.png", "JPEGImages/y/a.jpg"])
    assert places == ("x/a.jpg", "x/a-2.png", "y/a.jpg")
    assert remarks[0].startswith("1 images renamed")
    assert image_places(["../other/a.jpg", "b.jpg"])[0] == ("other/a.jpg", "b.jpg")


def test_a_folder_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("kept")
    with pytest.raises(RequestError, match="not empty"):
        convert(voc_set(tmp_path / "source"), ConvertOptions(tmp_path / "out", "coco"))
    assert (tmp_path / "out/mine.txt").read_text() == "kept"


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("name", ["../../outside", "train/../../../outside", "/outside", "..", "a\\b"])
def test_a_split_whose_name_leads_out_of_the_folder_is_refused(tmp_path: Path, to: str, name: str) -> None:
    """CVAT's subsets are free text, and splits become names of files."""
    source, out = tmp_path / "source", tmp_path / "work/out"
    drawn.image(source / "a.png")
    box = '<box label="cat" xtl="1" ytl="2" xbr="9" ybr="12"/>'
    text = f'<annotations><image name="a.png" width="40" height="30" subset="{name}">{box}</image></annotations>'
    (source / "annotations.xml").write_text(text)
    with pytest.raises(DataError, match="split"):
        convert(source, ConvertOptions(out, to))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and source not in path.parents] == []


def test_images_of_no_split_join_a_split_of_their_name(tmp_path: Path) -> None:
    data = read_whole_set(voc_set(tmp_path / "source"))
    data = LabelledSet(data.annotations, data.places, {"unlisted": (0,), "val": (1,)})
    assert data.parts(unlisted="unlisted") == {"unlisted": (0, 2), "val": (1,)}


def test_nothing_is_left_behind_by_a_conversion_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = voc_set(tmp_path / "source")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("singleshot.data.writers.new_set.image_bytes", fail)
    with pytest.raises(KeyboardInterrupt):
        convert(source, ConvertOptions(tmp_path / "out", "yolo"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_images_are_linked_or_left_out_on_request(tmp_path: Path) -> None:
    source = voc_set(tmp_path / "source")
    convert(source, ConvertOptions(tmp_path / "linked", "coco", images="link"))
    assert (tmp_path / "linked/images/a.png").samefile(source / "JPEGImages/a.png")
    convert(source, ConvertOptions(tmp_path / "labels", "coco", images="none"))
    assert not (tmp_path / "labels/images").exists()


def test_classes_are_renamed_united_and_left_out(tmp_path: Path) -> None:
    source = voc_set(tmp_path / "source")
    united = convert(source, ConvertOptions(tmp_path / "united", "coco", classes="dog=animal,cat=animal"))
    assert united.per_class == {"animal": {"all": 3, "train": 2, "val": 1}}
    (tmp_path / "classes.txt").write_text("cat=\ndog=hound\n")
    fewer = convert(source, ConvertOptions(tmp_path / "fewer", "voc", classes=str(tmp_path / "classes.txt")))
    assert (fewer.boxes, set(fewer.per_class), fewer.remarks) == (2, {"hound"}, ("1 objects of classes left out: cat",))
    with pytest.raises(UnknownNameError, match="dgo"):
        convert(source, ConvertOptions(tmp_path / "none", "voc", classes="dgo=hound"))
    with pytest.raises(DataError, match="not one labelled object"):
        convert(source, ConvertOptions(tmp_path / "none", "voc", classes="dog=,cat="))


@pytest.mark.parametrize("text", ["dog", "=animal", "dog=a,dog=b"])
def test_a_class_map_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="old=new"):
        class_map(text)


def test_the_command_tells_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, file = voc_set(tmp_path / "source"), tmp_path / "out", tmp_path / "counts.json"
    assert run(["data", "convert", str(source), "--to", "yolo", "--out", str(out), "--json", str(file)]) == 0
    told = capsys.readouterr()
    assert "3 images, 3 boxes, yolo (train 2, val 1)" in told.out
    assert "1 difficult objects are ordinary ones now" in told.err
    assert json.loads(file.read_text())["splits"] == {"train": 2, "val": 1}


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("bccd", "coco"),
        ("bccd", "yolo"),
        ("voc2007", "csv"),
        ("voc2007", "labelme"),
        ("bccd", "label-studio"),
        ("voc2007", "cvat"),
    ],
)
def test_real_sets_come_back_equal(tmp_path: Path, name: str, to: str) -> None:
    folder = SHARED / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    linkable = folder.stat().st_dev == tmp_path.stat().st_dev
    source = read_whole_set(folder)
    convert(folder, ConvertOptions(tmp_path / "out", to, images="link" if linkable else "copy"))
    target = read_whole_set(tmp_path / "out")
    fields = 4 if to in {"coco", "labelme"} else 2
    assert content(target, fields=fields) == content(source, fields=fields)


def test_boxes_of_images_on_their_side_are_those_of_the_displayed_image(tmp_path: Path) -> None:
    (tmp_path / "set/images").mkdir(parents=True)
    (tmp_path / "set/labels").mkdir()
    exif = Image.Exif()
    exif[274] = 6  # shown turned by a quarter, clockwise
    Image.effect_noise((40, 30), 50).convert("RGB").save(tmp_path / "set/images/a.jpg", exif=exif)
    (tmp_path / "set/labels/a.txt").write_text("0 0.25 0.5 0.5 1\n")  # the left half, which is shown at the top
    options = ConvertOptions(tmp_path / "out", "voc", labels_on="stored")
    convert(tmp_path / "set", options)
    assert list(content(read_whole_set(tmp_path / "out"), fields=2).values()) == [
        ((30, 40), [("class 0", (0, 0, 30, 20))])
    ]


@pytest.mark.parametrize("to", WRITERS)
def test_folders_of_images_in_those_of_splits_are_the_formats_own(tmp_path: Path, to: str) -> None:
    """As Roboflow writes YOLO: kept below the new `images/`, they would hide the labels."""
    for split in ("train", "valid"):
        drawn.image(tmp_path / f"rf/{split}/images/a.png", seed=len(split))
        (tmp_path / f"rf/{split}/labels").mkdir()
        (tmp_path / f"rf/{split}/labels/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "rf/data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnames: [cat]\n")
    convert(tmp_path / "rf", ConvertOptions(tmp_path / "new", to))
    data = read_whole_set(tmp_path / "new").annotations
    assert (len(data), len(data.labels), data.class_names) == (2, 2, ("cat",))


def test_an_image_that_cannot_be_read_is_named_and_not_the_new_set(tmp_path: Path) -> None:
    data = read_whole_set(voc_set(tmp_path / "set"))
    source = data.annotations.path(0)
    source.unlink()
    source.mkdir()  # root may read every file
    with pytest.raises(ImageError, match=f"{source.name}: cannot be read"):
        write_new_set(data, tmp_path / "out", to="coco")
    assert not (tmp_path / "out").exists()
