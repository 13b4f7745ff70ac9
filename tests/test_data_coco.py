from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data_fixtures import coco, coco_content
from golden import SHARED, needs_shared
from singleshot.data import coco_json
from singleshot.data.check import check
from singleshot.data.coco import coco_files, read_coco
from singleshot.data.recognise import open_data
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_boxes_classes_and_crowd(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"].append(
        {"id": 7, "image_id": 10, "category_id": 1, "bbox": [0.5, 0, 39.5, 30], "area": 12.5, "iscrowd": 1,
         "segmentation": {"counts": [1, 2], "size": [30, 40]}}
    )  # fmt: skip
    result = read_coco(coco(tmp_path / "c", content))
    data = result.annotations
    assert result.faults == ()
    assert data.class_names == ("cat", "dog")
    assert data.category_ids == (1, 3)
    assert data.ids == ("10", "11")
    assert data.files == ("train2017/p0.png", "train2017/p1.png")
    np.testing.assert_array_equal(data.ground_truth(0).boxes_xyxy, np.float32([[1, 2, 11, 22], [0.5, 0, 40, 30]]))
    assert data.ground_truth(0).labels.tolist() == [1, 0]
    assert data.ground_truth(0).crowd.tolist() == data.ground_truth(0).difficult.tolist() == [False, True]
    assert data.ground_truth(0).areas.tolist() == [150, 12.5]
    assert len(data.ground_truth(1)) == 1
    assert data.path(0).is_file()


def test_a_json_itself_and_its_splits(tmp_path: Path) -> None:
    root = coco(coco(tmp_path / "c", coco_content()), coco_content(1), split="val2017")
    assert list(coco_files(root)) == ["train2017", "val2017"]
    assert len(read_coco(root / "annotations/instances_val2017.json").annotations) == 1
    assert len(read_coco(root, split="train2017").annotations) == 2
    with pytest.raises(UnknownNameError, match="train2017"):
        read_coco(root, split="train")
    assert len(open_data(root)) == 3


@pytest.mark.parametrize("folder", ["images/train2017", "images", "train", "."])
def test_images_are_found_in_the_usual_folders(tmp_path: Path, folder: str) -> None:
    root = coco(tmp_path / "c", coco_content())
    (root / folder).mkdir(parents=True, exist_ok=True)
    for file in list((root / "train2017").iterdir()):
        file.rename(root / folder / file.name)
    (root / "train2017").rmdir()
    data = open_data(root)
    assert all(data.path(i).is_file() for i in range(2))


def test_roboflow_layout(tmp_path: Path) -> None:
    root = coco(tmp_path / "c", coco_content(), split="valid")
    (root / "annotations/instances_valid.json").rename(root / "valid/_annotations.coco.json")
    (root / "annotations").rmdir()
    assert list(coco_files(root)) == ["valid"]
    assert open_data(root).path(0).is_file()


def test_classes_without_objects_and_images_without_objects_stay(tmp_path: Path) -> None:
    content = coco_content(3)
    content["annotations"] = content["annotations"][:1]
    data = read_coco(coco(tmp_path / "c", content)).annotations
    assert data.class_names == ("cat", "dog")
    assert data.starts.tolist() == [0, 1, 1, 1]


def edit(key: str, index: int, **changes: object) -> dict[str, list[dict[str, object]]]:
    content = coco_content()
    content[key][index].update(changes)
    return content


@pytest.mark.parametrize(
    ("content", "kind", "number"),
    [
        (edit("annotations", 1, category_id=99), "unknown class", 1),
        (edit("annotations", 1, image_id=99), "malformed", 0),
        (edit("annotations", 1, image_id=[1]), "malformed", 0),
        (edit("annotations", 1, bbox=[1, 2, 3]), "malformed", 1),
        (edit("annotations", 1, bbox=None), "malformed", 1),
        (edit("annotations", 1, bbox=[1, "2", 3, 4]), "malformed", 1),
        (edit("annotations", 1, bbox=[1, 10**400, 3, 4]), "malformed", 1),
        (edit("images", 1, id=10), "duplicate id", 0),
        (edit("images", 1, file_name=""), "malformed", 0),
    ],
)
def test_faults_are_collected(
    tmp_path: Path, content: dict[str, list[dict[str, object]]], kind: str, number: int
) -> None:
    root = tmp_path / "c"
    coco(root, coco_content())
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    result = read_coco(root)
    assert (result.faults[0].kind, result.faults[0].number) == (kind, number)
    with pytest.raises(DataError, match=kind):
        open_data(root)


def write(root: Path, content: object, name: str = "annotations/instances_train2017.json") -> Path:
    """A set of two images whose json is this content."""
    coco(root, coco_content())
    (root / "annotations/instances_train2017.json").unlink()
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return root


def ids_as(kind: Callable[[Any], object], *keys: tuple[str, str]) -> dict[str, list[dict[str, object]]]:
    content = coco_content()
    for key, field in keys:
        for item in content[key]:
            item[field] = kind(item[field])
    return content


IDS = (("images", "id"), ("annotations", "image_id"), ("categories", "id"), ("annotations", "category_id"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ids_as(str, *IDS), 0),
        (ids_as(float, *IDS), 0),
        (ids_as(str, IDS[1]), 1),
        (ids_as(str, IDS[0], IDS[3]), 0),
        (ids_as(float, IDS[1], IDS[3]), 0),
        (ids_as(lambda value: f"{value:06d}", IDS[0]), 0),
    ],
)
def test_ids_of_another_type_are_the_same_ids(
    tmp_path: Path, content: dict[str, list[dict[str, object]]], said: int
) -> None:
    result = read_coco(write(tmp_path, content))
    assert result.faults == ()
    assert len(result.remarks) == said
    assert result.annotations.starts.tolist() == [0, 1, 2]
    assert (result.annotations.class_names, result.annotations.category_ids) == (("cat", "dog"), (1, 3))
    assert result.annotations.labels.tolist() == [1, 1]


def test_ids_of_categories_that_are_names(tmp_path: Path) -> None:
    content = ids_as(lambda value: f"id{value}", IDS[2], IDS[3])
    result = read_coco(write(tmp_path, content))
    assert (result.annotations.class_names, result.annotations.category_ids) == (("dog", "cat"), (1, 2))
    assert "texts" in result.remarks[0]


def test_texts_that_differ_in_zeros_stay_two_images(tmp_path: Path) -> None:
    content = coco_content()
    for image_, note, identity in zip(content["images"], content["annotations"], ("01", "001"), strict=True):
        image_["id"] = note["image_id"] = identity
    assert read_coco(write(tmp_path, content)).annotations.starts.tolist() == [0, 1, 2]
    content["annotations"][0]["image_id"] = 1
    assert [fault.kind for fault in read_coco(write(tmp_path / "b", content)).faults] == ["malformed"]


def test_an_area_of_nan_is_the_boxs(tmp_path: Path) -> None:
    text = json.dumps(coco_content()).replace('"area": 150', '"area": NaN', 1)
    result = read_coco(write(tmp_path, text))
    assert result.annotations.areas.tolist() == [200, 150]
    assert result.remarks == ("1 areas are NaN or infinite: the area of the box counts",)
    with pytest.raises(DataError, match=r"NaN is no JSON number \(line 1\)"):
        read_coco(write(tmp_path / "b", text.replace("[1, 2, 10, 20]", "[1, NaN, 10, 20]", 1)))


def test_repeated_ids_of_annotations_do_not_matter(tmp_path: Path) -> None:
    result = read_coco(write(tmp_path, edit("annotations", 1, id=100)))
    assert (result.faults, len(result.annotations.labels)) == ((), 2)
    assert result.remarks == ("1 annotations repeat an id of another: nothing depends on it",)


def test_an_image_that_is_listed_twice_alike_is_one(tmp_path: Path) -> None:
    content = coco_content()
    content["images"].append(dict(content["images"][0]))
    result = read_coco(write(tmp_path, content))
    assert (result.faults, len(result.annotations)) == ((), 2)
    assert len(result.remarks) == 1


def test_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    content = edit("categories", 1, name="dog")
    content["annotations"][0]["category_id"] = 1
    result = read_coco(write(tmp_path, content))
    assert (result.annotations.class_names, result.annotations.category_ids) == (("dog",), (1,))
    assert result.annotations.labels.tolist() == [0, 0]
    assert "'dog'" in result.remarks[0]
    with pytest.raises(DataError, match="two names"):
        read_coco(write(tmp_path / "b", edit("categories", 1, id=3)))


@pytest.mark.parametrize(
    "outline",
    [
        [[1, 2, 11, 2, 11, 22, 1, 22]],
        {"size": [30, 40], "counts": [32, 20, *[10, 20] * 9, 878]},
    ],
)
@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0]])
def test_an_outline_without_a_box(tmp_path: Path, outline: object, box: object) -> None:
    result = read_coco(write(tmp_path, edit("annotations", 1, segmentation=outline, bbox=box)))
    assert result.faults == ()
    assert result.annotations.boxes_xyxy.tolist() == [[1, 2, 11, 22], [1, 2, 11, 22]]
    assert "1 " in result.remarks[0]
    assert "upright" in result.remarks[0]
    fault = read_coco(write(tmp_path / "b", edit("annotations", 1, segmentation=[[1]], bbox=box))).faults[0]
    assert (fault.kind, fault.file, fault.number) == ("malformed", "train2017/p1.png", 1)


def test_a_category_that_only_groups_others_is_no_class(tmp_path: Path) -> None:
    content = coco_content()
    content["categories"] = [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "animals"},
        {"id": 3, "name": "dog", "supercategory": "animals"},
        {"id": 4, "name": "yak", "supercategory": "animals"},
    ]
    result = read_coco(write(tmp_path, content))
    assert (result.annotations.class_names, result.annotations.category_ids) == (("cat", "dog", "yak"), (1, 3, 4))
    assert "'animals'" in result.remarks[0]
    content["categories"][0]["name"] = content["categories"][1]["supercategory"] = "cat"
    result = read_coco(write(tmp_path / "b", content))
    assert (result.annotations.class_names, result.annotations.category_ids) == (("cat", "dog", "yak"), (1, 3, 4))
    other = json.loads(json.dumps(content))
    other["annotations"][0]["category_id"] = 0
    root = write(tmp_path / "c", content)
    (root / "annotations/instances_val2017.json").write_text(json.dumps(other))
    assert read_coco(root, split="train2017").annotations.category_ids == (0, 3, 4)


@pytest.mark.parametrize("name", ["result.json", "annotations/all.json", "Annotation/x.json", "labels/only.json"])
def test_where_a_json_may_lie(tmp_path: Path, name: str) -> None:
    root = write(tmp_path / "c", coco_content(), name)
    (root / "notes.json").write_text('{"categories": [], "info": {}}')
    assert list(coco_files(root).values()) == [root / name]
    data = open_data(root)
    assert all(data.path(i).is_file() for i in range(2))
    assert all(path.is_file() for path in map(open_data(root / name).path, range(2)))


def test_fields_as_texts_and_lvis_names(tmp_path: Path) -> None:
    content = coco_content()
    content["images"][0] |= {"width": "40", "height": "30"}
    content["images"][1]["coco_url"] = "http://images.example.org/train2017/p1.png"
    del content["images"][1]["file_name"]
    for note, crowd in zip(content["annotations"], ("0", "1"), strict=True):
        note["iscrowd"] = crowd
    coco(tmp_path, coco_content())
    (tmp_path / "annotations/instances_train2017.json").write_text(json.dumps(content))
    data = read_coco(tmp_path).annotations
    assert data.files == ("train2017/p0.png", "train2017/p1.png")
    assert data.crowd.tolist() == [False, True]
    assert data.sizes_wh.tolist() == [[40, 30]] * 2


def test_a_json_in_utf_16(tmp_path: Path) -> None:
    root = write(tmp_path, coco_content(), "x.json")
    (root / "x.json").write_bytes(json.dumps(coco_content()).encode("utf-16"))
    assert len(open_data(root)) == 2


def test_an_image_is_never_taken_from_a_set_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "one", coco_content(), "x.json")
    other = tmp_path / "two"
    other.mkdir()
    (other / "x.json").write_text(json.dumps(coco_content()))
    for path in (other, other / "x.json"):
        with pytest.raises(DataError, match="missing image"):
            open_data(path)
    (tmp_path / "one/train2017").rename(tmp_path / "images")
    assert open_data(other / "x.json").path(0).is_file()  # `images/` beside the folder of a json
    with pytest.raises(DataError, match="missing image"):
        open_data(other)


def test_a_json_named_from_inside_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "c", coco_content())
    for place, name in {
        "annotations": "instances_train2017.json",
        "train2017": "../annotations/instances_train2017.json",
    }.items():
        monkeypatch.chdir(root / place)
        assert open_data(name).path(0).is_file()


def test_names_of_other_machines(tmp_path: Path) -> None:
    content = coco_content()
    for item, name in zip(content["images"], ("train2017\\p0.png", str(tmp_path / "c/train2017/p1.png")), strict=True):
        item["file_name"] = name
    root = tmp_path / "c"
    coco(root, coco_content())
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    result = read_coco(root)
    assert result.annotations.files == ("train2017/p0.png", "train2017/p1.png")
    assert (result.faults, result.remarks) == ((), ())
    content["images"][0]["file_name"] = "http://host/data/upload/1/p0.png"
    (root / "annotations/instances_train2017.json").write_text(json.dumps(content))
    result = read_coco(root)
    assert result.annotations.files == ("train2017/p0.png", "train2017/p1.png")
    assert "http://host" in result.remarks[0]


def test_the_same_name_in_two_splits_is_two_images(tmp_path: Path) -> None:
    root = tmp_path / "c"
    for split in ("train", "validation"):
        coco(root, coco_content(), split=split)
        (root / f"annotations/instances_{split}.json").rename(root / split / "_annotations.coco.json")
    (root / "annotations").rmdir()
    assert open_data(root).files == ("train/p0.png", "train/p1.png", "validation/p0.png", "validation/p1.png")
    report = check(root)
    assert (report.images, report.boxes, report.faults) == (4, 4, ())


def test_a_missing_image_is_a_fault(tmp_path: Path) -> None:
    root = coco(tmp_path / "c", coco_content())
    (root / "train2017/p1.png").unlink()
    fault = read_coco(root).faults[0]
    assert (fault.kind, fault.file) == ("missing image", "train2017/p1.png")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [],\n"annotations": [{"bbox": [NaN, 1, 2, 3]}]}', r"NaN is no JSON number \(line 2\)"),
        ('{"a": -Infinity}', r"-Infinity is no JSON number \(line 1\)"),
        ('{"a": "NaN",\n\n "b": NaN}', r"NaN is no JSON number \(line 3\)"),
        ("[" * 100_000, r"nested too deep \(first at line 1, column 501\)"),
        ('{"a":' * 100_000, "nested too deep"),
        ('{"images": [}', "not JSON"),
        ("", "not JSON"),
        ("\xff", "not JSON"),
        ("[" + "9" * 5000 + "]", "not JSON"),
    ],
)
def test_bad_json_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_json(text.encode("latin-1"))
    assert "\n" not in str(caught.value)


def test_bad_json_ends_as_a_data_error(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"images": [1, 2')
    with pytest.raises(DataError, match=r"x\.json: not JSON"):
        open_data(file)
    file.write_text("[]")
    with pytest.raises(DataError, match=r"annotations.*got list"):
        open_data(file)


def test_a_byte_order_mark_is_no_fault() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_more_than_memory_holds_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_json, "LONGEST_OBJECT", 1000)
    content = coco_content()
    assert len(read_coco(write(tmp_path / "a", content)).annotations) == 2
    content["annotations"][0]["segmentation"] = [[1, 2, 5, 2, 5, 6]] * 200
    with pytest.raises(DataError, match="an object around byte"):
        read_coco(write(tmp_path / "b", content))
    monkeypatch.undo()
    monkeypatch.setattr(coco_json, "MOST_LISTS", 100)
    with pytest.raises(DataError, match="at most 100 boxes and polygons are read, got 20"):
        read_coco(write(tmp_path / "c", content))
    text = json.dumps({"annotations": [{"image_id": 1}] * (10**6 + 1)})
    with pytest.raises(DataError, match=r"1,000,001 annotations of 0 images"):
        read_coco(write(tmp_path / "d", text))


@needs_shared
@pytest.mark.parametrize(("split", "boxes", "crowd"), [("train2017", 705, 6), ("val2017", 815, 11)])
def test_shared_set(split: str, boxes: int, crowd: int) -> None:
    data = open_data(SHARED / "data/coco_tiny", split=split)
    assert (len(data), len(data.labels), int(data.crowd.sum())) == (80, boxes, crowd)
    assert len(data.class_names) == 80
    assert (data.category_ids[0], data.category_ids[-1]) == (1, 90)


@pytest.mark.parametrize("name", ["_background_", "background"])
def test_a_category_for_the_background_is_no_class(tmp_path: Path, name: str) -> None:
    content = coco_content()
    plain = open_data(coco(tmp_path / "plain", coco_content()))
    content["categories"].insert(0, {"id": 0, "name": name})
    data = open_data(coco(tmp_path / "with", content))
    assert data.class_names == plain.class_names
    assert any("stands for the background" in remark for remark in data.remarks)


def test_boxes_whose_numbers_are_texts(tmp_path: Path) -> None:
    content = coco_content(2)
    content["annotations"][0]["bbox"] = ["1", "2.5", "10", "20"]
    content["annotations"][1]["bbox"] = ["1", "two", "10", "20"]
    result = read_coco(coco(tmp_path, content))
    assert result.annotations.boxes_xyxy.tolist() == [[1, 2.5, 11, 22.5]]
    assert [fault.kind for fault in result.faults] == ["malformed"]
    assert any("1 boxes are texts" in remark for remark in result.remarks)
