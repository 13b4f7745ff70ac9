from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from data_fixtures import image
from singleshot.data.csv_table import read_csv
from singleshot.data.recognise import default_splits, open_data, splits
from singleshot.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = "a.png,1,2,11,22,zebra\nb c.png,,,,,\na.png,0.5,0,40,30,ant\n"


def table(folder: Path, text: str | bytes, name: str = "boxes.csv") -> Path:
    for file in ("a.png", "b c.png"):
        image(folder / file)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        "file,x1,y1,x2,y2,label\n" + ROWS,
        b"\xef\xbb\xbf" + ("FILE,X1,Y1,X2,Y2,LABEL\n" + ROWS).replace("\n", "\r\n").encode(),
        "label,file,x1,y1,x2,y2\nzebra,a.png,1,2,11,22\n,b c.png,,,,\nant,a.png,.5,0,40,30\n",
        ROWS.replace(",", ";"),
        ROWS.replace(",", " ,\t ").replace("\t", ""),
        "a.png,1,2,11,22,zebra\n\n'b c.png'\na.png,0.5,0,40,30,ant\n".replace("'", '"'),
    ],
)
def test_every_way_of_writing_it(tmp_path: Path, text: str | bytes) -> None:
    data = open_data(table(tmp_path, text))
    assert data.files == ("a.png", "b c.png")
    assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22], [0.5, 0, 40, 30]]
    assert data.starts.tolist() == [0, 2, 2]
    assert data.class_names == ("ant", "zebra")
    assert data.labels.tolist() == [1, 0]
    assert data.sizes_wh.tolist() == [[40, 30], [40, 30]]


def test_an_unreadable_image_is_a_fault(tmp_path: Path) -> None:
    path = table(tmp_path, ROWS)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png"):
        open_data(path)


def test_one_table_has_no_splits_several_are_splits(tmp_path: Path) -> None:
    path = table(tmp_path, ROWS, "train.csv")
    assert splits(path) == {}
    table(tmp_path, "a.png,1,2,3,4,yak\n", "val.csv")
    (tmp_path / "notes.csv").write_text("something,else\n")
    assert splits(tmp_path) == {"train": 2, "val": 1}
    assert default_splits(tmp_path) == ("train", "val", None)
    assert open_data(tmp_path, split="val").class_names == ("ant", "yak", "zebra")
    assert len(open_data(tmp_path)) == 2  # an image in both is one image


@pytest.mark.parametrize(
    ("row", "detail"),
    [("a.png,1,2,3,four,cat", "line 2: expected four numbers"), ("a.png,1,2,3,4,", "label"), ("a.png,,,,,cat", "four")],
)
def test_rows_that_cannot_be_understood(tmp_path: Path, row: str, detail: str) -> None:
    result = read_csv(table(tmp_path, f"a.png,1,2,3,4,cat\n{row}\n"))
    assert [(fault.kind, fault.file, fault.number) for fault in result.faults] == [("malformed", "a.png", 2)]
    assert detail in result.faults[0].detail
    assert len(result.annotations.labels) == 1


def test_a_missing_image(tmp_path: Path) -> None:
    assert read_csv(table(tmp_path, "ghost.png,1,2,3,4,cat\n")).faults[0].kind == "missing image"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,1,2,3\n", "line 1: expected file,x1,y1,x2,y2,label, got 4 cells"),
        (",1,2,3,4,cat\n", "names no image"),
        ("a\0b.png,1,2,3,4,cat\n", "no file can have the name"),
        ("a" * 5000 + ",1,2,3,4,cat\n", "no file can have the name"),
        (b"\xff\xfe\x00", "not a CSV"),
        ("", "empty"),
        ("a.png\n", "not one labelled object"),
    ],
)
def test_what_is_no_such_table(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(table(tmp_path, text))
