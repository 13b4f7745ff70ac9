"""Unpack an archive so that nothing of it lands outside its folder."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from singleshot.errors import DataError

MOST_BYTES = 200 << 30
MOST_FILES = 2_000_000


def unpack(archive: Path, into: Path) -> None:
    """Unpack a `.tar` or `.zip`: ordinary files alone, none outside `into`; files that are there are replaced.

    Raises:
        DataError: a link, a device, a name that leads outside, more than `MOST_BYTES` or `MOST_FILES`, or a damaged
            archive; files that came before it stay.
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
                shutil.copyfileobj(content, file, 1 << 20)
            if target.stat().st_size != size:
                raise DataError(f"{archive}: {name} is damaged")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DataError(f"{archive} is damaged: {error}") from error


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of each file of an archive; folders are made as they are needed."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as package:
            for info in package.infolist():
                kind = info.external_attr >> 28  # of the Unix mode: 0 where none is stated, 8 a file, 4 a folder
                if info.is_dir():
                    continue
                if kind not in {0, 8}:
                    raise DataError(f"{archive} holds {info.filename}, which is no ordinary file")
                with package.open(info) as content:
                    yield info.filename, info.file_size, content
        return
    with tarfile.open(archive, "r:*") as package:
        for member in package:
            if member.isdir():
                continue
            stream = package.extractfile(member) if member.isfile() else None
            if stream is None:
                raise DataError(f"{archive} holds {member.name}, which is no ordinary file")
            with stream:
                yield member.name, member.size, stream


def _inside(name: str, archive: Path) -> Path:
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or ":" in name or "\0" in name or not place.parts:
        raise DataError(f"{archive} holds {name!r}, which leads outside its folder")
    return Path(*place.parts)
