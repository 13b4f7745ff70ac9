from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data_fixtures import image
from singleshot.data import tool_labels
from singleshot.data.label_studio import read_label_studio
from singleshot.data.recognise import open_data, recognise
from singleshot.errors import DataError
from test_data_brush_masks import brush

if TYPE_CHECKING:
    from pathlib import Path

SIZE = {"original_width": 40, "original_height": 30}
RECTANGLE = {"x": 2.5, "y": 10, "width": 25, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}


def result(value: dict[str, Any] = RECTANGLE, **changes: Any) -> dict[str, Any]:
    return {
        "id": "r1",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        **SIZE,
        "value": value,
    } | changes


def task(*results: dict[str, Any], name: str = "/data/upload/1/0a1b2c3d-a.png", **changes: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"image": name}, "annotations": [{"id": 1, "result": list(results)}], **changes}


def export(root: Path, *tasks: dict[str, Any]) -> Path:
    image(root / "images/a.png")
    (root / "project-1.json").write_text(json.dumps(tasks))
    return root


def test_percent_of_the_original_size(tmp_path: Path) -> None:
    root = export(tmp_path, task(result(), result({**RECTANGLE, "x": 0, "rectanglelabels": ["ant"]}, id="r2")))
    assert recognise(root) == recognise(root / "project-1.json") == "label_studio"
    for path in (root, root / "project-1.json"):
        data = open_data(path)
        assert data.files == ("images/a.png",)
        assert data.class_names == ("ant", "cat")
        assert data.labels.tolist() == [1, 0]
        np.testing.assert_allclose(data.boxes_xyxy, [[1, 3, 11, 18], [0, 3, 10, 18]])
        assert data.sizes_wh.tolist() == [[40, 30]]


def test_json_min(tmp_path: Path) -> None:
    tasks = [
        {"image": "/data/upload/1/a.png", "id": 1, "label": [{**RECTANGLE, **SIZE}], "annotation_id": 3},
        {"image": "/data/upload/1/b.png", "id": 2, "annotation_id": 4},
        {"image": "/data/upload/1/c.png", "id": 3},
    ]
    image(tmp_path / "images/b.png")
    data = open_data(export(tmp_path, *tasks))
    assert data.files == ("images/a.png", "images/b.png")
    assert data.starts.tolist() == [0, 1, 1]
    assert any(remark.startswith("1 tasks without") for remark in data.remarks)


@pytest.mark.parametrize(
    ("value", "box", "said"),
    [
        ({**RECTANGLE, "rotation": 90}, (-14, 3, 1, 13), "1 turned"),
        ({"points": [[10, 10], [50, 20], [30, 90]], "polygonlabels": ["cat"]}, (4, 3, 20, 27), "1 polygons"),
        (
            {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 0, "ellipselabels": ["cat"]},
            (16, 9, 24, 21),
            "1 ellipses",
        ),
        (
            {
                "format": "rle",
                "rle": brush(np.pad(np.ones((5, 6), np.uint8), ((2, 23), (3, 31))), repeat=True),
                "brushlabels": ["cat"],
            },
            (3, 2, 9, 7),
            "1 masks",
        ),
    ],
)
def test_other_regions_become_upright_boxes(
    tmp_path: Path, value: dict[str, Any], box: tuple[float, ...], said: str
) -> None:
    read = read_label_studio(export(tmp_path, task(result(value))))
    assert read.faults == ()
    np.testing.assert_allclose(read.annotations.boxes_xyxy, [box], atol=1e-4)
    assert read.remarks[0].startswith(said)


def test_a_rectangle_and_its_label_may_be_two_results(tmp_path: Path) -> None:
    bare = {key: RECTANGLE[key] for key in ("x", "y", "width", "height", "rotation")}
    read = read_label_studio(
        export(
            tmp_path,
            task(
                result(bare, type="rectangle"),
                result({**bare, "labels": ["cat"]}, type="labels"),
                result(bare, type="rectangle", id="r2"),
                result({"x": 1, "y": 1, "width": 0.5, "keypointlabels": ["nose"]}, type="keypointlabels", id="r3"),
                result({"choices": ["day"]}, type="choices", id="r4"),
                result({**RECTANGLE, "rectanglelabels": ["ant", "cat"]}, id="r5"),
            ),
        )
    )
    assert [read.annotations.class_names[label] for label in read.annotations.labels] == ["cat", "ant"]
    assert sorted(remark.partition(":")[0] for remark in read.remarks[:3]) == [
        "1 regions have several labels",
        "1 regions without a label",
        "2 key points and other results have no box",
    ]


def test_which_annotation_of_a_task_counts(tmp_path: Path) -> None:
    other = {**RECTANGLE, "rectanglelabels": ["ant"]}
    cancelled = {"id": 1, "was_cancelled": True, "result": [result(other)]}
    first, second = {"id": 2, "result": [result()]}, {"id": 3, "result": [result(other)], "ground_truth": True}
    read = read_label_studio(
        export(
            tmp_path,
            task(annotations=[cancelled, first]),
            task(annotations=[first, second], name="b.png"),
            task(annotations=[cancelled], name="c.png"),
            task(annotations=[], name="d.png"),
            task(name="a.png", annotations=[{"id": 9, "result": []}]),
        )
    )
    names = [read.annotations.class_names[label] for label in read.annotations.labels]
    assert names == ["cat", "ant"]
    assert any(remark.startswith("2 tasks without") for remark in read.remarks)
    assert any(remark.startswith("1 tasks have several") for remark in read.remarks)


def test_the_image_may_have_any_key(tmp_path: Path) -> None:
    content = task(result())
    content["data"] = {"text": "note", "picture": "/data/local-files/?d=some/images/a.png"}
    assert open_data(export(tmp_path, content)).files == ("images/a.png",)


@pytest.mark.parametrize(
    ("item", "token"),
    [
        (result({**RECTANGLE, "x": "1"}), "x must be a number"),
        (result(original_width=None), "original_width"),
        (result(image_rotation=90), "turned by 90"),
        (result({"points": [[1]], "polygonlabels": ["cat"]}), "outline"),
        (result({"rle": [1, 2], "brushlabels": ["cat"]}), "brush"),
    ],
)
def test_a_region_that_cannot_be_read_names_image_and_object(tmp_path: Path, item: dict[str, Any], token: str) -> None:
    fault = read_label_studio(export(tmp_path, task(result(), {**item, "id": "r2"}))).faults[0]
    assert (fault.kind, fault.file, fault.number) == ("malformed", "images/a.png", 2)
    assert token in fault.detail


def test_a_task_without_an_image_is_a_fault(tmp_path: Path) -> None:
    content = task(result())
    content["data"] = {"text": "hello"}
    fault = read_label_studio(export(tmp_path, content)).faults[0]
    assert (fault.kind, fault.file) == ("malformed", "project-1.json")
    (tmp_path / "project-1.json").write_text('[{"data": {"image": NaN}, "annotations": []}]')
    with pytest.raises(DataError, match="project-1"):
        open_data(tmp_path)


def test_more_than_memory_holds_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_labels, "MOST_PARTS", 20)
    with pytest.raises(DataError, match="at most 20 lists and objects are read, got 41"):
        open_data(export(tmp_path, *[task(result())] * 5))
