"""Photographs that EXIF turns, labelled as stored or as displayed; files whose end is missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from data_fixtures import image, voc, xml, yolo
from singleshot.cli.data import app
from singleshot.data.check import check
from singleshot.data.images import ImageHeader
from singleshot.data.recognise import open_data
from singleshot.data.turned_images import turn_boxes
from singleshot.decode import ORIENTATION_TAG, decode_image
from singleshot.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

STORED_BOX = (4, 6, 20, 11)


def photograph(path: Path, orientation: int, *, seed: int = 0) -> Path:
    """An image stored as 40x30 pixels: black, with a white box at STORED_BOX."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[0, 0] = seed
    left, top, right, bottom = STORED_BOX
    pixels[top:bottom, left:right] = 255
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def photographs(root: Path, stated: dict[int, tuple[int, int]]) -> Path:
    """A VOC set: an image of each orientation with the size that its annotation states."""
    voc(root, {f"p{orientation}": xml([("box", STORED_BOX)], size=size) for orientation, size in stated.items()})
    for orientation in stated:
        photograph(root / f"JPEGImages/p{orientation}.png", orientation, seed=orientation)
    return root


def white_box(path: Path) -> list[int]:
    """Where the displayed image is white."""
    rows, columns = np.nonzero(decode_image(path)[..., 0] > 200)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_turned_as_the_decoder_turns_pixels(tmp_path: Path, orientation: int) -> None:
    path = photograph(tmp_path / "a.png", orientation)
    size_wh = decode_image(path).shape[1::-1]
    turned = turn_boxes(np.float32([STORED_BOX]), ImageHeader(size_wh, orientation))
    assert turned.tolist() == [white_box(path)]


def test_sets_that_state_the_stored_size_throughout_are_turned(tmp_path: Path) -> None:
    """Upside down ones, too: their size does not tell, but the tool is the same."""
    root = photographs(tmp_path / "v", {1: (40, 30), 3: (40, 30), 6: (40, 30), 8: (40, 30)})
    data = open_data(root)
    assert data.boxes_xyxy.tolist() == [white_box(data.path(i)) for i in range(4)]
    assert data.sizes_wh.tolist() == [[40, 30], [40, 30], [30, 40], [30, 40]]
    assert len(data.remarks) == 1
    assert "3 images are turned by EXIF" in data.remarks[0]
    report = check(root)
    assert (report.faults, report.remarks) == ((), data.remarks)


def test_sets_of_both_kinds_are_refused_until_told(tmp_path: Path) -> None:
    root = photographs(tmp_path / "v", {6: (40, 30), 8: (30, 40)})
    with pytest.raises(DataError, match=r"JPEGImages/p6\.png.*orientation 6.*--labels-on stored"):
        open_data(root)
    data = open_data(root, labels_on="stored")
    assert data.boxes_xyxy.tolist() == [white_box(data.path(0)), list(STORED_BOX)]  # p8 states the displayed size
    data = open_data(root, labels_on="displayed")
    assert data.boxes_xyxy.tolist() == [list(STORED_BOX)] * 2
    assert data.sizes_wh.tolist() == [[30, 40]] * 2


def test_fractions_are_turned_on_request(tmp_path: Path) -> None:
    left, top, right, bottom = STORED_BOX
    fractions = ((left + right) / 80, (top + bottom) / 60, (right - left) / 40, (bottom - top) / 30)
    root = yolo(tmp_path / "y", {"a": "0 " + " ".join(map(str, fractions))})
    path = photograph(root / "images/a.png", 6)
    np.testing.assert_allclose(open_data(root, labels_on="stored").boxes_xyxy, [white_box(path)], rtol=1e-5)
    assert not any("EXIF" in remark for remark in open_data(root).remarks)


def test_width_and_height_swapped_without_exif_are_told(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": xml([("box", (1, 2, 39, 20))], size=(30, 40))})
    data = open_data(root)
    assert data.sizes_wh.tolist() == [[40, 30]]
    assert data.remarks == ("1 images have width and height swapped in the annotation, such as JPEGImages/a.png",)
    turned = voc(tmp_path / "w", {"a": xml([("box", (1, 2, 20, 39))], size=(30, 40))})
    with pytest.raises(DataError, match=r"30x40.*40x30"):
        open_data(turned)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif"])
def test_all_files_without_their_end_are_told_before_training(tmp_path: Path, suffix: str) -> None:
    root = voc(tmp_path / "v", {name: [("cat", (1, 2, 9, 9))] for name in "abc"})
    for name in "abc":
        (root / f"JPEGImages/{name}.png").unlink()
        path = image(root / f"JPEGImages/{name}.{suffix}", width=40)
        if name != "b":
            path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="2 faults") as caught:
        open_data(root)
    assert all(f"JPEGImages/{name}.{suffix}: truncated" in str(caught.value) for name in "ac")
    for name in "ac":
        image(root / f"JPEGImages/{name}.{suffix}")
    with (root / f"JPEGImages/a.{suffix}").open("ab") as file:  # phones append videos
        file.write(b"\0" * 10_000)
    assert len(open_data(root)) == 3


@pytest.mark.parametrize("tool", ["csv", "labelme"])
def test_tables_and_labelmes_files_that_state_the_stored_size_are_turned(tmp_path: Path, tool: str) -> None:
    path = photograph(tmp_path / "a.png", 6)
    left, top, right, bottom = STORED_BOX
    if tool == "csv":
        header = "filename,width,height,class,xmin,ymin,xmax,ymax"
        (tmp_path / "a.csv").write_text(f"{header}\na.png,40,30,box,{left},{top},{right},{bottom}\n")
    else:
        shape = {"label": "box", "shape_type": "rectangle", "points": [[left, top], [right, bottom]]}
        content = {"flags": {}, "shapes": [shape], "imagePath": "a.png", "imageWidth": 40, "imageHeight": 30}
        (tmp_path / "a.json").write_text(json.dumps(content))
    data = open_data(tmp_path)
    assert data.boxes_xyxy.tolist() == [white_box(path)]
    assert data.sizes_wh.tolist() == [[30, 40]]
    assert "1 images are turned by EXIF" in data.remarks[-1]
    assert not check(tmp_path).faults


def test_statistics_are_of_the_displayed_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = photographs(tmp_path / "v", {6: (40, 30)})
    data = open_data(root, headers=False)
    assert data.boxes_xyxy.tolist() == [white_box(data.path(0))]
    with pytest.raises(SystemExit, match=r"^0$"):
        app(["stats", str(root), "--json", str(tmp_path / "stats.json")])
    left, top, right, bottom = STORED_BOX
    found = json.loads((tmp_path / "stats.json").read_text())
    assert found["aspect_ratio"]["p50"] == round((bottom - top) / (right - left), 4)
    assert "turned by EXIF" in capsys.readouterr().err
