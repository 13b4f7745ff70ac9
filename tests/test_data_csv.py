from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_fixtures import image
from singleshot.data.check import check
from singleshot.data.csv_rows import read_rows
from singleshot.data.csv_table import is_annotation_table, read_csv
from singleshot.data.csv_text import TableText
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


BOXES = [[1, 2, 11, 22], [0.5, 0, 40, 30]]
TF = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,zebra,1,2,11,22\na.png,40,30,ant,0.5,0,40,30\n"
SKU = "a.png,1,2,11,22,zebra,40,30\na.png,0.5,0,40,30,ant,40,30\n"
OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
    f"a,x,/m/2,1,{1 / 40},{11 / 40},{2 / 30},{22 / 30},0\na,x,/m/1,1,{0.5 / 40},1,0,1,1\n"
)


@pytest.mark.parametrize(
    "text",
    [
        TF,
        "image_path,x_min,y_min,x_max,y_max,label,split\na.png,1,2,11,22,zebra,train\na.png,.5,0,40,30,ant,train\n",
        "label;Image Name;left;top;right;bottom\nzebra;a.png;1;2;11;22\nant;a.png;0,5;0;40;30\n",
        "sep=;\nfile;x1;y1;x2;y2;label\na.png;1;2;11;22;zebra\na.png;0,5;0;40;30;ant\n",
        "image\tclass_name\tclass\tx\ty\tw\th\na.png\tzebra\t2\t1\t2\t10\t20\na.png\tant\t1\t.5\t0\t39.5\t30\n",
        "image_id,width,height,bbox_x,bbox_y,bbox_width,bbox_height,category\n"
        "a.png,40,30,1,2,10,20,zebra\na.png,40,30,.5,0,39.5,30,ant\n",
        SKU,
        "a.png,zebra,1,2,11,22\na.png,ant,0.5,0,40,30\n",
        "a.png,1,2,11,22,zebra,train,x\na.png,0.5,0,40,30,ant,val,y\n",
        "filename,class,x_center,y_center,width,height\na.png,zebra,6,12,10,20\na.png,ant,20.25,15,39.5,30\n",
        f"image,label,cx,cy,w,h\na.png,zebra,{6 / 40},0.4,0.25,{20 / 30}\na.png,ant,{20.25 / 40},0.5,{39.5 / 40},1\n",
        "bild;links;oben;rechts;unten;klasse\na.png;1;2;11;22;zebra\na.png;0,5;0;40;30;ant\n",
        "a.png,1,2,11,22,zebra,,\na.png,0.5,0,40,30,ant,,\n".replace(",,\n", "\n"),
        OPEN_IMAGES.replace("/m/2", "zebra").replace("/m/1", "ant"),
        "file,x1,y1,x2,y2,label,\na.png,1,2,11,22,zebra,\na.png,0.5,0,40,30,ant,\n",
        ("\ufeff" + TF).encode("utf-16"),
    ],
)
def test_tables_of_other_tools(tmp_path: Path, text: str | bytes) -> None:
    data = open_data(table(tmp_path, text))
    assert data.files == ("a.png",)
    np.testing.assert_allclose(data.boxes_xyxy, BOXES, rtol=1e-6)
    assert [data.class_names[label] for label in data.labels] == ["zebra", "ant"]
    assert data.sizes_wh.tolist() == [[40, 30]]


def test_open_images_names_its_labels_and_groups(tmp_path: Path) -> None:
    image(tmp_path / "validation/a.png")
    (tmp_path / "validation-annotations-bbox.csv").write_text(OPEN_IMAGES)
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/1,ant\n/m/2,zebra\n")
    result = read_csv(tmp_path, split="validation")
    data = result.annotations
    assert (data.files, result.faults) == (("validation/a.png",), ())
    assert data.class_names == ("ant", "zebra")
    assert data.crowd.tolist() == data.difficult.tolist() == [False, True]
    assert any(remark.startswith("1 boxes of groups") for remark in result.remarks)
    assert any("fractions" in remark for remark in result.remarks)
    assert any("Source, Confidence" in remark for remark in result.remarks)


def test_windows_text_is_read_and_said(tmp_path: Path) -> None:
    result = read_csv(table(tmp_path, "a.png,1,2,3,4,Käfer\n".encode("cp1252")))
    assert result.annotations.class_names == ("Käfer",)
    assert "Windows-1252" in result.remarks[0]


def test_a_table_in_each_splits_folder(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        table(tmp_path / split, TF, "_annotations.csv")
    assert splits(tmp_path) == {"train": 1, "valid": 1}
    assert open_data(tmp_path).files == ("train/a.png", "valid/a.png")


@pytest.mark.parametrize(
    ("table_name", "image_name", "split"),
    [
        ("annotations/annotations_train.csv", "images/a.png", "train"),
        ("train_labels.csv", "images/train/a.png", "train"),
        ("annotations/boxes.csv", "images/a.png", "boxes"),
    ],
)
def test_where_tables_and_images_may_lie(tmp_path: Path, table_name: str, image_name: str, split: str) -> None:
    image(tmp_path / image_name)
    (tmp_path / table_name).parent.mkdir(exist_ok=True)
    (tmp_path / table_name).write_text(TF)
    assert splits(tmp_path) == {split: 1}
    assert open_data(tmp_path).files == (image_name,)
    assert open_data(tmp_path / table_name).path(0).is_file()


def test_a_stated_size_is_compared_with_the_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="41x30"):
        open_data(table(tmp_path, TF.replace("40,30,zebra", "41,30,zebra")))


@pytest.mark.parametrize(
    "header", ["filename,cell_type,xmin,xmax,ymin,ymax", "something,else", "file,x1,y1,x2,label", "x1,y1,x2,y2,label"]
)
def test_what_is_no_table_of_boxes_is_not_taken_for_one(tmp_path: Path, header: str) -> None:
    path = table(tmp_path, f"{header}\na.png,1,2,3,4,5\n".replace("1,2,3,4,5", "x" * header.count("x")))
    assert not is_annotation_table(path)
    with pytest.raises(DataError, match="expected file,x1,y1,x2,y2,label, got"):
        read_csv(path)


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


def test_make_senses_columns_without_a_header(tmp_path: Path) -> None:
    data = open_data(table(tmp_path, "zebra,1,2,10,20,a.png,40,30\nant,0,0,5,5,b c.png,40,30\n"))
    assert (data.files, data.class_names) == (("a.png", "b c.png"), ("ant", "zebra"))
    assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22], [0, 0, 5, 5]]


def test_names_of_classes_are_preferred_to_their_numbers(tmp_path: Path) -> None:
    data = open_data(table(tmp_path, "image,label,label_name,x1,y1,x2,y2\na.png,0,zebra,1,2,11,22\n"))
    assert data.class_names == ("zebra",)


def test_fiftyones_open_images(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/classes.csv").write_text("/m/01yrx,Cat\n/m/0bt9lr,Dog\n")
    image(tmp_path / "data/a.png")
    rows = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\na,/m/01yrx,0.1,0.5,0.2,0.6,0\n"
    (tmp_path / "labels/detections.csv").write_text(rows)
    data = open_data(tmp_path)
    assert (data.class_names, data.files) == (("Cat",), ("data/a.png",))


def test_a_label_that_never_has_a_box_is_background(tmp_path: Path) -> None:
    header = "image_id,class_name,class_id,x_min,y_min,x_max,y_max\n"
    path = table(tmp_path, f"{header}a,zebra,3,1,2,11,22\nb c,No finding,14,,,,\nb c,No finding,14,nan,nan,nan,nan\n")
    data = open_data(path)
    assert (data.files, data.class_names) == (("a.png", "b c.png"), ("zebra",))
    assert data.starts.tolist() == [0, 1, 1]
    assert any("2 rows of 'No finding'" in remark for remark in data.remarks)


@pytest.mark.parametrize(
    "cell", ['"[1, 2, 10.0, 20]"', '"(1,2,10,20)"', "1 2 10 20", "\"{'x': 1, 'y': 2, 'w': 10, 'h': 20}\""]
)
def test_a_box_in_one_cell(tmp_path: Path, cell: str) -> None:
    data = open_data(table(tmp_path, f'image_id,width,height,bbox,label\na,40,30,{cell},ant\nb c,40,30,"[]",\n'))
    assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22]]
    assert data.starts.tolist() == [0, 1, 1]
    assert any("left, top, width, height" in remark for remark in data.remarks)


@pytest.mark.parametrize(
    ("boxes", "read", "remark"),
    [
        ((("30 20 39 29"), ("1 2 11 22")), [[30, 20, 39, 29], [1, 2, 11, 22]], "1 boxes would leave"),
        ((("30 20 39 29"), ("9 9 3 3")), [[30, 20, 69, 49], [9, 9, 12, 12]], "width, height"),
        ((("1 2 11 22"), ("9 9 12 13")), [[1, 2, 12, 24], [9, 9, 21, 22]], "width, height"),
    ],
)
def test_four_numbers_in_a_cell_are_sides_or_corners(
    tmp_path: Path, boxes: tuple[str, str], read: list[list[float]], remark: str
) -> None:
    data = open_data(table(tmp_path, f"file;bbox;label\na.png;{boxes[0]};ant\nb c.png;{boxes[1]};ant\n"))
    assert data.boxes_xyxy.tolist() == read
    assert any(remark in text for text in data.remarks)


@pytest.mark.parametrize("cell", ["1 2 10", "one 2 3 4", "[1, 2, None, 4]", "1;2;3;4;5"])
def test_a_cell_that_is_no_box(tmp_path: Path, cell: str) -> None:
    result = read_csv(table(tmp_path, f'file,bbox,label\na.png,"{cell}",ant\n'))
    assert [(fault.kind, fault.number) for fault in result.faults] == [("malformed", 1)]
    assert "line 2" in result.faults[0].detail


def test_a_table_without_classes_has_one(tmp_path: Path) -> None:
    data = open_data(table(tmp_path, "image_name,BoxesString,domain\na.png,1 2 11 22;5 5 9 9,4\nb c.png,no_box,4\n"))
    assert (data.class_names, data.starts.tolist()) == (("object",), [0, 2, 2])
    assert data.boxes_xyxy.tolist() == [[1, 2, 11, 22], [5, 5, 9, 9]]
    assert any("no column of classes" in remark for remark in data.remarks)


def test_a_table_without_classes_is_left_beside_one_that_has_them(tmp_path: Path) -> None:
    table(tmp_path, TF)
    table(tmp_path, "file,x1,y1,x2,y2\nb c.png,1,2,3,4\n", "other.csv")
    assert open_data(tmp_path).class_names == ("ant", "zebra")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Image_Name,Class_ID,Box_X_Min,Box_Y_Min,Box_X_Max,Box_Y_Max", "a.png,7,1,2,11,22"),
        ("filename,class,bbox_x1,bbox_y1,bbox_x2,bbox_y2", "a.png,7,1,2,11,22"),
    ],
)
def test_a_header_that_names_the_box(tmp_path: Path, header: str, row: str) -> None:
    data = open_data(table(tmp_path, f"{header}\n{row}\n"))
    assert (data.class_names, data.boxes_xyxy.tolist()) == (("7",), [[1, 2, 11, 22]])


def test_a_header_that_contradicts_the_cells_is_not_guessed_at(tmp_path: Path) -> None:
    path = table(tmp_path, "image_name,class_id,a,b,c,d\na.png,7,1,2,11,22\n")
    assert not is_annotation_table(path)


def test_images_that_the_table_does_not_name_are_counted(tmp_path: Path) -> None:
    remarks = open_data(table(tmp_path, "a.png,1,2,11,22,zebra\n")).remarks
    assert any("1 images are not in boxes.csv: left out, such as b c.png" in remark for remark in remarks)


@pytest.mark.parametrize("first", [True, False])
def test_automls_eleven_cells(tmp_path: Path, first: bool) -> None:
    rows = ["TRAIN,gs://x/y/a.png,zebra,0.1,0.2,,,0.5,0.6,,", "VALIDATION,gs://x/b c.png,ant,0,0,1,0,1,1,0,1"]
    rows = rows if first else [row.partition(",")[2] for row in rows]
    path = table(tmp_path, "\n".join(rows))
    data = open_data(tmp_path)
    assert (data.files, data.class_names) == (("a.png", "b c.png"), ("ant", "zebra"))
    np.testing.assert_allclose(data.boxes_xyxy, [[4, 6, 20, 18], [0, 0, 40, 30]], rtol=1e-6)
    assert splits(path) == ({"train": 1, "validation": 1} if first else {})


def test_a_column_of_splits(tmp_path: Path) -> None:
    image(tmp_path / "c.png")
    rows = "a.png,zebra,train,1,2,11,22\nb c.png,ant,Valid,1,2,3,4\nb c.png,zebra,Valid,5,5,9,9\nc.png,,,,,,\n"
    table(tmp_path, f"filename,class,split,xmin,ymin,xmax,ymax\n{rows}")
    assert splits(tmp_path) == {"Valid": 1, "train": 1}
    assert default_splits(tmp_path) == ("train", "Valid", None)
    data = open_data(tmp_path, split="Valid")
    assert (data.files, data.class_names, len(data.labels)) == (("b c.png",), ("ant", "zebra"), 2)
    assert check(tmp_path).splits == {"Valid": 1, "train": 1, "": 1}
    assert len(open_data(tmp_path)) == 3


def test_a_column_of_other_words_is_no_split(tmp_path: Path) -> None:
    table(tmp_path, "filename,class,set,xmin,ymin,xmax,ymax\na.png,zebra,train,1,2,11,22\nb c.png,ant,night,1,2,3,4\n")
    assert splits(tmp_path) == {"boxes": 2}
    assert any("'night' is no split" in remark for remark in open_data(tmp_path).remarks)


def test_the_table_of_traffic_signs(tmp_path: Path) -> None:
    image(tmp_path / "00000.png")
    (tmp_path / "gt.txt").write_text("00000.png;1;2;11;22;5\n")
    assert open_data(tmp_path).boxes_xyxy.tolist() == [[1, 2, 11, 22]]


def test_a_row_takes_little_memory(tmp_path: Path) -> None:
    path = table(tmp_path, "a.png,1,2,11,22,zebra\n" * 20_000)
    tracemalloc.start()
    read_rows(TableText.open(path), {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 120
