from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from data_fixtures import image
from singleshot.data.recognise import open_data, recognise, splits
from singleshot.data.via import read_via
from singleshot.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

RECT = {"name": "rect", "x": 1, "y": 2, "width": 10, "height": 20}
POLYGON = {"name": "polygon", "all_points_x": [1, 5, 5], "all_points_y": [1, 3, 9]}


def region(shape: Any, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def content(*regions: dict[str, Any]) -> dict[str, Any]:
    """VIA's json of `a.png` with these regions, and of `b.png` with none."""
    return {
        f"{name}.png9": {"filename": f"{name}.png", "size": 9, "regions": list(given), "file_attributes": {}}
        for name, given in (("a", regions), ("b", ()))
    }


def via(folder: Path, written: Any, name: str = "via_region_data.json") -> Path:
    for stem in "ab":
        image(folder / f"{stem}.png")
    (folder / name).write_text(written if isinstance(written, str) else json.dumps(written))
    return folder


def csv_row(name: str, shape: Any, attributes: Any) -> str:
    cells = (json.dumps(cell).replace('"', '""') for cell in (shape, attributes))
    return f'{name},9,"{{}}",1,0,' + ",".join(f'"{cell}"' for cell in cells) + "\n"


HEADER = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
AS_CSV = HEADER + csv_row("a.png", RECT, {"class": "cat"}) + csv_row("a.png", POLYGON, {"class": "ant"})
TWO = content(region(RECT, **{"class": "cat"}), region(POLYGON, **{"class": "ant"}))
OLD = {key: {**item, "regions": {str(i): r for i, r in enumerate(item["regions"])}} for key, item in TWO.items()}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (TWO, "via.json"),
        (OLD, "via.json"),
        ({"_via_settings": {"ui": {}}, "_via_img_metadata": TWO, "_via_attributes": {}}, "project.json"),
        (AS_CSV + csv_row("b.png", {}, {}), "via_export_csv.csv"),
        ("#" + AS_CSV + csv_row("b.png", {}, {}), "via.csv"),
    ],
)
def test_every_file_that_it_writes(tmp_path: Path, written: Any, name: str) -> None:
    root = via(tmp_path, written, name)
    assert recognise(root) == recognise(root / name) == "via"
    data = open_data(root)
    assert (data.files, data.starts.tolist()) == (("a.png", "b.png"), [0, 2, 2])
    assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22], [1, 1, 5, 9]]
    assert [data.class_names[label] for label in data.labels] == ["cat", "ant"]
    assert data.remarks == ("1 polygons became their upright boxes",)


@pytest.mark.parametrize(
    ("shape", "box", "note"),
    [
        ({"name": "circle", "cx": 10, "cy": 12, "r": 5}, [5, 7, 15, 17], "circles"),
        ({"name": "ellipse", "cx": 10, "cy": 12, "rx": 5, "ry": 2, "theta": math.pi / 2}, [8, 7, 12, 17], "ellipses"),
        ({"name": "ellipse", "cx": 10, "cy": 12, "rx": 5, "ry": 2}, [5, 10, 15, 14], "ellipses"),
        ({"name": "point", "cx": 1, "cy": 2}, None, "points"),
        ({"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]}, None, "polylines"),
    ],
)
def test_shapes(tmp_path: Path, shape: dict[str, Any], box: list[float] | None, note: str) -> None:
    result = read_via(via(tmp_path, content(region(shape, kind="cat"))))
    assert result.annotations.boxes_xyxy.round(3).tolist() == ([] if box is None else [box])
    assert note in result.remarks[0]


@pytest.mark.parametrize(
    ("attributes", "label", "remark"),
    [
        ({"sort": "cat"}, "cat", ""),
        ({"type": {"cat": True, "ant": False}}, "cat", ""),
        ({"colour": "red", "Class_Name": "cat"}, "cat", "'Class_Name' is the class"),
        ({"colour": "", "sort": "cat"}, "cat", "'sort' is the class"),
        ({"number": 3}, "3", ""),
        ({}, "object", "no attribute"),
    ],
)
def test_which_attribute_is_the_class(tmp_path: Path, attributes: Any, label: str, remark: str) -> None:
    result = read_via(via(tmp_path, content(region(RECT, **attributes))))
    assert result.annotations.class_names == (label,)
    assert remark in "".join(result.remarks)


@pytest.mark.parametrize(
    ("bad", "detail"),
    [
        (region(RECT, kind=""), "no 'kind'"),
        (region({"name": "rect", "x": 1}, kind="cat"), "numbers"),
        (region({"name": "star"}, kind="cat"), "star"),
        (region({"name": ["rect"]}, kind="cat"), "unknown shape"),
        (region({"name": "polygon", "all_points_x": [1], "all_points_y": []}, kind="cat"), "all_points_y"),
        (region({**RECT, "x": True}, kind="cat"), "numbers"),
        ("region", "no 'kind'"),
    ],
)
def test_a_region_that_cannot_be_read_is_a_fault(tmp_path: Path, bad: Any, detail: str) -> None:
    result = read_via(via(tmp_path, content(region(RECT, kind="cat"), bad)))
    assert [(fault.kind, fault.file, fault.number) for fault in result.faults] == [("malformed", "a.png", 2)]
    assert detail in result.faults[0].detail
    assert len(result.annotations.labels) == 1


def test_files_that_are_none_of_it(tmp_path: Path) -> None:
    for name, written in (("via.json", "[1]"), ("via.csv", HEADER + 'a.png,9,"{}",1,0,"{","{}"\n')):
        with pytest.raises(DataError, match=name):
            read_via(via(tmp_path, written, name) / name)
    faults = read_via(via(tmp_path, {"x": {"filename": 1, "size": 2, "regions": []}}) / "via_region_data.json").faults
    assert "filename" in faults[0].detail


def test_a_file_in_each_splits_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        via(tmp_path / split, content(region(RECT, name=split)))
    assert splits(tmp_path) == {"train": 2, "val": 2}
    assert open_data(tmp_path, split="val").files == ("val/a.png", "val/b.png")
