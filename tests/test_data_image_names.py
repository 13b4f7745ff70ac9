from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from data_fixtures import image
from singleshot.data.image_names import locate_images, remark_on_names

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("images/a.png", "images/b c.png", "train/a.png", "deep/er/d.png", "e.png"):
        image(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.png", "images/a.png"),
        ("./a.png", "images/a.png"),
        ("images/a.png", "images/a.png"),
        ("images\\b c.png", "images/b c.png"),
        ("b%20c.png", "images/b c.png"),
        ("images/B C.PNG", "images/b c.png"),
        ("e.png", "e.png"),
        ("er/d.png", "deep/er/d.png"),
        ("http://host:8080/data/upload/1/a.png", "images/a.png"),
        ("https://host/x/images/b%20c.png?key=1#part", "images/b c.png"),
        ("file:///home/someone/set/train/a.png", "train/a.png"),
        ("gs://bucket/set/a.png", "images/a.png"),
        ("/data/local-files/?d=set/images/a.png", "images/a.png"),
        ("/data/upload/1/0a1b2c3d-a.png", "images/a.png"),
        ("C:\\Users\\someone\\set\\train\\a.png", "train/a.png"),
        ("\\\\server\\share\\e.png", "e.png"),
    ],
)
def test_one_name(root: Path, name: str, file: str) -> None:
    located = locate_images([name], root, ["images", ""])
    assert (located.files, located.faults) == ([file], [])


def test_an_absolute_name_that_is_there_counts_as_it_is(root: Path) -> None:
    located = locate_images([str(root / "deep/er/d.png"), str(root / "e.png")], root / "images", ["", ".."])
    assert located.files == ["../deep/er/d.png", "../e.png"]
    assert located.shortened == {}


def test_the_folder_with_the_most_names_counts_for_all(root: Path) -> None:
    located = locate_images(["a.png", "b c.png", "e.png"], root, ["train", "images", ""])
    assert located.files == ["images/a.png", "images/b c.png", "images/e.png"]
    assert [(fault.kind, fault.file) for fault in located.faults] == [("missing image", "images/e.png")]


def test_a_missing_image_is_never_another_folders(root: Path) -> None:
    located = locate_images(["b c.png", "d.png"], root, ["images"])
    assert [fault.file for fault in located.faults] == ["images/d.png"]


def test_an_address_is_never_opened_and_says_so(root: Path) -> None:
    fault = locate_images(["http://host/nothing.png"], root, [""]).faults[0]
    assert "address" in fault.detail
    assert "nothing.png" in fault.detail


def test_what_may_be_two_files_is_a_fault(root: Path) -> None:
    fault = locate_images(["/somewhere/a.png"], root, [""]).faults[0]
    assert fault.kind == "missing image"
    assert "images/a.png, train/a.png" in fault.detail
    fault = locate_images(["/data/upload/1/e.png", "/data/upload/2/e.png"], root, [""]).faults[0]
    assert (fault.kind, fault.file) == ("duplicate id", "e.png")
    assert locate_images(["e.png", "./e.png"], root, [""]).faults[0].kind == "duplicate id"
    assert locate_images(["e.png", "e.png"], root, [""]).faults == []


def test_names_without_a_suffix(root: Path) -> None:
    located = locate_images(["a", "b c"], root, ["images"], without_suffix=True)
    assert located.files == ["images/a.png", "images/b c.png"]
    assert locate_images(["d"], root, ["images"], without_suffix=True).files == ["deep/er/d.png"]


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 9000, "..", "/", "http://[bad/a", "?" * 50, "/dev/stdin"])
def test_impossible_names_are_missing(root: Path, name: str) -> None:
    assert [fault.kind for fault in locate_images([name], root, ["images", ""]).faults] == ["missing image"]


def test_what_was_shortened_is_counted(root: Path) -> None:
    located = locate_images(["/data/upload/1/e.png", "/x/deep/er/d.png"], root, [""])
    assert remark_on_names(located) == (
        "2 images found by the end of their path, such as '/data/upload/1/e.png' as e.png"
    )
    assert remark_on_names(locate_images(["e.png"], root, [""])) == ""


def test_an_image_that_was_saved_in_another_format(tmp_path: Path) -> None:
    for name in ("images/a.png", "images/b.jpg", "c.png"):
        image(tmp_path / name)
    names = ["a.ppm", "b.JP2", "/data/x/c.ppm", "a.bmp", "d.ppm"]
    located = locate_images(names, tmp_path, ["images", ""])
    assert located.files == ["images/a.png", "images/b.jpg", "c.png", "images/a.bmp", "images/d.ppm"]
    assert [fault.file for fault in located.faults] == ["images/a.bmp", "images/d.ppm"]
    assert "another suffix" in remark_on_names(located)
