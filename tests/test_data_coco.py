from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_fixtures import coco, coco_content
from golden import SHARED, needs_shared
from singleshot.data.coco import coco_files, read_coco
from singleshot.data.recognise import open_data
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import parse_json

if TYPE_CHECKING:
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
        (edit("annotations", 1, id=100), "duplicate id", 0),
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


@needs_shared
@pytest.mark.parametrize(("split", "boxes", "crowd"), [("train2017", 705, 6), ("val2017", 815, 11)])
def test_shared_set(split: str, boxes: int, crowd: int) -> None:
    data = open_data(SHARED / "data/coco_tiny", split=split)
    assert (len(data), len(data.labels), int(data.crowd.sum())) == (80, boxes, crowd)
    assert len(data.class_names) == 80
    assert (data.category_ids[0], data.category_ids[-1]) == (1, 90)
