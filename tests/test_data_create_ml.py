from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from data_fixtures import image
from singleshot.data.create_ml import read_create_ml
from singleshot.data.recognise import open_data, recognise, splits
from singleshot.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

OBJECT = {"label": "cat", "coordinates": {"x": 6, "y": 12, "width": 10, "height": 20}}


def create_ml(folder: Path, *objects: Any, keys: tuple[str, str] = ("image", "annotations")) -> Path:
    image(folder / "a.png", seed=len(folder.name))
    (folder / "_annotations.createml.json").write_text(json.dumps([dict(zip(keys, ("a.png", objects), strict=True))]))
    return folder


@pytest.mark.parametrize("keys", [("image", "annotations"), ("imagefilename", "annotation")])
def test_boxes_are_given_by_their_centre(tmp_path: Path, keys: tuple[str, str]) -> None:
    root = create_ml(tmp_path, OBJECT, {**OBJECT, "label": "ant"}, keys=keys)
    assert recognise(root) == recognise(root / "_annotations.createml.json") == "create_ml"
    data = open_data(root)
    assert (data.files, data.class_names, data.labels.tolist()) == (("a.png",), ("ant", "cat"), [1, 0])
    assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22]] * 2
    assert data.sizes_wh.tolist() == [[40, 30]]


def test_a_json_in_each_splits_folder(tmp_path: Path) -> None:
    create_ml(tmp_path / "train", OBJECT)
    create_ml(tmp_path / "valid", OBJECT, OBJECT)
    assert splits(tmp_path) == {"train": 1, "valid": 1}
    assert open_data(tmp_path).files == ("train/a.png", "valid/a.png")
    assert len(open_data(tmp_path, split="valid").labels) == 2


@pytest.mark.parametrize(
    "item", [{}, "text", {"label": "cat", "coordinates": {"x": 1}}, {**OBJECT, "label": ""}, {"label": "cat"}]
)
def test_an_object_that_cannot_be_read_names_image_and_object(tmp_path: Path, item: Any) -> None:
    fault = read_create_ml(create_ml(tmp_path, OBJECT, item)).faults[0]
    assert (fault.kind, fault.file, fault.number) == ("malformed", "a.png", 2)


def test_an_entry_without_an_image_is_a_fault(tmp_path: Path) -> None:
    assert (
        read_create_ml(create_ml(tmp_path, OBJECT, keys=("picture", "annotations"))).faults[0].file
        == "_annotations.createml.json"
    )
    (tmp_path / "_annotations.createml.json").write_text('[{"annotations": [], "coordinates": ')
    with pytest.raises(DataError, match="createml"):
        open_data(tmp_path)
