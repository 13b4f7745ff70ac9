from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_fixtures import image, voc, xml
from golden import SHARED, needs_shared
from singleshot.data.recognise import open_data, recognise
from singleshot.data.voc import read_voc, voc_splits
from singleshot.data.voc_xml import LIMIT_BYTES, parse_xml
from singleshot.errors import DataError, RequestError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

CAT = ("cat", (1, 2, 11.5, 22))


def kinds(result):
    return [fault.kind for fault in result.faults]


def test_boxes_are_as_the_file_states_them(tmp_path: Path) -> None:
    text = xml([CAT, ("dog", (0, 0, 40, 30))], difficult=(2,))
    data = read_voc(voc(tmp_path / "v", {"a": text})).annotations
    np.testing.assert_array_equal(data.boxes_xyxy, np.float32([[1, 2, 11.5, 22], [0, 0, 40, 30]]))
    assert data.class_names == ("cat", "dog")
    assert data.category_ids == (1, 2)
    assert data.labels.tolist() == [0, 1]
    assert data.difficult.tolist() == [False, True]
    assert data.areas.tolist() == [210, 1200]
    assert data.sizes_wh.tolist() == [[40, 30]]
    assert data.files == ("JPEGImages/a.png",)
    assert data.ids == ("a",)
    assert data.path(0).is_file()


def test_splits_take_their_images_in_order_and_share_class_names(tmp_path: Path) -> None:
    root = voc(
        tmp_path / "v",
        {"a": [("zebra", (1, 1, 5, 5))], "b": [], "c": [("ant", (2, 2, 9, 9)), ("zebra", (1, 1, 4, 4))]},
        {"train": ["c", "b"], "test": ["a"]},
    )
    train, test = read_voc(root, split="train").annotations, read_voc(root, split="test").annotations
    assert train.ids == ("c", "b")
    assert train.starts.tolist() == [0, 2, 2]
    assert train.class_names == test.class_names == ("ant", "zebra")
    assert test.labels.tolist() == [1]
    assert len(read_voc(root).annotations) == 3
    assert voc_splits(root) == {"test": 1, "train": 2}


def test_voc_names_stand_in_voc_order_and_only_those_that_occur(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [("person", (1, 1, 5, 5)), ("car", (1, 1, 5, 5)), ("train", (1, 1, 5, 5))]})
    assert read_voc(root).annotations.class_names == ("car", "person", "train")


def test_unknown_split_offers_the_nearest(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT]}, {"train": ["a"], "val": ["a"]})
    with pytest.raises(UnknownNameError, match=r"'trian'.*train"):
        read_voc(root, split="trian")
    with pytest.raises(DataError, match="has no lists"):
        read_voc(voc(tmp_path / "w", {"a": [CAT]}), split="train")


def test_the_lists_of_one_class_are_no_splits(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT], "b": []}, {"train": ["a", "b"], "cat_train": ["a  1", "b -1"]})
    assert voc_splits(root) == {"train": 2}


def test_windows_newlines_marks_spaces_and_upper_case(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"my image 1": [CAT]})
    (root / "JPEGImages/my image 1.png").unlink()
    image(root / "JPEGImages/my image 1.JPG")
    lists = root / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_bytes("\ufeffmy image 1\r\n\r\n".encode())
    marked = "\ufeff" + '<?xml version="1.0" encoding="UTF-8"?>\r\n' + xml([CAT]).replace("\n", "\r\n")
    (root / "Annotations/my image 1.xml").write_bytes(marked.encode())
    result = read_voc(root, split="train")
    assert result.faults == ()
    assert result.annotations.files == ("JPEGImages/my image 1.JPG",)
    assert len(result.annotations.labels) == 1


def test_two_images_of_one_stem_are_told_apart_by_filename(tmp_path: Path) -> None:
    text = xml([CAT]).replace("<annotation>", "<annotation><filename>a.png</filename>")
    root = voc(tmp_path / "v", {"a": text})
    image(root / "JPEGImages/a.jpg")
    assert read_voc(root).annotations.files == ("JPEGImages/a.png",)


def test_hidden_files_are_left_alone(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT]})
    (root / "Annotations/._a.xml").write_bytes(b"\0\5\26\7")
    (root / "JPEGImages/._a.png").write_bytes(b"\0\5\26\7")
    assert read_voc(root).faults == ()
    assert len(read_voc(root).annotations) == 1


def test_no_size_no_objects(tmp_path: Path) -> None:
    data = read_voc(voc(tmp_path / "v", {"a": xml([], size=None), "b": [CAT]})).annotations
    assert data.sizes_wh.tolist() == [[0, 0], [40, 30]]
    assert len(data.ground_truth(0)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object><name>cat</name></object></annotation>", "no <bndbox><xmin>"),
        (xml([("cat", ("left", 1, 2, 3))]), "<xmin> must be a number, got 'left'"),
        (xml([("", (1, 1, 2, 3))]), "no <name>"),
        ("<html></html>", "expected <annotation>, got <html>"),
        ("not xml", "not XML"),
        ("", "not XML"),
    ],
)
def test_what_cannot_be_understood_is_a_fault(tmp_path: Path, text: str, message: str) -> None:
    result = read_voc(voc(tmp_path / "v", {"a": text, "b": [CAT]}))
    assert kinds(result) == ["malformed"]
    assert message in result.faults[0].detail
    assert result.faults[0].file == "Annotations/a.xml"
    assert len(result.annotations) == 2


def test_an_annotation_that_never_ends_is_a_fault(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT], "b": [CAT]})
    for name, make in (("a", lambda path: path.symlink_to("/dev/zero")), ("b", os.mkfifo)):
        path = root / "Annotations" / f"{name}.xml"
        path.unlink()
        make(path)
    result = read_voc(root)
    assert kinds(result) == ["malformed", "malformed"]
    assert all("ordinary file" in fault.detail for fault in result.faults)


def test_numbers_count_objects_that_were_left_out(tmp_path: Path) -> None:
    result = read_voc(voc(tmp_path / "v", {"a": xml([("cat", ("?", 1, 2, 3)), CAT])}))
    assert result.faults[0].number == 1
    assert result.object_numbers.tolist() == [2]


def test_missing_and_doubled_entries(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT], "b": [CAT]}, {"train": ["a", "a", "ghost"], "val": ["b"]})
    (root / "JPEGImages/b.png").unlink()
    assert kinds(read_voc(root, split="train")) == ["duplicate id", "missing annotation"]
    assert kinds(read_voc(root, split="val")) == ["missing image"]
    assert len(read_voc(root, split="train").annotations) == 1


BOMB = (
    '<!DOCTYPE a [<!ENTITY x "ha">'
    + "".join(f'<!ENTITY x{i} "{f"&x{i - 1 if i else str()};" * 10}">' for i in range(9))
    + "]><annotation><object><name>&x8;</name></object></annotation>"
)
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation><filename>&x;</filename></annotation>'


@pytest.mark.parametrize("payload", [BOMB, EXTERNAL, "<!DOCTYPE a SYSTEM 'http://localhost/x.dtd'><annotation/>"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp037"])
def test_entities_are_refused_at_once_in_any_encoding(payload: str, encoding: str) -> None:
    declared = f'<?xml version="1.0" encoding="{encoding}"?>'
    content = (
        declared.encode() + payload.encode(encoding) if encoding == "cp037" else (declared + payload).encode(encoding)
    )
    start = time.process_time()
    with pytest.raises(ValueError, match=r"entities|not XML"):
        parse_xml(content)
    assert time.process_time() - start < 0.1


def test_plain_files_and_commented_files_give_the_same() -> None:
    plain = parse_xml(b"<annotation><filename>a</filename></annotation>")
    guarded = parse_xml(b"<annotation><!-- by hand --><filename>a</filename></annotation>")
    assert plain.findtext("filename") == guarded.findtext("filename") == "a"


def test_huge_and_deep_files() -> None:
    with pytest.raises(ValueError, match="at most"):
        parse_xml(b" " * (LIMIT_BYTES + 1))
    assert parse_xml(b"<a>" * 50_000 + b"</a>" * 50_000).tag == "a"


def labelled(
    folder: Path, name: str, xml_folder: Path | None = None, *, text: str | None = None, seed: int = 0
) -> None:
    """An image, and its XML beside it or in another folder."""
    image(folder / f"{name}.png", seed=seed)
    target = (xml_folder or folder) / f"{name}.xml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(xml([CAT]) if text is None else text, encoding="utf-8")


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("images", "annotations"),
        ("images", "Annotations"),
        ("data", "labels"),
        ("photos", "annotations"),
        ("JPEGImages", "Annotations"),
        ("images", "images"),
        ("", ""),
        ("", "annotations"),
        ("images", "annots"),
        ("images/frames", "annotations/frames"),
        ("images", "annotations/xmls"),
    ],
)
def test_folders_of_other_tools(tmp_path: Path, images: str, annotations: str) -> None:
    for seed, name in enumerate("ab"):
        labelled(tmp_path / images, name, tmp_path / annotations, seed=seed)
    assert recognise(tmp_path) == "voc"
    result = read_voc(tmp_path)
    assert (result.faults, result.remarks) == ((), ())
    assert result.annotations.files == tuple(f"{images}/{name}.png".lstrip("/") for name in "ab")
    assert voc_splits(tmp_path) == {}


@pytest.mark.parametrize(
    ("images", "annotations"),
    [("{}", "{}"), ("images/{}", "images/{}"), ("{}/images", "{}/annotations"), ("images/{}", "annotations/{}")],
)
def test_the_folders_of_splits(tmp_path: Path, images: str, annotations: str) -> None:
    """The same names in each split, as many tools write them."""
    for seed, split in enumerate(("train", "test")):
        labelled(tmp_path / images.format(split), "a", tmp_path / annotations.format(split), seed=seed)
    labelled(tmp_path / images.format("train"), "b", tmp_path / annotations.format("train"), seed=9)
    assert recognise(tmp_path) == "voc"
    assert voc_splits(tmp_path) == {"test": 1, "train": 2}
    assert read_voc(tmp_path, split="test").annotations.files == (f"{images.format('test')}/a.png",)
    result = read_voc(tmp_path)
    assert result.faults == ()
    assert len(set(result.annotations.files)) == len(set(result.annotations.ids)) == 3


def test_listed_images_without_xml_are_background(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [CAT]}, {"train": ["a", "empty", "ghost"]})
    for name in ("empty", "unlisted"):
        image(root / "JPEGImages" / f"{name}.png")
    result = read_voc(root, split="train")
    assert kinds(result) == ["missing annotation"]
    assert result.annotations.files == ("JPEGImages/a.png", "JPEGImages/empty.png")
    assert len(result.annotations.labels) == 1
    assert result.remarks == (
        "1 images are listed and have no .xml: background, such as JPEGImages/empty.png",
        "1 images have no .xml and are left out, such as JPEGImages/unlisted.png",
    )


@pytest.mark.parametrize(
    "line",
    [
        "a b.png",
        "JPEGImages/a b.png",
        "./a b",
        "D:\\set\\JPEGImages\\a b.png",
        "/data/JPEGImages/a b.png",
        "a%20b",
        "a b.xml",
    ],
)
def test_lists_name_images_in_many_ways(tmp_path: Path, line: str) -> None:
    root = voc(tmp_path / "v", {"a b": [CAT], "c": [CAT]}, {"train": [line]})
    result = read_voc(root, split="train")
    assert result.faults == ()
    assert result.annotations.ids == ("a b",)


def test_images_are_found_by_decoded_names_and_by_filename(tmp_path: Path) -> None:
    root = tmp_path / "v"
    labelled(root / "JPEGImages", "my photo", root / "Annotations")
    (root / "Annotations/my photo.xml").rename(root / "Annotations/my%20photo.xml")
    other = xml([CAT]).replace("<annotation>", "<annotation><filename>C:\\photos\\scan.png</filename>")
    labelled(root / "JPEGImages", "scan", root / "Annotations", text=other, seed=1)
    (root / "Annotations/scan.xml").rename(root / "Annotations/000001.xml")
    result = read_voc(root)
    assert result.faults == ()
    assert result.annotations.files == ("JPEGImages/scan.png", "JPEGImages/my photo.png")
    (root / "Annotations/scan.xml").write_text(xml([CAT]))
    assert kinds(read_voc(root)) == ["duplicate id"]


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "big5", "euc-kr", "windows-1252", "utf-16"])
def test_declared_encodings_are_read(encoding: str) -> None:
    name = "caf\u00e9" if encoding == "windows-1252" else "\ud55c" if encoding == "euc-kr" else "\u5c71"
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<annotation><filename>{name}</filename></annotation>'
    assert parse_xml(text.encode(encoding)).findtext("filename") == name


def test_encodings_that_hide_entities_and_lie_are_refused() -> None:
    for encoding in ("gbk", "utf-7"):
        with pytest.raises(ValueError, match="entities"):
            parse_xml(f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + BOMB.encode(encoding))
    with pytest.raises(ValueError, match="declare their encoding"):
        parse_xml("<annotation><filename>\u4e2d\u6587</filename></annotation>".encode("gbk"))
    many = b'<?xml version="1.0" encoding="gbk"?>' * 10_000
    with pytest.raises(ValueError, match="not XML"):
        parse_xml(many)


@pytest.mark.parametrize(
    "content",
    [
        b"<?xml " + b'encoding="a" ' * 300_000,
        b'<?xml version="1.0" encoding="punycode"?><annotation>' + b"a" * 10**6 + b"-" + b"bcd9" * 500_000,
    ],
)
def test_a_declaration_that_takes_for_ever_is_refused_at_once(content: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(ValueError, match="not XML"):
        parse_xml(content)
    assert time.perf_counter() - start < 5


def test_a_plain_doctype_is_read() -> None:
    content = b'<?xml version="1.0"?><!DOCTYPE annotation><annotation><filename>a</filename></annotation>'
    assert parse_xml(content).findtext("filename") == "a"
    with pytest.raises(ValueError, match="entities"):
        parse_xml(content.replace(b"annotation>", b"annotation [<!ENTITY x 'y'>]>", 1))


def test_other_xml_is_no_set(tmp_path: Path) -> None:
    (tmp_path / "pom.xml").write_text("<project></project>")
    with pytest.raises(RequestError, match="no data set"):
        recognise(tmp_path)


@needs_shared
def test_shared_sets() -> None:
    bccd = read_voc(SHARED / "data/bccd").annotations
    assert (len(bccd), len(bccd.labels), bccd.class_names) == (364, 4888, ("Platelets", "RBC", "WBC"))
    root = SHARED / "data/voc2007"
    assert len(read_voc(root, split="trainval").annotations) == 996
    test = read_voc(root, split="test")
    assert len(test.annotations) == 511
    assert len(test.annotations.class_names) == 20
    assert test.faults == ()


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    image(tmp_path / "a.PNG")
    (tmp_path / "a.XML").write_text(xml([CAT]))
    assert recognise(tmp_path) == "voc"
    assert read_voc(tmp_path).annotations.files == ("a.PNG",)


@pytest.mark.parametrize(
    ("shape", "box", "remark"),
    [
        ("<robndbox><cx>20</cx><cy>15</cy><w>10</w><h>4</h><angle>1.5707963</angle></robndbox>", [18, 10, 22, 20],
         "1 turned boxes"),
        ("<polygon><x1>1</x1><y1>2</y1><x2>9</x2><y2>3</y2><x3>5</x3><y3>8</y3></polygon>", [1, 2, 9, 8], "1 polygons"),
        ("<polygon><pt><x>1</x><y>2</y></pt><pt><x>9</x><y>8</y></pt></polygon>", [1, 2, 9, 8], "1 polygons"),
        ("<polygon><x1>0</x1><y1>0</y1></polygon><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax>"
         "</bndbox>", [1, 2, 9, 8], ""),
    ],
)  # fmt: skip
def test_oriented_boxes_and_polygons_become_upright(tmp_path: Path, shape: str, box: list[float], remark: str) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(f"<annotation><object><name>cat</name>{shape}</object></annotation>")
    result = read_voc(tmp_path)
    np.testing.assert_allclose(result.annotations.boxes_xyxy, [box], atol=1e-4)
    assert result.faults == ()
    assert "".join(result.remarks).startswith(remark)
    assert bool(result.remarks) == bool(remark)


@pytest.mark.parametrize("folder", ["ImageSets", ""])
@pytest.mark.parametrize("line", ["p{}", "JPEGImages/p{}.png", "./JPEGImages/p{}.png ./Annotations/p{}.xml"])
def test_lists_in_other_places(tmp_path: Path, folder: str, line: str) -> None:
    root = voc(tmp_path, {f"p{i}": [CAT] for i in range(3)})
    (root / folder).mkdir(exist_ok=True)
    (root / folder / "train.txt").write_text("".join(f"{line.format(i, i)}\n" for i in (0, 1)))
    (root / folder / "val.txt").write_text(line.format(2, 2))
    (root / folder / "classes.txt").write_text("cat\n")
    assert voc_splits(root) == {"train": 2, "val": 1}
    assert read_voc(root, split="val").annotations.ids == ("p2",)
    (root / folder / "val.txt").write_text(line.format(7, 7))
    assert voc_splits(root).get("val") == (1 if folder else None)  # in the root it may be any file


def test_a_fault_names_the_list_where_it_lies(tmp_path: Path) -> None:
    root = voc(tmp_path, {"p0": [CAT]})
    (root / "train.txt").write_text("p0\np9\n")
    assert [fault.file for fault in read_voc(root, split="train").faults] == ["train.txt"]


def test_labels_that_darknet_made_of_the_xml_are_left_aside(tmp_path: Path) -> None:
    root = voc(tmp_path, {"p0": [CAT]})
    (root / "labels").mkdir()
    (root / "labels/p0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    data = open_data(root)
    assert data.format == "voc"
    assert any("left aside" in remark for remark in data.remarks)


@pytest.mark.parametrize("tag", ["robndbox", "polygon"])
def test_a_shape_in_place_of_the_box_is_named(tmp_path: Path, tag: str) -> None:
    image(tmp_path / "a.png")
    shape = f"<object><name>cat</name><{tag}><cx>1</cx></{tag}></object>"
    (tmp_path / "a.xml").write_text(f"<annotation><filename>a.png</filename>{shape}</annotation>")
    assert f"<{tag}>" in read_voc(tmp_path).faults[0].detail


def test_vocs_folders_in_those_of_splits(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("test", "b")):
        voc(tmp_path / split, {name: [CAT]})
    assert voc_splits(tmp_path) == {"test": 1, "train": 1}
    assert open_data(tmp_path).files == ("test/JPEGImages/b.png", "train/JPEGImages/a.png")
