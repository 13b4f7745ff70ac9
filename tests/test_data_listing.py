from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from singleshot.data.listing import files_in, folders_below, folders_in

if TYPE_CHECKING:
    from pathlib import Path


def test_files_and_folders_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.json", "A.JSON", ".c.json", "d.txt"):
        (tmp_path / name).touch()
    for name in ("y", "x", ".z"):
        (tmp_path / name).mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "x")
    assert [file.name for file in files_in(tmp_path, ".json")] == ["A.JSON", "b.json"]
    assert [folder.name for folder in folders_in(tmp_path)] == ["linked", "x", "y"]


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_folder_holds_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert files_in(tmp_path / name, ".json") == folders_in(tmp_path / name) == []


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    for name in ("a/inner", "b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/here").symlink_to(".")
    (tmp_path / "a/to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b/to_a").symlink_to(tmp_path / "a")
    below = [folder.relative_to(tmp_path).as_posix() for folder in folders_below(tmp_path)]
    assert below == [".", "a", "a/inner", "a/to_b", "b", "b/to_a", "b/to_a/inner"]
    assert [folder.name for folder in folders_below(tmp_path / "a")] == ["a", "inner", "to_b"]
    assert [folder.name for folder in folders_below(tmp_path / "a", deepest=0)] == ["a"]
