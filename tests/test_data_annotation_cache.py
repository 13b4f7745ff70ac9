"""Parsed annotations are cached where the environment names a folder, and never used once damaged or out of date."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from singleshot.data import recognise
from singleshot.data.recognise import open_data
from singleshot.errors import DataError, RequestError
from singleshot.types import ARRAYS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    for name in ("a b.png", "ü.png"):
        cv2.imwrite(str(root / "train" / name), np.zeros((30, 40, 3), np.uint8))
    write(root, [[1, 2, 10, 12], [3, 4, 5, 6]])
    return root


def write(root: Path, boxes: list[list[int]]) -> None:
    content: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(("a b.png", "ü.png"))
        ],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 7, "bbox": box, "area": 9.5, "iscrowd": i % 2}
            for i, box in enumerate(boxes)
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    (root / "annotations/instances_train.json").write_text(json.dumps(content))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SINGLESHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def never(*_: object, **__: object) -> None:
    raise AssertionError("read again")


def test_without_the_variable_nothing_is_cached(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SINGLESHOT_CACHE", raising=False)
    before = sorted(tmp_path.rglob("*"))
    open_data(data)
    assert sorted(tmp_path.rglob("*")) == before


def test_cached_annotations_equal_those_that_were_read(
    data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_data(data, split="train")
    monkeypatch.setattr(recognise, "_read", never)
    again = open_data(data, split="train")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
        assert getattr(again, name).dtype == getattr(first, name).dtype
    for name in ("files", "ids", "class_names", "category_ids", "root", "format"):
        assert getattr(again, name) == getattr(first, name)
    assert again.fingerprint() == first.fingerprint()
    assert open_data(data, split="train", class_names=("dog", "cat")).class_names == ("dog", "cat")
    assert len(list(cache.iterdir())) == 1


def test_a_changed_file_is_read_again(data: Path, cache: Path) -> None:
    open_data(data)
    write(data, [[1, 2, 10, 12]])
    assert len(open_data(data).labels) == 1
    assert len(list(cache.iterdir())) == 2


def test_a_moved_set_is_read_again(data: Path, cache: Path) -> None:
    open_data(data)
    moved = data.rename(data.with_name("moved"))
    assert open_data(moved).path(0).is_file()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_cache_is_read_again(data: Path, cache: Path, content: bytes) -> None:
    first = open_data(data)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert open_data(data).fingerprint() == first.fingerprint()
    assert file.stat().st_size > 100


def test_a_set_with_faults_is_not_cached(data: Path, cache: Path) -> None:
    (data / "train/ü.png").write_bytes(b"GIF89a")
    with pytest.raises(DataError):
        open_data(data)
    assert not cache.exists()
    open_data(data, headers=False)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_named(data: Path, cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(RequestError, match="SINGLESHOT_CACHE"):
        open_data(data)


def test_one_changed_byte_is_read_again(data: Path, cache: Path) -> None:
    first = open_data(data)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    begin = 8 + int.from_bytes(whole[:8], "little")
    for place in (begin, (begin + len(whole)) // 2, len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert open_data(data).fingerprint() == first.fingerprint()
    file.write_bytes(whole.replace(b"header", b"headed", 1))
    assert open_data(data).fingerprint() == first.fingerprint()
    file.write_bytes(whole[:begin] + bytes(len(whole) - begin))
    assert open_data(data).fingerprint() == first.fingerprint()
