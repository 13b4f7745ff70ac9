from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data_fixtures import image
from singleshot.data.labelme import read_labelme
from singleshot.data.recognise import open_data, recognise, splits

if TYPE_CHECKING:
    from pathlib import Path


def shape(label: str = "cat", points: Any = ((1, 2), (11, 22)), kind: str = "rectangle", **rest: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **rest}


def labelme(root: Path, name: str, *shapes: dict[str, Any], image_name: str = "", **changes: Any) -> Path:
    """A json, and its image where `image_name` says, else beside it."""
    file = root / f"{name}.json"
    picture = image(root / (image_name or f"{name}.png"))
    stated = {"imagePath": picture.name, "imageWidth": 40, "imageHeight": 30, "imageData": None}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"version": "5", "flags": {}, "shapes": shapes, **stated, **changes}))
    return root


def test_rectangles(tmp_path: Path) -> None:
    root = labelme(labelme(tmp_path, "a", shape(), shape("ant", ((11, 22), (1, 2)))), "b")
    assert recognise(root) == recognise(root / "a.json") == "labelme"
    data = open_data(root)
    assert data.files == ("a.png", "b.png")
    assert data.class_names == ("ant", "cat")
    assert (data.labels.tolist(), data.starts.tolist()) == ([1, 0], [0, 2, 2])
    assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22]] * 2
    assert data.sizes_wh.tolist() == [[40, 30]] * 2
    assert len(open_data(root / "a.json")) == 1


@pytest.mark.parametrize(
    ("item", "box", "said"),
    [
        (shape(points=((1, 2), (11, 5), (4, 22)), kind="polygon"), (1, 2, 11, 22), "1 polygons"),
        (shape(points=((20, 15), (23, 19)), kind="circle"), (15, 10, 25, 20), "1 circles"),
        (shape(kind="mask", mask="aGVsbG8="), (1, 2, 11, 22), "1 masks"),
        (shape(points=((10, 0), (20, 10), (10, 20), (0, 10)), kind="rotation"), (0, 0, 20, 20), "1 turned"),
    ],
)
def test_other_shapes_become_upright_boxes(
    tmp_path: Path, item: dict[str, Any], box: tuple[float, ...], said: str
) -> None:
    result = read_labelme(labelme(tmp_path, "a", item))
    np.testing.assert_allclose(result.annotations.boxes_xyxy, [box])
    assert result.remarks[0].startswith(said)


def test_parts_of_a_group_are_one_object(tmp_path: Path) -> None:
    left, right = ((0, 0), (5, 0), (5, 5)), ((10, 8), (20, 8), (20, 20))
    result = read_labelme(
        labelme(
            tmp_path,
            "a",
            shape(points=left, kind="polygon", group_id=1),
            shape("ant", points=left, kind="polygon", group_id=1),
            shape(points=right, kind="polygon", group_id=1),
            shape(points=right, kind="polygon", group_id=2),
            shape(points=right, kind="polygon"),
            shape(group_id=1),
            shape(group_id=1),
        )
    )
    assert result.annotations.boxes_xyxy.tolist() == [
        [0, 0, 20, 20], [0, 0, 5, 5], [10, 8, 20, 20], [10, 8, 20, 20], [1, 2, 11, 22], [1, 2, 11, 22]
    ]  # fmt: skip
    assert any(remark.startswith("1 shapes are parts") for remark in result.remarks)


def test_what_has_no_box_and_what_has_no_json_is_counted(tmp_path: Path) -> None:
    image(tmp_path / "unlabelled.png")
    result = read_labelme(labelme(tmp_path, "a", shape(), shape(points=[(1, 2)], kind="point")))
    assert result.remarks == (
        "1 lines and points have no box: left out",
        "1 images have no json: not labelled, left out",
    )


@pytest.mark.parametrize(
    ("changes", "image_name", "file"),
    [
        ({"imagePath": "..\\images\\a.png"}, "images/a.png", "images/a.png"),
        ({"imagePath": "../images/a.png"}, "images/a.png", "images/a.png"),
        ({"imagePath": "C:\\Users\\someone\\a.png"}, "images/a.png", "images/a.png"),
        ({"imagePath": "/home/someone/renamed.png"}, "labels/a.png", "labels/a.png"),
        ({}, "labels/a.png", "labels/a.png"),
    ],
)
def test_where_the_image_lies(tmp_path: Path, changes: dict[str, Any], image_name: str, file: str) -> None:
    assert open_data(labelme(tmp_path, "labels/a", shape(), image_name=image_name, **changes)).files == (file,)


def test_a_folder_of_a_class_is_no_split(tmp_path: Path) -> None:
    for name in ("valve/a", "trainers/b", "test_images/c"):
        labelme(tmp_path, name, shape())
    assert splits(tmp_path) == {"test_images": 1}
    assert len(open_data(tmp_path)) == 3


def test_folders_are_splits(tmp_path: Path) -> None:
    for name in ("train/a", "train/b", "val/a"):
        labelme(tmp_path, name, shape(name[-1]))
    assert splits(tmp_path) == {"train": 2, "val": 1}
    assert open_data(tmp_path, split="val").files == ("val/a.png",)
    assert open_data(tmp_path, split="val").class_names == ("a", "b")
    assert len(open_data(tmp_path)) == 3


def test_folders_of_jsons_beside_the_images_of_each_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        labelme(
            tmp_path, f"{split}/labels/a", shape(), image_name=f"{split}/images/a.png", imagePath="..\\images\\a.png"
        )
    assert splits(tmp_path) == {"train": 1, "val": 1}
    assert open_data(tmp_path, split="val").files == ("val/images/a.png",)


@pytest.mark.parametrize(
    "item",
    [
        shape(points=[[1, 2]], kind="rectangle"),
        shape(points="1 2", kind="polygon"),
        shape(points=[[1, 2], [3, "x"]], kind="polygon"),
        shape(points=[[1, 2]], kind="circle"),
        shape(kind="star"),
        shape(""),
        {"label": None},
        "text",
    ],
)
def test_a_shape_that_cannot_be_read_names_image_and_object(tmp_path: Path, item: Any) -> None:
    result = read_labelme(labelme(tmp_path, "a", shape(), item))
    assert [(fault.kind, fault.file, fault.number) for fault in result.faults] == [("malformed", "a.png", 2)]


def test_a_json_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = labelme(labelme(tmp_path, "a", shape()), "b", shape())
    text = (root / "b.json").read_text()
    (root / "b.json").write_text(text[:-5])
    assert [(fault.kind, fault.file) for fault in read_labelme(root).faults] == [("malformed", "b.json")]
    (root / "b.json").write_text(text.replace('"imageData": null', f'"deep": {"[" * 100_000}'))
    assert "deep" in read_labelme(root).faults[0].detail


def test_deep_folders_are_read(tmp_path: Path) -> None:
    deep = "cam/2024/03/05/b"
    labelme(labelme(tmp_path / "two", "a", shape()), deep, shape())
    assert open_data(tmp_path / "two").files == ("a.png", f"{deep}.png")
    assert recognise(labelme(tmp_path / "alone", deep, shape())) == "labelme"
