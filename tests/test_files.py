"""Reading ordinary files only, writing whole ones only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from singleshot.errors import MachineError, RequestError
from singleshot.files import read_regular, require_output, write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_only_ordinary_files_up_to_the_limit_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_regular(tmp_path / "a", 4)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless", "."):
        with pytest.raises(ValueError, match="no ordinary file"):
            read_regular(tmp_path / name, 10)


def test_a_file_is_written_whole_and_a_link_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    write_whole(tmp_path / "link", "new")
    write_whole(tmp_path / "new" / "folder" / "a", b"bytes")
    assert (tmp_path / "outside").read_text() == "precious"
    assert (tmp_path / "link").read_text() == "new"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(MachineError, match="no space left"):
        write_whole(tmp_path / "link", "newer")
    monkeypatch.undo()
    assert (tmp_path / "link").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "new", "outside"]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_outputs_that_would_hurt_are_refused_before_any_work(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "set.csv").write_text("a")
    require_output(None, "--json", [data])
    require_output(data / "new.json", "--json", [data])
    require_output(tmp_path / "deep" / "er" / "x.json", "--json", [data / "set.csv"])
    for path, message in (
        (data, "is a folder"),
        (data / "set.csv", "would replace"),
        (data / "set.csv" / "x", "no folder that can be written to"),
    ):
        with pytest.raises(RequestError, match=message):
            require_output(path, "--json", [data])
