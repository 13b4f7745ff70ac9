"""Downloads from a server on this machine: resumed, checked, unpacked with care."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from singleshot.cli.main import run
from singleshot.data import download as downloading
from singleshot.data.download import DOWNLOADS, RECORDED, Archive, PublicSet, download, fetch, unpack
from singleshot.errors import DataError, DownloadError, HashError, MachineError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(ThreadingHTTPServer):
    """Serves `files`; breaks the first `breaks` answers off after `after` bytes; knows ranges unless told not to."""

    files: dict[str, bytes]
    breaks = 0
    after = 300_000
    ranges = True
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if self.server.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            self.wfile.write(content[start : start + self.server.after])
            self.close_connection = True
            return
        self.wfile.write(content[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server(("127.0.0.1", 0), Handler)
    one.files, one.asked = {"a.bin": CONTENT}, []
    thread = Thread(target=one.serve_forever, daemon=True)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()
    thread.join()


def address(server: Server, name: str = "a.bin") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


def test_a_broken_connection_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    seen: list[int] = []
    fetch(address(server), tmp_path / "a.bin", on_progress=lambda _, here, _whole: seen.append(here))
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]
    assert seen[-1] == len(CONTENT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin"]


def test_a_server_that_knows_no_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.ranges, server.breaks = False, 1
    fetch(address(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_what_an_earlier_try_left_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    fetch(address(server), tmp_path / "a.bin")
    assert server.asked == ["bytes=1000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    (tmp_path / "b.bin.part").write_bytes(CONTENT)  # all of it, but broken off before it got its name
    fetch(address(server), tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == CONTENT
    (tmp_path / "c.bin.part").write_bytes(CONTENT + b"more")  # another file by now
    fetch(address(server), tmp_path / "c.bin")
    assert (tmp_path / "c.bin").read_bytes() == CONTENT


def test_failures_are_one_line_and_keep_what_came_in(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="404"):
        fetch(address(server, "none"), tmp_path / "none")
    server.breaks, server.after = 100, 0
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match="1,000 bytes"):
        fetch(address(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:1000]
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="refused"):
        fetch(address(server), tmp_path / "b.bin")
    assert DownloadError("").exit_code == 3


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as package:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            package.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def sources(server: Server) -> dict[str, PublicSet]:
    server.files = {"v.tar": tar_of({"kit/V/a.txt": b"a"}), "c.zip": zip_of({"annotations/i.json": b"{}"})}
    md5 = hashlib.md5(server.files["v.tar"], usedforsecurity=False).hexdigest()
    return {
        "v": PublicSet((Archive(address(server, "v.tar"), md5),), "kit/V", "", 1e-6, ""),
        "c": PublicSet((Archive(address(server, "c.zip")),), "c", "c", 1e-6, ""),
        "large": PublicSet((), "l", "", 1e9, ""),
    }


def test_a_set_is_fetched_checked_and_unpacked_once(
    server: Server, sources: dict[str, PublicSet], tmp_path: Path
) -> None:
    assert download("v", tmp_path, sources=sources) == tmp_path / "kit/V"
    assert (tmp_path / "kit/V/a.txt").read_bytes() == b"a"
    assert not (tmp_path / "v.tar").exists()
    assert download("c", tmp_path, sources=sources, keep=True) == tmp_path / "c"
    assert (tmp_path / "c/annotations/i.json").read_bytes() == b"{}"
    assert (tmp_path / "c.zip").exists()
    count = len(server.asked)
    download("v", tmp_path, sources=sources)
    assert len(server.asked) == count
    with pytest.raises(MachineError, match="takes up to"):
        download("large", tmp_path, sources=sources)
    with pytest.raises(UnknownNameError, match="voc"):
        download("voc2006", tmp_path)


def test_another_content_is_deleted_and_refused(server: Server, sources: dict[str, PublicSet], tmp_path: Path) -> None:
    good = server.files["v.tar"]
    server.files["v.tar"] = good[:-1] + b"x"
    with pytest.raises(HashError, match="it was deleted"):
        download("v", tmp_path, sources=sources)
    assert not list(tmp_path.glob("v.tar*"))
    server.files["v.tar"] = good
    download("v", tmp_path, sources=sources)
    download("c", tmp_path, sources=sources)
    written = json.loads((tmp_path / RECORDED).read_text())
    assert written == {"c.zip": hashlib.sha256(server.files["c.zip"]).hexdigest()}
    (tmp_path / ".c.done").unlink()
    server.files["c.zip"] = zip_of({"annotations/i.json": b"[]"})
    with pytest.raises(HashError, match="expected"):
        download("c", tmp_path, sources=sources)
    assert (tmp_path / "c/annotations/i.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "C:/out", "..\\out"])
def test_nothing_lands_outside(tmp_path: Path, name: str) -> None:
    for suffix, content in ((".tar", tar_of({name: b"x"})), (".zip", zip_of({name: b"x"}))):
        archive = tmp_path / f"a{suffix}"
        archive.write_bytes(content)
        with pytest.raises(DataError, match="leads outside"):
            unpack(archive, tmp_path / "in")
    assert not (tmp_path / "out").exists()


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
        with tarfile.open(tmp_path / "a.tar", "w") as package:
            info = tarfile.TarInfo("a")
            info.type, info.linkname = kind, "/etc/passwd"
            package.addfile(info)
        with pytest.raises(DataError, match="ordinary file"):
            unpack(tmp_path / "a.tar", tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as package:
        link = zipfile.ZipInfo("a")
        link.external_attr = 0xA1FF << 16
        package.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="ordinary file"):
        unpack(tmp_path / "a.zip", tmp_path / "in")


def test_damaged_and_huge_archives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar").write_bytes(b"x" * 600)
    (tmp_path / "a.zip").write_bytes(zip_of({"a": b"x" * 600})[:-10])
    for name in ("a.tar", "a.zip"):
        with pytest.raises(DataError, match="is damaged"):
            unpack(tmp_path / name, tmp_path / "in")
    monkeypatch.setattr("singleshot.data.download.MOST_BYTES", 100)
    (tmp_path / "b.zip").write_bytes(zip_of({"a": b"x" * 600}))
    with pytest.raises(DataError, match="unpacks to more"):
        unpack(tmp_path / "b.zip", tmp_path / "in")


def test_the_command(
    sources: dict[str, PublicSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(downloading, "DOWNLOADS", {**DOWNLOADS, **sources})
    assert run(["data", "download", "v", "--out", str(tmp_path / "d")]) == 0
    assert str(tmp_path / "d/kit/V") in capsys.readouterr().out
    assert run(["data", "download", "voc2077", "--out", str(tmp_path / "d")]) == 2
    assert "voc2007" in capsys.readouterr().err
