from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from singleshot.data.listing import files_in, folders_in

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
