"""Download public data sets from their official addresses: resumable, verified, safely unpacked.

An archive must have its published checksum. Where none is published, the SHA-256 of the first download is recorded
beside the data, and later downloads must have the same.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from singleshot.errors import DataError, DownloadError, HashError, MachineError, UnknownNameError
from singleshot.files import write_json

Progress = Callable[[str, int, int], None]
"""Called with the archive's name, the bytes downloaded, and all bytes (0: unknown)."""

CHUNK = 1 << 20
MOST_BYTES, MOST_FILES = 200 << 30, 2_000_000
"""Largest archive, unpacked."""
TRIES = 5
"""Consecutive connections without a byte before giving up."""
TIMEOUT = 60.0
"""Seconds without a byte before a connection is given up."""
RECORDED = "downloads.json"
"""The file with the SHA-256 of every archive that was downloaded into the folder."""


@dataclass(frozen=True)
class Archive:
    """One file to download.

    Attributes:
        address: the official URL.
        md5: the published checksum; None where none is published.
    """

    address: str
    md5: str | None = None

    @property
    def name(self) -> str:
        """The file name."""
        return self.address.rpartition("/")[2]


@dataclass(frozen=True)
class PublicSet:
    """A data set that can be downloaded.

    Attributes:
        archives: its files.
        folder: of the unpacked set, relative to the output folder.
        into: folder to unpack the archives into, relative to the output folder.
        gigabytes: size of the archives.
        terms: licence of the images.
    """

    archives: tuple[Archive, ...]
    folder: str
    into: str
    gigabytes: float
    terms: str


_VOC, _COCO = "https://thor.robots.ox.ac.uk/pascal/VOC", "http://images.cocodataset.org"
_FLICKR = "images of Flickr's users under Flickr's terms: research, not redistribution"
DOWNLOADS = {
    "voc2007": PublicSet(
        (
            Archive(f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar", "c52e279531787c972589f7e41ab4ae64"),
            Archive(f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar", "b6e924de25625d8de591ea690078ad9f"),
        ),
        "VOCdevkit/VOC2007",
        "",
        0.9,
        _FLICKR,
    ),
    "voc2012": PublicSet(
        (Archive(f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar", "6cd6e144f989b92b3379bac3b3de84fd"),),
        "VOCdevkit/VOC2012",
        "",
        2.0,
        _FLICKR,
    ),
    "coco2017": PublicSet(
        (
            Archive(f"{_COCO}/annotations/annotations_trainval2017.zip"),
            Archive(f"{_COCO}/zips/val2017.zip"),
            Archive(f"{_COCO}/zips/train2017.zip"),
        ),
        "coco2017",
        "coco2017",
        20.3,
        _FLICKR,
    ),
}


def download(
    name: str,
    out: Path,
    *,
    keep: bool = False,
    on_progress: Progress = lambda *_: None,
    sources: dict[str, PublicSet] | None = None,
) -> Path:
    """Download, verify and unpack a data set; finished parts are not downloaded again.

    Args:
        name: a key of `DOWNLOADS`.
        out: folder to write into.
        keep: do not delete the archives afterwards.
        on_progress: called as bytes arrive.
        sources: the sets to choose from; None: `DOWNLOADS`.

    Returns:
        The folder of the set.

    Raises:
        UnknownNameError: no such set.
        DownloadError: the server answers with an error, or the connection breaks `TRIES` times without a byte; the next
            call continues where this one stopped.
        HashError: an archive does not have the published or recorded checksum; it is deleted.
        MachineError: not enough space on the disk.
    """
    sources = DOWNLOADS if sources is None else sources
    if name not in sources:
        raise UnknownNameError("data set to download", name, sources)
    source = sources[name]
    out.mkdir(parents=True, exist_ok=True)
    done = out / f".{name}.done"
    target = out / source.folder
    if done.exists() and target.is_dir():
        return target
    free, needed = shutil.disk_usage(out).free, int(2.2e9 * source.gigabytes)
    if free < needed:
        raise MachineError(f"{name} takes up to {needed / 1e9:.0f} GB while it is unpacked; {out} has {free / 1e9:.0f}")
    paths = []
    for archive in source.archives:
        path = out / archive.name
        if not path.exists():
            fetch(archive.address, path, on_progress=on_progress)
        _check(path, archive.md5, out / RECORDED)
        paths.append(path)
    for path in paths:
        unpack(path, out / source.into)
    done.touch()
    if not keep:
        for path in paths:
            path.unlink()
    return target


def fetch(address: str, path: Path, *, on_progress: Progress = lambda *_: None) -> None:
    """Download a file, continuing what an earlier try left in `<name>.part`.

    Raises:
        DownloadError: see `download`.
    """
    part = path.with_name(f"{path.name}.part")
    idle = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            whole = _continue(address, part, before, path.name, on_progress)
        except urllib.error.HTTPError as error:
            raise DownloadError(f"{address}: the server answers {error.code} {error.reason}") from error
        except (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            reason, whole = getattr(cause, "strerror", None) or str(cause) or type(error).__name__, None
        else:
            reason = "the connection ended early"
        size = part.stat().st_size if part.exists() else 0
        if whole is not None and size == whole:
            part.replace(path)
            return
        idle = idle + 1 if size <= before else 0
        if idle >= TRIES:
            raise DownloadError(f"{address} cannot be fetched: {reason}; {size:,} bytes are here, try again later")


def _continue(address: str, part: Path, have: int, name: str, on_progress: Progress) -> int | None:
    """Download until the connection ends; returns the file's length, None where the server does not state it.

    A server that ignores the range sends the whole file again.
    """
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 (our own addresses)
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 (our own addresses)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # all of it is here, or the file has changed
            stated = error.headers.get("Content-Range", "").rpartition("/")[2]
            if stated.isdigit() and int(stated) == have:
                return have
            part.unlink()
            return None
        raise
    with answer:
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        length = answer.headers.get("Content-Length", "")
        start = have if goes_on else 0
        whole = start + int(length) if length.isdigit() else None
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                start += len(chunk)
                on_progress(name, start, whole or 0)
    return start if whole is None else whole


def _check(path: Path, md5: str | None, record: Path) -> None:
    """Compare an archive with the published checksum, or with the one recorded at the first download."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False) if md5 else hashlib.sha256())
    actual = digest.hexdigest()
    known = json.loads(record.read_text()) if record.is_file() else {}
    expected = md5 or known.get(path.name, actual)
    if actual != expected:
        path.unlink()
        raise HashError(
            f"{path.name} is damaged or another one: its checksum is {actual}, expected {expected}; it was deleted"
        )
    if md5 is None and path.name not in known:
        write_json(record, {**known, path.name: actual})


def unpack(archive: Path, into: Path) -> None:
    """Unpack a `.tar` or `.zip`: only ordinary files, and only into `into`; existing files are replaced.

    Raises:
        DataError: a link, a device, a name that leads outside, more than `MOST_BYTES` or `MOST_FILES`, or a damaged
            archive; files unpacked before stay.
    """
    total = 0
    try:
        for count, (name, size, content) in enumerate(_members(archive), 1):
            target = into / _inside(name, archive)
            total += size
            if total > MOST_BYTES or count > MOST_FILES:
                raise DataError(f"{archive} unpacks to more than {MOST_BYTES >> 30} GiB or {MOST_FILES:,} files")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                shutil.copyfileobj(content, file, CHUNK)
            if target.stat().st_size != size:
                raise DataError(f"{archive}: {name} is damaged")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DataError(f"{archive} is damaged: {error}") from error


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of each file of an archive; folders are skipped."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as package:
            for info in package.infolist():
                kind = info.external_attr >> 28  # of the Unix mode: 0 where none is stated, 8 a file, 4 a folder
                if info.is_dir():
                    continue
                if kind not in {0, 8}:
                    raise DataError(f"{archive} holds {info.filename}, which is not an ordinary file")
                with package.open(info) as content:
                    yield info.filename, info.file_size, content
        return
    with tarfile.open(archive, "r:*") as package:
        for member in package:
            if member.isdir():
                continue
            stream = package.extractfile(member) if member.isfile() else None
            if stream is None:
                raise DataError(f"{archive} holds {member.name}, which is not an ordinary file")
            with stream:
                yield member.name, member.size, stream


def _inside(name: str, archive: Path) -> Path:
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in name or "\0" in name or not place.parts:
        raise DataError(f"{archive} holds {name!r}, which leads outside its folder")
    return Path(*place.parts)
