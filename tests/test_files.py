"""Reading ordinary files only, writing whole ones only."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from singleshot.errors import MachineError, RequestError
from singleshot.files import read_regular, require_output, write_whole


def test_only_ordinary_files_up_to_the_limit_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_regular(tmp_path / "a", 4)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless", "."):
        with pytest.raises(ValueError, match="ordinary file"):
            read_regular(tmp_path / name, 10)


def test_a_file_is_written_whole_and_a_link_replaced(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    write_whole(tmp_path / "link", "new")
    write_whole(tmp_path / "new" / "folder" / "a", b"bytes")
    assert (tmp_path / "outside").read_text() == "precious"
    assert (tmp_path / "link").read_text() == "new"


def test_a_disk_that_fills_up_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a", "old")
    written = []

    def full(descriptor: int) -> None:
        written.append(os.fstat(descriptor).st_size)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(MachineError, match=str(tmp_path / "a")):
        write_whole(tmp_path / "a", "much newer")
    assert written == [len("much newer")]
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_half_a_file_is_never_left(tmp_path: Path) -> None:
    """The kernel stops the write after 1000 bytes, as a disk that fills up does."""
    write_whole(tmp_path / "a", "old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_whole(tmp_path / "a", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_we_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that survives a power cut: content flushed, renamed, folder flushed."""
    steps = []
    replace = Path.replace

    def fsync(descriptor: int) -> None:
        found = os.fstat(descriptor)
        steps.append("flush folder" if stat.S_ISDIR(found.st_mode) else f"flush {found.st_size} bytes")

    def renamed(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "a", "content")
    assert steps == ["flush 7 bytes", "rename", "flush folder"]


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
