"""Caffe's two files: `.prototxt` (text) and `.caffemodel` (binary protocol buffers), read without Caffe.

Only what a weight import needs is read; everything else is skipped. Field numbers: caffe.proto.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from singleshot.errors import ModelError

_WORD = re.compile(r'\s+|#[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|[A-Za-z0-9_.+\-]+|[{}<>:;,\[\]]')
_NAME = re.compile(r"[A-Za-z_]\w*")
_BRACKETS = {"{": "}", "<": ">"}
_DEEPEST = 32  # messages inside messages; Caffe's nets need 4
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # wire types


@dataclass(frozen=True)
class Message:
    """One message of a text file: each field's values in order, text or messages."""

    fields: dict[str, list[str | Message]] = field(default_factory=dict)

    def texts(self, name: str) -> list[str]:
        """All values of a field that are no messages."""
        return [value for value in self.fields.get(name, []) if isinstance(value, str)]

    def messages(self, name: str) -> list[Message]:
        """All values of a field that are messages."""
        return [value for value in self.fields.get(name, []) if isinstance(value, Message)]

    def message(self, name: str) -> Message:
        """The message in a field, an empty one where it is not set."""
        return next(iter(self.messages(name)), Message())

    def text(self, name: str, default: str = "") -> str:
        """The last value of a field."""
        return next(reversed(self.texts(name)), default)

    def number(self, name: str, default: float) -> float:
        """The last value of a field as a number."""
        return self.numbers(name)[-1] if self.texts(name) else default

    def numbers(self, name: str) -> list[float]:
        """All values of a field as numbers.

        Raises:
            ModelError: one is none.
        """
        try:
            numbers = [float(text) for text in self.texts(name)]
        except ValueError as error:
            raise ModelError(f"{name} must be a number: {error}") from error
        if not all(math.isfinite(value) for value in numbers):
            raise ModelError(f"{name} must be a finite number, got {self.texts(name)}")
        return numbers

    def flag(self, name: str, *, default: bool) -> bool:
        """The last value of a field as a ground-truth box."""
        return self.text(name, str(default)).lower() in {"true", "1", "t"}


def read_prototxt(path: Path) -> Message:
    """The network description in a text file.

    Raises:
        ModelError: it cannot be read or is no protocol buffer text; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read as text: {error}") from error
    return parse_text(text, str(path))


def parse_text(text: str, origin: str = "text") -> Message:
    """Parse protocol buffer text: `name: value`, `name { ... }`, lists in brackets, comments behind #."""
    words = _words(text, origin)
    return _message(words, origin, closing="", depth=0)


def _message(words: Iterator[tuple[str, int]], origin: str, *, closing: str, depth: int) -> Message:
    """The fields up to the closing bracket (or to the end of the file where it is empty)."""
    message = Message()
    for name, line in words:
        if name == closing:
            return message
        if name in {",", ";"}:
            continue
        if not _NAME.fullmatch(name) or depth > _DEEPEST:
            raise ModelError(f"{origin}, line {line}: {name!r} is not expected here")
        values = message.fields.setdefault(name, [])
        word = _next(words, origin, name)
        if word == ":":
            word = _next(words, origin, name)
        if word != "[":
            values.append(_value(word, words, origin, name=name, depth=depth))
            continue
        while (word := _next(words, origin, name)) != "]":
            if word != ",":
                values.append(_value(word, words, origin, name=name, depth=depth))
    if closing:
        raise ModelError(f"{origin} ends inside a message; it is cut short")
    return message


def _value(word: str, words: Iterator[tuple[str, int]], origin: str, *, name: str, depth: int) -> str | Message:
    if word in _BRACKETS:
        return _message(words, origin, closing=_BRACKETS[word], depth=depth + 1)
    if word in {"}", ">", "]", ":", ",", ";", "["}:
        raise ModelError(f"{origin}: {name} has no value, only {word!r}")
    return word[1:-1] if word[0] in "\"'" else word


def _next(words: Iterator[tuple[str, int]], origin: str, name: str) -> str:
    for word, _ in words:
        return word
    raise ModelError(f"{origin} ends behind {name}; it is cut short")


def _words(text: str, origin: str) -> Iterator[tuple[str, int]]:
    """Names, values and punctuation with their line numbers."""
    position, line = 0, 1
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise ModelError(f"{origin}, line {line}: cannot read {text[position : position + 20]!r}")
        word, position = match[0], match.end()
        if not word[0].isspace() and word[0] != "#":
            yield word, line
        line += word.count("\n")


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """A layer of a binary file: its name and its blobs, in the shapes that the file states."""

    name: str
    blobs: tuple[np.ndarray, ...]


def read_caffemodel(path: Path) -> dict[str, StoredLayer]:
    """All layers with blobs of a binary NetParameter, new (`layer`) and old (`layers`, V1) format, by name.

    Raises:
        ModelError: it cannot be read, is cut short, is no such file, or holds no weights.
    """
    try:
        content = memoryview(path.read_bytes())
        layers = [
            _layer(value, *_LAYER_FIELDS[number])
            for number, wire, value in _fields(content)
            if number in _LAYER_FIELDS and wire == _DELIMITED
        ]
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except (_CutError, UnicodeDecodeError, struct.error, ValueError) as error:
        raise ModelError(f"{path} is no whole .caffemodel file: {error}") from error
    stored = {layer.name: layer for layer in layers if layer.blobs}
    if not stored:
        raise ModelError(f"{path} holds no layer with weights; is it a .caffemodel file?")
    return stored


_LAYER_FIELDS = {100: (1, 7), 2: (4, 6)}  # in NetParameter: layer, layers -> their fields name and blobs


class _CutError(Exception):
    """The bytes end inside a value, or are none of this format."""


def _layer(content: memoryview, name_field: int, blobs_field: int) -> StoredLayer:
    name, blobs = "", []
    for number, wire, value in _fields(content):
        if number == name_field and wire == _DELIMITED:
            name = bytes(value).decode()
        elif number == blobs_field and wire == _DELIMITED:
            blobs.append(_blob(value))
    return StoredLayer(name, tuple(blobs))


def _blob(content: memoryview) -> np.ndarray:
    """BlobProto: data = 5, double_data = 8; shape = 7, or num, channels, height, width = 1 .. 4 in old files."""
    legacy: dict[int, int] = {}
    shape: list[int] | None = None
    pieces: dict[int, list[np.ndarray]] = {5: [], 8: []}
    types = {5: "<f4", 8: "<f8"}
    for number, wire, value in _fields(content):
        if number in pieces and wire in {_DELIMITED, _FOUR_BYTES, _EIGHT_BYTES}:
            pieces[number].append(np.frombuffer(value, types[number]))
        elif number == 7 and wire == _DELIMITED:
            shape = _dimensions(value)
        elif 1 <= number <= 4 and wire == _VARINT:
            legacy[number] = _integer(value)
    data = pieces[8] or pieces[5]
    values = np.concatenate(data).astype(np.float32) if data else np.zeros(0, np.float32)
    if shape is None and legacy:
        shape = [legacy.get(number, 0) for number in range(1, 5)]
    if shape is None:
        shape = [values.size]
    if min(shape, default=1) < 0 or int(np.prod(shape, dtype=object)) != values.size:
        raise _CutError(f"a blob of shape {shape} has {values.size} values")
    return values.reshape(shape)


def _dimensions(content: memoryview) -> list[int]:
    """BlobShape: dim = 1, packed or one by one."""
    dimensions: list[int] = []
    for number, wire, value in _fields(content):
        if number == 1 and wire == _VARINT:
            dimensions.append(_integer(value))
        elif number == 1 and wire == _DELIMITED:
            position = 0
            while position < len(value):
                dimension, position = _varint(value, position)
                dimensions.append(dimension)
    return dimensions


def _fields(content: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Field number, wire type and bytes of each field of a message (of a varint: its own bytes)."""
    position = 0
    while position < len(content):
        key, position = _varint(content, position)
        number, wire = key >> 3, key & 7
        start = position
        if wire == _VARINT:
            _, end = _varint(content, position)
        elif wire == _DELIMITED:
            length, start = _varint(content, position)
            end = start + length
        elif wire in {_EIGHT_BYTES, _FOUR_BYTES}:
            end = position + (8 if wire == _EIGHT_BYTES else 4)
        else:
            raise _CutError(f"byte {position} begins a field of unknown kind {wire}")
        if end > len(content) or number == 0:
            raise _CutError(f"it is cut short or damaged: a field at byte {position} ends at {end} of {len(content)}")
        yield number, wire, content[start:end]
        position = end


def _integer(value: memoryview) -> int:
    return _varint(value, 0)[0]


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    """A base-128 integer and where the next value begins."""
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            break
        byte = content[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise _CutError(f"it is cut short at byte {position}")
