"""FlatBuffers, read without a schema compiler: tables, vectors and strings by position, every access inside the file.

Format: https://flatbuffers.dev/internals. All numbers are little-endian; an offset counts from where it stands.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from singleshot.errors import ModelError

MOST_ENTRIES = 2**20
"""Of a vector of tables or strings: far more than any network has layers."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """The bytes of a file, and the name that messages give it. Every read outside them is a ModelError."""

    content: bytes
    origin: str

    def number(self, kind: str, position: int) -> Any:
        """The number of a `struct` kind at a position."""
        return struct.unpack_from(f"<{kind}", self.content, self.require(position, struct.calcsize(kind)))[0]

    def require(self, position: int, length: int) -> int:
        """The position, if so many bytes follow it."""
        if position < 0 or position + length > len(self.content):
            raise ModelError(
                f"{self.origin} is damaged or cut short: byte {position + length:,} is named in it, it has "
                f"{len(self.content):,}"
            )
        return position

    def root(self) -> Table:
        """The outermost table."""
        return Table(self, self.number("I", 0))


@dataclass(frozen=True, eq=False)
class Table:
    """A table at a position of a buffer; fields are told by their number in the schema."""

    buffer: Buffer
    position: int

    def place(self, field: int) -> int | None:
        """Where a field stands; None where it has its default."""
        table = self.position - self.buffer.number("i", self.position)
        entry = 4 + 2 * field
        if entry + 2 > self.buffer.number("H", table):
            return None
        relative: int = self.buffer.number("H", table + entry)
        return self.position + relative if relative else None

    def number(self, field: int, kind: str, default: float = 0) -> Any:
        """A number field."""
        place = self.place(field)
        return default if place is None else self.buffer.number(kind, place)

    def table(self, field: int) -> Table | None:
        """A field that is a table."""
        place = self.place(field)
        return None if place is None else Table(self.buffer, place + self.buffer.number("I", place))

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """Position of the first entry, and number of entries of `size` bytes; none where the field is left out."""
        place = self.place(field)
        if place is None:
            return 0, 0
        start = place + self.buffer.number("I", place)
        count: int = self.buffer.number("I", start)
        self.buffer.require(start + 4, count * size)
        return start + 4, count

    def array(self, field: int, dtype: str) -> np.ndarray:
        """A vector of numbers, of numpy's type."""
        start, count = self.vector(field, np.dtype(dtype).itemsize)
        return np.frombuffer(self.buffer.content, dtype, count, start) if count else np.zeros(0, dtype)

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, count = self.vector(field, 4)
        if count > MOST_ENTRIES:
            raise ModelError(f"{self.buffer.origin} names {count:,} tables in one list, {MOST_ENTRIES:,} at most")
        places = range(start, start + 4 * count, 4)
        return [Table(self.buffer, place + self.buffer.number("I", place)) for place in places]

    def string(self, field: int) -> str:
        """A string field; empty where it is left out."""
        return self.array(field, "u1").tobytes().decode(errors="replace")


def flexbuffer_map(content: bytes, origin: str) -> dict[str, float | bool]:
    """The numbers of a FlexBuffer whose root is a map (options of a custom operation); other values are left out.

    Format: https://flatbuffers.dev/flexbuffers. The last two bytes are the root's type and width.
    """
    buffer = Buffer(content, f"options in {origin}")
    if len(content) < 3:
        raise ModelError(f"{buffer.origin}: expected a map, got {len(content)} bytes")
    width, kind = content[-1], content[-2]
    if kind >> 2 != _MAP or width not in _UNSIGNED:
        raise ModelError(f"{buffer.origin}: expected a map")
    child = 1 << (kind & 3)
    values = _indirect(buffer, len(content) - 2 - width, width)
    count = buffer.number(_UNSIGNED[child], values - child)
    keys = _indirect(buffer, values - 3 * child, child)
    key_width = buffer.number(_UNSIGNED[child], values - 2 * child)
    if count > _MOST_OPTIONS or key_width not in _UNSIGNED:
        raise ModelError(f"{buffer.origin}: {count:,} options in keys of {key_width} bytes")
    read: dict[str, float | bool] = {}
    for number in range(count):
        start = _indirect(buffer, keys + number * key_width, key_width)
        end = content.find(b"\0", start)
        name = content[start : end if end >= 0 else start].decode(errors="replace")
        kind = content[buffer.require(values + count * child + number, 1)] >> 2
        if kind in _NUMBERS:
            number_kind = _NUMBERS[kind][child]
            value = buffer.number(number_kind, values + number * child)
            read[name] = bool(value) if kind == _BOOLEAN else value
    return read


_MAP, _BOOLEAN, _MOST_OPTIONS = 9, 26, 1000
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SIGNED = {1: "b", 2: "h", 4: "i", 8: "q"}
_FLOATS = {1: "b", 2: "e", 4: "f", 8: "d"}
_NUMBERS = {1: _SIGNED, 2: _UNSIGNED, 3: _FLOATS, _BOOLEAN: _UNSIGNED}


def _indirect(buffer: Buffer, place: int, width: int) -> int:
    target: int = place - buffer.number(_UNSIGNED[width], place)
    return buffer.require(target, 0)
