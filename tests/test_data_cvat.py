from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_fixtures import image
from singleshot.data.cvat import read_cvat
from singleshot.data.recognise import open_data, recognise, splits
from singleshot.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

META = (
    "<meta><task><labels><label><name>zebra</name></label><label><name>ant</name></label>"
    "<label><name>hoof</name><parent>zebra</parent></label></labels></task></meta>"
)
BOX = '<box label="ant" xtl="1" ytl="2" xbr="11" ybr="22" occluded="0"/>'


def cvat(root: Path, *images: str, shapes: str = BOX, head: str = '<?xml version="1.0"?>', subset: str = "") -> Path:
    """An export whose images, at `images/SUBSET/NAME`, all have the same shapes."""
    parts = []
    for number, name in enumerate(images):
        image(root / "images" / subset / name, seed=number)
        place = f' subset="{subset}"' if subset else ""
        parts.append(f'<image id="{number}" name="{name}"{place} width="40" height="30">{shapes}</image>')
    text = f"{head}<annotations><version>1.1</version>{META}{''.join(parts)}</annotations>"
    (root / "annotations.xml").write_text(text, encoding="utf-8")
    return root


def test_boxes_and_classes(tmp_path: Path) -> None:
    root = cvat(tmp_path, "a.png", "b.png")
    assert recognise(root) == recognise(root / "annotations.xml") == "cvat"
    for path in (root, root / "annotations.xml"):
        data = open_data(path)
        assert data.files == ("images/a.png", "images/b.png")
        assert data.class_names == ("zebra", "ant")
        assert data.labels.tolist() == [1, 1]
        assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22]] * 2
        assert data.sizes_wh.tolist() == [[40, 30]] * 2


@pytest.mark.parametrize(
    ("shape", "box", "said"),
    [
        ('<polygon label="ant" points="1,2;11,5;4.5,22"/>', (1, 2, 11, 22), "1 polygons"),
        ('<box label="ant" xtl="10" ytl="10" xbr="30" ybr="14" rotation="90"/>', (18, 2, 22, 22), "1 turned"),
        ('<ellipse label="ant" cx="20" cy="15" rx="4" ry="3"/>', (16, 12, 24, 18), "1 ellipses"),
        ('<mask label="ant" rle="3, 5" left="4" top="5" width="6" height="7"/>', (4, 5, 10, 12), "1 masks"),
        (
            '<cuboid label="ant" xtl1="1" ytl1="2" xbl1="1" ybl1="9" xtr1="5" ytr1="2" xbr1="5" ybr1="9" '
            'xtl2="3" ytl2="1" xbl2="3" ybl2="8" xtr2="7" ytr2="1" xbr2="7" ybr2="8"/>',
            (1, 1, 7, 9),
            "1 cuboids",
        ),
    ],
)
def test_other_shapes_become_upright_boxes(tmp_path: Path, shape: str, box: tuple[float, ...], said: str) -> None:
    result = read_cvat(cvat(tmp_path, "a.png", shapes=shape))
    np.testing.assert_allclose(result.annotations.boxes_xyxy, [box], atol=1e-5)
    assert result.remarks[0].startswith(said)


def test_what_has_no_extent_is_left_out_and_counted(tmp_path: Path) -> None:
    shapes = BOX + '<points label="ant" points="1,2"/><polyline label="ant" points="1,2;3,4"/><tag label="ant"/>'
    result = read_cvat(cvat(tmp_path, "a.png", shapes=shapes))
    assert len(result.annotations.labels) == 1
    assert result.remarks == ("3 lines, points, skeletons and tags have no box: left out",)


@pytest.mark.parametrize(
    "shape",
    [
        '<box label="ant" xtl="1" ytl="x" xbr="11" ybr="22"/>',
        '<box label="ant" xtl="1" xbr="11" ybr="22"/>',
        '<box xtl="1" ytl="2" xbr="11" ybr="22"/>',
        '<polygon label="ant" points="1,2;3"/>',
        '<polygon label="ant" points=""/>',
        '<ellipse label="ant" cx="1"/>',
    ],
)
def test_a_shape_that_cannot_be_read_names_image_and_object(tmp_path: Path, shape: str) -> None:
    result = read_cvat(cvat(tmp_path, "a.png", shapes=BOX + shape))
    assert [(fault.kind, fault.file, fault.number) for fault in result.faults] == [("malformed", "images/a.png", 2)]
    assert len(result.annotations.labels) == 1


def test_a_folder_annotations_beside_the_images_is_no_split(tmp_path: Path) -> None:
    root = cvat(tmp_path, "a.png")
    (root / "annotations").mkdir()
    (root / "annotations.xml").rename(root / "annotations/annotations.xml")
    for path in (root, root / "annotations", root / "annotations/annotations.xml"):
        assert splits(path) == {}
        assert open_data(path).files == ("images/a.png",)


def test_subsets_are_splits(tmp_path: Path) -> None:
    root = cvat(tmp_path, "a.png", subset="Train")
    text = (root / "annotations.xml").read_text()
    image(root / "images/Validation/a.png", seed=9)
    other = f'<image id="7" name="a.png" subset="Validation" width="40" height="30">{BOX}{BOX}</image></annotations>'
    (root / "annotations.xml").write_text(text.replace("</annotations>", other))
    assert splits(root) == {"Train": 1, "Validation": 1}
    assert open_data(root, split="Validation").files == ("images/Validation/a.png",)
    assert len(open_data(root, split="Validation").labels) == 2
    assert open_data(root).files == ("images/Train/a.png", "images/Validation/a.png")


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "entities"),
        ("<annotations><image", "not XML"),
        ("<annotations><track/></annotations>", "CVAT for video, and no images"),
    ],
)
def test_what_is_refused_is_one_line(tmp_path: Path, text: str, token: str) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(DataError, match=token) as caught:
        open_data(tmp_path / "annotations.xml")
    assert "\n" not in str(caught.value)


def test_images_that_never_end_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text("<annotations>" + "<image " * 10**6)
    start = time.perf_counter()
    with pytest.raises(DataError, match="not XML"):
        splits(tmp_path)
    assert time.perf_counter() - start < 5


def test_a_comment_makes_no_difference(tmp_path: Path) -> None:
    assert len(open_data(cvat(tmp_path, "a.png", head="<!-- from a tool -->")).labels) == 1
