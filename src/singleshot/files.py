"""Read untrusted files, parse JSON, write files atomically, and refuse outputs that would overwrite inputs."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from singleshot.errors import DataError, MachineError, RequestError, SingleshotError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

LIST_LIMIT_BYTES = 2**28  # a list of a million images


def read_regular(path: Path, limit: int) -> bytes:
    """The content of an ordinary file; pipes and devices, which may never end, are refused.

    Raises:
        ValueError: not an ordinary file, an impossible name, or more than `limit` bytes; one line.
        OSError: it cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not an ordinary file but a folder, a pipe or a device")
    if status.st_size > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return path.read_bytes()


def read_lines(path: Path, limit: int) -> list[str]:
    """The lines of an ordinary UTF-8 file, with or without a byte order mark. Raises as `read_regular`.

    Lines end where they do in an editor; `str.splitlines` would part a name at U+2028 or U+0085, too.
    """
    text = io.StringIO(read_regular(path, limit).decode("utf-8-sig"), newline=None)
    return [line.rstrip("\n") for line in text]


def read_list(path: Path, *, empty_too: bool = False) -> list[str]:
    """The lines of a UTF-8 list without surrounding space and empty lines. Raises DataError where it cannot be read.

    Args:
        path: the list.
        empty_too: keep the empty lines.
    """
    try:
        lines = read_lines(path, LIST_LIMIT_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from None
    return [line.strip() for line in lines if empty_too or line.strip()]


def finite_number(word: str, where: str, *, largest: float) -> float:
    """A word of a text file as a number.

    Args:
        word: the word.
        where: file and line, for messages.
        largest: its absolute value, at most.

    Raises:
        DataError: no number, not finite, or larger.
    """
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not abs(value) <= largest:
        raise DataError(f"{where}: expected a finite number, got {word[:40]!r}")
    return value


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a temporary file beside `path`, flush it to the disk, then rename it: there is never half a file.

    The folder is flushed, too, so that the new file is there after a power cut. A symbolic link is replaced, not
    followed. A device or pipe (`/dev/stdout`) is written to, not replaced.

    Raises:
        MachineError: no space left on the disk; an older file is unchanged.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.part")
    try:
        if is_device(path):
            with path.open("ab") as device:
                device.write(data)
        else:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            sync(path.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise MachineError(f"no space left on the disk for {path}") from error
        error.filename = str(path)  # not the temporary one, which the user does not know
        raise
    finally:
        beside.unlink(missing_ok=True)


def is_device(path: Path) -> bool:
    """Whether the path is a device or pipe, which is written to and never replaced."""
    return Path("/dev") in path.absolute().parents or (path.exists() and not (path.is_file() or path.is_dir()))


def write_json(path: Path | None, content: object) -> None:
    """Write plain values, none of them NaN or infinite, as JSON, where a file is wanted. Raises as `write_whole`."""
    if path is not None:
        write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk; a rename can be lost in a power cut without the latter."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot flush a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock on a file, which is made where it is missing; the system lets go of it when the process ends.

    Raises:
        RequestError: another process holds it; the message is `refusal`.
    """
    with lock.open("ab") as file:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # typed on Windows only
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES, errno.EDEADLK}:
                error.filename = str(lock)
                raise
            raise RequestError(refusal) from None
        yield


def require_output(path: Path | None, flag: str, inputs: Iterable[str | Path]) -> None:
    """Refuse an output that cannot be written or would replace an input; called before any work.

    Args:
        path: the output; None: none is wanted.
        flag: the option that names it, such as `--json`, for the message.
        inputs: files and folders that are read; existing files in such folders must not be replaced.

    Raises:
        RequestError: the output is a folder, is read, or its folder cannot be written to.
    """
    if path is None:
        return
    if path.is_dir():
        raise RequestError(f"{flag} is a file; {path} is a folder")
    if is_device(path):
        return
    place = path.resolve()
    for source in inputs:
        if place == (read := Path(source).resolve()) or (path.exists() and read in place.parents):
            raise RequestError(f"{flag} would replace {path}, which is read: give another file")
    folder = next(parent for parent in place.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise RequestError(f"{flag}: {folder} is no folder that can be written to")


_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/+")


def not_there(path: Path | str) -> str:
    """A path that does not exist, as a message names it: of an address, that it is not fetched.

    >>> not_there(Path("http://example.org/a.json"))
    'http://example.org/a.json (addresses are not fetched: give a file)'
    """
    text = _ADDRESS.sub(r"\1://", str(path))  # a Path has one slash of the two
    return text if text.find("://") < 2 else f"{text} (addresses are not fetched: give a file)"


PAGE = b"<!doctype html>\n", b"<footer>singleshot "
"""Beginning of our HTML pages, and what their last 200 bytes contain."""


def require_page(page: Path | None, json: Path | None, inputs: Iterable[str | Path], *, flag: str = "--out") -> None:
    """`require_output` for a page and `--json FILE`, which must differ; only pages of ours are replaced.

    Raises:
        RequestError: as `require_output`; both are the same file; the page is an HTML file that is not ours.
    """
    inputs = list(inputs)
    require_output(json, "--json", inputs)
    require_output(page, flag, inputs)
    if page is None:
        return
    if json is not None and json.resolve() == page.resolve():
        raise RequestError(f"{flag} and --json are the same file, {page}: give two")
    if page.is_file() and page.stat().st_size:
        with page.open("rb") as file:
            begins = file.read(len(PAGE[0]))
            file.seek(max(0, page.stat().st_size - 200))
            ends = file.read()
        if begins != PAGE[0] or PAGE[1] not in ends:
            raise RequestError(f"{flag}: {page} is no page of ours and would be replaced: give another file")


_CONSTANT = re.compile(rb"[\[:,\s](-?Infinity|NaN)\b")


def validated(adapter: TypeAdapter[T], content: str | bytes, origin: str, refused: type[SingleshotError]) -> T:
    """JSON as the adapter's type, validated strictly.

    Args:
        adapter: of pydantic.
        content: the JSON.
        origin: names the file.
        refused: the error to raise.

    Raises:
        SingleshotError: `refused`; it names the first place that is wrong, or the values that contradict each other.
    """
    from pydantic import ValidationError  # late: 0.1 s that only reading a model needs

    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise refused(f"{origin} is not valid at {place}: {first['msg']}") from error
    except SingleshotError as error:  # values that contradict each other
        raise refused(f"{origin} is not valid: {error}") from error


def parse_json(content: bytes, *, each_object: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parse JSON strictly: only finite numbers, and errors as one line.

    Args:
        content: UTF-8 (with or without a byte order mark), UTF-16 or UTF-32.
        each_object: called with every parsed object; its result takes the object's place.

    Raises:
        ValueError: not JSON, NaN or infinite numbers, or nested too deep; one line with the place.
    """
    try:
        return json.loads(content, object_hook=each_object, parse_constant=_refuse)
    except _NotFiniteError as error:
        place = _CONSTANT.search(content)
        line = content.count(b"\n", 0, place.start(1)) + 1 if place else 0
        raise ValueError(f"{error} is no JSON number (line {line})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not JSON: {error.reason} at byte {error.start}") from None
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"not JSON: {str(error).partition(';')[0]}") from None
    except RecursionError:
        raise ValueError(f"nested too deep (first at {_deepest(content)})") from None


class _NotFiniteError(Exception):
    pass


def _refuse(name: str) -> Any:
    raise _NotFiniteError(name)


def _deepest(content: bytes, limit: int = 500) -> str:
    """Line and column where the nesting passes the limit; for simplicity brackets inside strings count, too."""
    depth = 0
    for bracket in re.finditer(rb"[\[\]{}]", content):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limit:
            line = content.count(b"\n", 0, bracket.start()) + 1
            column = bracket.start() - content.rfind(b"\n", 0, bracket.start())
            return f"line {line}, column {column}"
    return "an unknown place"
