"""The folder of a job over many files: its list of files, and the results that are whole, in shards of 100 files.

    out.jsonl.job/
        job.json       what was asked for, and how many files; written last, so that a folder with it has the whole list
        files.jsonl    the files in order, a JSON string each
        shards/        00000000.jsonl holds the first hundred files' results, a line each, 00000001.jsonl the next

A shard is written beside its place and renamed, so what is there is whole. Its number says which files it holds; so
whoever computes a shard again, after a kill or by mistake, writes the same one, and no file is there twice or missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from singleshot.commands.growing_file import GrowingFile, json_line
from singleshot.errors import RequestError
from singleshot.files import exclusive, parse_json, read_regular, validated, write_json, write_whole

SHARD_FILES = 100
FORMAT = 1
JOB, LIST, SHARDS, LOCK = "job.json", "files.jsonl", "shards", "lock"
LARGEST_SHARD = 2**30


@dataclass(frozen=True)
class JobDescription:
    """What `job.json` holds.

    Attributes:
        format: version of the folder's format.
        settings: what determines the results, by the name under which the user knows it; plain values.
        files: how many there are.
        failed: how many could not be used, once the job is done; None before.
    """

    format: int
    settings: dict[str, Any]
    files: int
    failed: int | None = None


@dataclass
class ShardInWork:
    """A shard whose results are not all there.

    Attributes:
        number: 0 for the first hundred files.
        files: its files.
        lines: the JSON line of each file; None where it has to be made.
    """

    number: int
    files: list[str]
    lines: list[str | None]

    @property
    def missing(self) -> list[str]:
        """The files to do."""
        return [file for file, line in zip(self.files, self.lines, strict=True) if line is None]

    def add(self, row: Mapping[str, Any]) -> None:
        """Take the result of the first missing file."""
        place = self.lines.index(None)
        if row["file"] != self.files[place]:
            raise AssertionError(f"the result of {row['file']} came in place of {self.files[place]}")
        self.lines[place] = json_line(row)


class JobFolder:
    """A job that this process alone works at; see `opened`.

    Attributes:
        place: the folder.
        description: what `job.json` holds.
        resumed: whether an earlier process began it.
    """

    def __init__(self, place: Path, description: JobDescription, *, resumed: bool) -> None:
        self.place = place
        self.description = description
        self.resumed = resumed

    @classmethod
    @contextmanager
    def opened(cls, place: Path, settings: Mapping[str, Any], files: Iterable[str]) -> Iterator[JobFolder]:
        """Go on with the job in a folder, or begin it there.

        Args:
            place: the folder.
            settings: see `JobDescription`.
            files: the files to do; read only where the job begins.

        Raises:
            RequestError: another process works at it, or it was begun with other settings; the message names them.
            MachineError: no space left on the disk.
        """
        place.mkdir(parents=True, exist_ok=True)
        with exclusive(place / LOCK, f"another process works at {place}: wait for its end, or stop it"):
            for half in (*place.glob(".*.part"), *(place / SHARDS).glob(".*.part")):
                half.unlink()  # of a process that was killed
            resumed = (place / JOB).is_file()
            if not resumed:
                try:
                    _begin(place, settings, files)
                except BaseException:
                    _remove_begun(place)
                    raise
            description = _read_description(place / JOB)
            _require_same(place, description.settings, settings)
            yield cls(place, description, resumed=resumed)

    @property
    def files_in_shards(self) -> int:
        """How many files' results are there."""
        last = (self.description.files - 1) // SHARD_FILES
        numbers = [int(path.stem) for path in (self.place / SHARDS).glob("[0-9]*.jsonl")]
        in_last = self.description.files - last * SHARD_FILES
        return sum(in_last if number == last else SHARD_FILES for number in numbers)

    def unfinished(self) -> Iterator[ShardInWork]:
        """The shards that are not there, are not as they were written, or hold files that failed.

        Those are tried again, for what made them fail may have been mended.
        """
        with (self.place / LIST).open("rb") as listed:
            for number in range(-(-self.description.files // SHARD_FILES)):
                files = [parse_json(line) for line in islice(listed, SHARD_FILES)]
                shard = ShardInWork(number, files, self._good_lines(number, files))
                if None in shard.lines:
                    yield shard

    def write(self, shard: ShardInWork) -> None:
        """Save a shard that has all of its lines. Raises MachineError where no space is left on the disk."""
        lines = [line for line in shard.lines if line is not None]
        if len(lines) != len(shard.files):
            raise AssertionError(f"shard {shard.number} has {len(lines)} of {len(shard.files)} lines")
        content, place = "\n".join(lines) + "\n", self._shard(shard.number)
        if place.is_file() and place.read_bytes() == content.encode():
            return  # what failed before failed again
        write_whole(place, content)

    def shards(self) -> Iterator[str]:
        """The content of every shard of a job that is done, in order."""
        for number in range(-(-self.description.files // SHARD_FILES)):
            yield read_regular(self._shard(number), LARGEST_SHARD).decode()

    def finish(self, *, failed: int) -> None:
        """Note that the results lie where the user wants them, and remove the shards."""
        self.description = replace(self.description, failed=failed)
        write_json(self.place / JOB, asdict(self.description))
        shutil.rmtree(self.place / SHARDS, ignore_errors=True)

    def _shard(self, number: int) -> Path:
        return self.place / SHARDS / f"{number:08d}.jsonl"

    def _good_lines(self, number: int, files: list[str]) -> list[str | None]:
        """The lines of a shard; None for each file whose result is not there, or is an error."""
        nothing: list[str | None] = [None] * len(files)
        try:
            lines = read_regular(self._shard(number), LARGEST_SHARD).splitlines()
            rows = [parse_json(line) for line in lines]
        except (FileNotFoundError, ValueError):
            return nothing
        if [row.get("file") if isinstance(row, dict) else None for row in rows] != files:
            return nothing
        return [None if "error" in row else line.decode() for row, line in zip(rows, lines, strict=True)]


def _begin(place: Path, settings: Mapping[str, Any], files: Iterable[str]) -> None:
    """Write the list, then the description."""
    (place / SHARDS).mkdir(exist_ok=True)
    listed, count = GrowingFile(place / LIST), 0
    whole = False
    try:
        for count, file in enumerate(files, 1):  # noqa: B007 (used below)
            listed.write(json.dumps(file) + "\n")
        whole = True
    finally:
        listed.close(whole=whole)
    write_json(place / JOB, asdict(JobDescription(FORMAT, dict(settings), count)))


def _remove_begun(place: Path) -> None:
    """Remove what `_begin` made, and nothing else that may lie there; an empty folder, too."""
    shutil.rmtree(place / SHARDS, ignore_errors=True)
    for name in (LIST, LOCK):
        (place / name).unlink(missing_ok=True)
    with suppress(OSError):
        place.rmdir()


def _read_description(file: Path) -> JobDescription:
    try:
        content = read_regular(file, 2**20)
    except ValueError as error:
        raise RequestError(f"{file}: {error}") from None
    return validated(TypeAdapter(JobDescription), content, str(file), RequestError)


def _require_same(place: Path, begun: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse settings other than those that the job was begun with, because its results would be of two kinds."""
    names = [name for name in {**begun, **asked} if begun.get(name) != asked.get(name)]
    if names:
        were, are = (", ".join(_setting(name, values.get(name)) for name in names) for values in (begun, asked))
        raise RequestError(
            f"{place} was begun with {were}; this command has {are}: repeat the first command to go on, or "
            "give another file for the results"
        )


def _setting(name: str, value: Any) -> str:
    return f"no {name}" if value is None else f"{name} {value}"
