"""Renaming, dropping and uniting classes; the class names of public data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_fixtures import coco, coco_content, voc
from golden import SHARED, needs_shared
from singleshot.data.class_names import COCO_CLASSES, COCO_TO_VOC
from singleshot.data.classes import join, only_classes, relabel, with_classes
from singleshot.data.recognise import open_data
from singleshot.errors import DataError
from singleshot.variants import VOC_CLASSES

CAT = ("cat", (1, 2, 11, 22))


def test_join_unites_classes_and_paths(tmp_path: Path) -> None:
    first = open_data(voc(tmp_path / "v", {"a": [("sheep", (1, 1, 5, 5)), CAT], "b": []}))
    second = open_data(coco(tmp_path / "c", coco_content()))
    both = join([first, second])
    assert both.class_names == ("cat", "sheep", "dog")
    assert both.labels.tolist() == [1, 0, 2, 2]
    assert both.starts.tolist() == [0, 2, 2, 3, 4]
    assert both.format == "joined"
    assert both.category_ids == (1, 2, 3)
    assert both.ids == ("a", "b", "10", "11")
    assert [both.path(i) for i in range(4)] == [data.path(i) for data in (first, second) for i in range(2)]
    for index, (data, i) in enumerate([(first, 0), (first, 1), (second, 0), (second, 1)]):
        np.testing.assert_array_equal(both.ground_truth(index).boxes_xyxy, data.ground_truth(i).boxes_xyxy)


def test_join_keeps_what_agrees(tmp_path: Path) -> None:
    root = coco(coco(tmp_path / "c", coco_content()), coco_content(1), split="val2017")
    both = join([open_data(root, split="train2017"), open_data(root, split="val2017")])
    assert (both.format, both.category_ids) == ("coco", (1, 3))
    assert both.ids == ("1/10", "1/11", "2/10")  # both name an image 10
    assert join([both]) is both
    with pytest.raises(DataError, match="no data set"):
        join([])


def test_relabel_renames_merges_and_drops(tmp_path: Path) -> None:
    boxes = [(name, (i, i, i + 5, i + 5)) for i, name in enumerate(["a", "b", "c", "d", "a"])]
    found = relabel(open_data(voc(tmp_path / "v", {"p": boxes, "q": boxes[1:2]})), {"a": "x", "c": "x", "b": None})
    assert found.class_names == ("x", "d")
    assert found.labels.tolist() == [0, 0, 1, 0]
    assert found.boxes_xyxy[:, 0].tolist() == [0, 2, 3, 4]
    assert found.starts.tolist() == [0, 4, 4]


def test_dropping_a_class_keeps_every_other_objects_values(tmp_path: Path) -> None:
    """Each object's box, label, flags and area stay together, whichever objects go."""
    content = coco_content(3)
    content["annotations"] = [
        {"id": i, "image_id": 10 + i % 3, "category_id": (1, 3)[i % 2], "bbox": [i, 2, 10, 20], "area": 100 + i,
         "iscrowd": int(i in {3, 4})}
        for i in range(8)
    ]  # fmt: skip
    data = open_data(coco(tmp_path / "c", content))
    dogs = relabel(data, {"cat": None})
    expected = [(i, 100 + i, i in {3, 4}) for i in (3, 1, 7, 5)]  # by image, as the file lists them
    rows = list(zip(dogs.boxes_xyxy[:, 0].tolist(), dogs.areas.tolist(), dogs.crowd.tolist(), strict=True))
    assert rows == expected
    assert dogs.difficult.tolist() == dogs.crowd.tolist()
    assert dogs.starts.tolist() == [0, 1, 3, 4]
    assert dogs.category_ids == (3,)


def test_only_classes_drops_objects_and_keeps_images(tmp_path: Path) -> None:
    boxes = [(name, (i, i, i + 5, i + 5)) for i, name in enumerate(["a", "b", "c", "a"])]
    found = only_classes(open_data(voc(tmp_path / "v", {"p": boxes, "q": boxes[1:2]})), ["c", "a", "elsewhere"])
    assert found.class_names == ("c", "a", "elsewhere")
    assert found.labels.tolist() == [1, 0, 1]
    assert found.starts.tolist() == [0, 3, 3]


def test_coco_names_as_voc_names() -> None:
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == len(COCO_TO_VOC) == 80
    assert sorted(name for name in COCO_TO_VOC.values() if name) == sorted(VOC_CLASSES)


@needs_shared
def test_coco_tiny_as_voc() -> None:
    coco_set = open_data(SHARED / "data/coco_tiny", headers=False)
    assert coco_set.class_names == COCO_CLASSES
    found = relabel(coco_set, COCO_TO_VOC)
    assert set(found.class_names) == set(VOC_CLASSES)
    assert len(found) == 160
    people = coco_set.labels == coco_set.class_names.index("person")
    assert (found.labels == found.class_names.index("person")).sum() == people.sum() == 359
    united = join([open_data(SHARED / "data/voc2007", split="train", headers=False), found])
    assert united.class_names == VOC_CLASSES


def test_with_classes_keeps_coco_ids(tmp_path: Path) -> None:
    found = with_classes(open_data(coco(tmp_path / "c", coco_content())), ["dog"])
    assert (found.category_ids, found.labels.tolist()) == ((3,), [0, 0])
