"""A text file that is written while its content is made, and takes its place when it is whole."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from singleshot.errors import MachineError
from singleshot.files import is_device, sync


class GrowingFile:
    """A text file that is written beside its place; a device is written to itself."""

    def __init__(self, place: Path) -> None:
        self._place = place
        place.parent.mkdir(parents=True, exist_ok=True)
        self._written = place if is_device(place) else place.with_name(f".{place.name}.{os.getpid()}.part")
        mode = "a" if self._written == place else "w"
        self._text = self._written.open(mode, encoding="utf-8", errors="backslashreplace", newline="")

    def write(self, text: str) -> int:
        """Write text.

        Raises:
            MachineError: no space left on the disk.
        """
        with self._naming_place():
            return self._text.write(text)

    def close(self, *, whole: bool) -> None:
        """Put the file in its place where it is whole, else remove it. Raises as `write`."""
        beside = self._written != self._place
        try:
            with self._naming_place():
                self._text.flush()
                if beside and whole:
                    os.fsync(self._text.fileno())
                    self._written.replace(self._place)
                    sync(self._place.parent)
        finally:
            with suppress(OSError):
                self._text.close()
            if beside:
                self._written.unlink(missing_ok=True)

    @contextmanager
    def _naming_place(self) -> Iterator[None]:
        """Errors name the file that the user knows, not the temporary one."""
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise MachineError(f"no space left on the disk for {self._place}") from error
            error.filename = str(self._place)
            raise


def json_line(entry: Mapping[str, Any]) -> str:
    """An entry as JSON on one line."""
    return json.dumps(entry, allow_nan=False)


@contextmanager
def written_beside(place: Path) -> Iterator[Path]:
    """A path beside `place` for a library that writes files by itself; what it wrote takes its place at the end.

    Raises:
        MachineError: no space left on the disk.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        yield beside
        sync(beside)
        beside.replace(place)
        sync(place.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise MachineError(f"no space left on the disk for {place}") from error
        raise
    finally:
        beside.unlink(missing_ok=True)
