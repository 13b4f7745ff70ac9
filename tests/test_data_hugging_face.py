from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from data_fixtures import image
from singleshot.data.hugging_face import read_hugging_face
from singleshot.data.recognise import open_data, recognise, splits
from singleshot.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

OBJECTS = {"bbox": [[1, 2, 10, 20], [0, 0, 5, 5.5]], "categories": ["cat", "ant"]}


def metadata(folder: Path, objects: Any, *, csv: bool = False) -> Path:
    image(folder / "a.png", seed=len(folder.name))
    image(folder / "b.png", seed=len(folder.name) + 50)
    if csv:
        cell = json.dumps(objects).replace('"', '""')
        (folder / "metadata.csv").write_text(f'file_name,objects\na.png,"{cell}"\nb.png,\n')
    else:
        rows = [{"file_name": "a.png", "objects": objects}, {"file_name": "b.png", "objects": {}}]
        (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    "objects",
    [
        OBJECTS,
        {"bbox": OBJECTS["bbox"], "category": OBJECTS["categories"], "id": [1, 2]},
        [{"bbox": OBJECTS["bbox"][0], "category": "cat"}, {"bbox": OBJECTS["bbox"][1], "category": "ant"}],
    ],
)
@pytest.mark.parametrize("csv", [False, True])
def test_boxes(tmp_path: Path, objects: Any, csv: bool) -> None:
    root = metadata(tmp_path, objects, csv=csv)
    file = next(tmp_path.glob("metadata.*"))
    assert recognise(root) == recognise(file) == "hugging_face"
    data = open_data(root)
    assert (data.files, data.starts.tolist()) == (("a.png", "b.png"), [0, 2, 2])
    assert (data.class_names, data.labels.tolist()) == (("ant", "cat"), [1, 0])
    assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22], [0, 0, 5, 5.5]]
    assert data.sizes_wh.tolist() == [[40, 30]] * 2


@pytest.mark.parametrize("folder", ["", "data"])
def test_folders_are_splits(tmp_path: Path, folder: str) -> None:
    for split in ("train", "validation"):
        metadata(tmp_path / folder / split, OBJECTS)
    assert splits(tmp_path) == {"train": 2, "validation": 2}
    assert open_data(tmp_path, split="train").path(0) == tmp_path / folder / "train/a.png"


def test_numbers_as_categories_get_names(tmp_path: Path) -> None:
    data = open_data(metadata(tmp_path, {**OBJECTS, "categories": [4, 0]}))
    assert data.class_names == ("class 0", "class 4")
    assert data.remarks[0].startswith("2 categories are numbers")


@pytest.mark.parametrize(
    ("objects", "number"),
    [
        ({"bbox": [[1, 2, 3]], "categories": ["cat"]}, 1),
        ({"bbox": [[1, 2, 3, "4"]], "categories": ["cat"]}, 1),
        ({"bbox": [[1, 2, 3, 4]], "categories": [None]}, 1),
        ({"bbox": [[1, 2, 3, 4]], "categories": []}, 0),
        ({"bbox": [[1, 2, 3, 4]]}, 0),
        ("text", 0),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, objects: Any, number: int) -> None:
    fault = read_hugging_face(metadata(tmp_path, objects)).faults[0]
    assert (fault.kind, fault.number) == ("malformed", number)
    assert fault.file == "a.png" if number else "line 1" in fault.detail


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    with (metadata(tmp_path, OBJECTS) / "metadata.jsonl").open("a") as file:
        file.write('{"file_name": NaN}\n')
    with pytest.raises(DataError, match=r"line 3: NaN"):
        open_data(tmp_path)


def test_a_line_ends_at_its_end_alone(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    row = {"file_name": "a.png", "text": "x\u2028y\x85z", "objects": {"bbox": [[1, 2, 3, 4]], "categories": ["cat"]}}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert open_data(tmp_path).boxes_xyxy.tolist() == [[1, 2, 4, 6]]
