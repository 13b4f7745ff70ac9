"""Weights as TensorFlow.js stores them: a manifest, which is JSON, and files of bytes beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from singleshot.errors import ModelError
from singleshot.files import parse_json, read_regular

LARGEST_MANIFEST = 2**25
"""Bytes of the JSON; that of a thousand tensors has 200 thousand."""
LARGEST_TENSORS = 2**30
"""Bytes of all tensors together, as they are stored and as they are dequantised."""
_LARGEST_SIDE, _MOST_AXES, _LONGEST_NAME = 2**31 - 1, 8, 200
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_TYPES = {"float32": "<f4", "int32": "<i4", "bool": "?"}
_QUANTISED = {"uint8": "u1", "uint16": "<u2", "float16": "<f2"}
_ROUNDING = {"uint8": 1 / 255, "uint16": 1 / 65535, "float16": 2.0**-11}
"""A step of a number of 0 .. 1: a default box is a product of two numbers, each rounded by half a step."""


@dataclass(frozen=True, eq=False)
class TFJSWeights:
    """The tensors of a manifest.

    Attributes:
        tensors: float32, int32 or bool, by TensorFlow's names.
        shards: the files that they come from.
        remarks: how many were dequantised from what, a line each.
        rounding: by how much products of two numbers of 0 .. 1 may have been rounded.
        topology: the graph, a GraphDef in JSON without the values of its constants; None where there is none.
    """

    tensors: dict[str, np.ndarray]
    shards: tuple[Path, ...]
    remarks: tuple[str, ...]
    rounding: float
    topology: dict[str, Any] | None


def is_tfjs(path: Path) -> bool:
    """Whether a path may be a manifest or a graph."""
    return path.suffix == ".json"


def read_tfjs(path: Path) -> TFJSWeights:
    """Read a manifest, a list of `{"weights": [...], "paths": [...]}`, or a `model.json` with one, and its files.

    Raises:
        ModelError: it is no manifest, it names files outside its folder, or their length is not that of the tensors.
    """
    origin = str(path)
    try:
        groups = parse_json(read_regular(path, LARGEST_MANIFEST))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as a manifest of TensorFlow.js: {error}") from None
    topology = None
    if isinstance(groups, dict) and isinstance(topology := groups.get("modelTopology"), dict):
        groups = groups.get("weightsManifest")
    if not isinstance(groups, list) or not groups:
        raise ModelError(f'{path} is no manifest of TensorFlow.js: expected a list of {{"weights": ..., "paths": ...}}')
    tensors: dict[str, np.ndarray] = {}
    shards: list[Path] = []
    room, quantised = LARGEST_TENSORS, dict.fromkeys(_QUANTISED, 0)
    for group in groups:
        entries, names = _lists(group, origin)
        files = [_shard(path.parent, name, origin) for name in names]
        content = _contents(files, origin)
        place = 0
        for entry in entries:
            tensor = _Entry.read(entry, origin)
            room -= tensor.count * np.dtype(_TYPES[tensor.kind]).itemsize
            if room < 0:
                raise ModelError(f"{path} holds tensors of more than {LARGEST_TENSORS:,} bytes, {tensor.name!r} is one")
            if tensor.name in tensors:
                raise ModelError(f"{path} holds two tensors named {tensor.name!r}")
            end = place + tensor.bytes
            if end > len(content):
                raise ModelError(f"{path}: {tensor.name!r} ends at byte {end:,} of {len(content):,}: a shard is short")
            tensors[tensor.name] = tensor.values(content[place:end], origin)
            quantised |= {tensor.stored: quantised[tensor.stored] + 1} if tensor.stored in quantised else {}
            place = end
        if place != len(content):
            raise ModelError(f"{path}: its tensors take {place:,} bytes, its shards have {len(content):,}")
        shards += files
    remarks = (f"{kind} weights, dequantised ({count} tensors)" for kind, count in quantised.items() if count)
    rounding = max((_ROUNDING[kind] for kind, count in quantised.items() if count), default=0.0)
    return TFJSWeights(tensors, tuple(shards), tuple(remarks), rounding, topology)


@dataclass(frozen=True)
class _Entry:
    """A tensor as the manifest describes it.

    Attributes:
        name: TensorFlow's.
        shape: sides.
        kind: what it is, a key of `_TYPES`.
        stored: what its bytes are, a key of `_TYPES` or `_QUANTISED`.
        scale, low: a stored integer times the scale, plus the lowest value, is the value.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    stored: str
    scale: float = 1.0
    low: float = 0.0

    @staticmethod
    def read(entry: object, origin: str) -> _Entry:
        fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
        name, shape, kind = (fields.get(key) for key in ("name", "shape", "dtype"))
        if not isinstance(name, str) or len(name) > _LONGEST_NAME or not isinstance(shape, list):
            raise ModelError(f"{origin}: expected tensors with name, shape and dtype, got {str(entry)[:80]!r}")
        sides = [side for side in shape if type(side) is int and 0 <= side <= _LARGEST_SIDE]
        if len(sides) != len(shape) or len(shape) > _MOST_AXES or math.prod(max(1, side) for side in sides) > 2**31:
            raise ModelError(f"{origin}: {name!r} has the shape {str(shape)[:80]}, which no tensor has")
        if not isinstance(kind, str) or kind not in _TYPES:
            raise ModelError(f"{origin}: {name!r} is {str(kind)[:80]!r}, expected one of {', '.join(_TYPES)}")
        coding = fields.get("quantization")
        if coding is None:
            return _Entry(name, tuple(sides), kind, kind)
        stored = coding.get("dtype") if isinstance(coding, dict) else None
        if not isinstance(stored, str) or stored not in _QUANTISED or kind == "bool":
            known = ", ".join(_QUANTISED)
            raise ModelError(f"{origin}: {name!r} is quantised as {str(stored)[:80]!r}, expected one of {known}")
        if stored == "float16":
            return _Entry(name, tuple(sides), kind, stored)
        scale, low = coding.get("scale"), coding.get("min")
        if type(scale) not in {int, float} or type(low) not in {int, float}:
            raise ModelError(f"{origin}: {name!r} is quantised as {stored} without numbers as scale and min")
        if max(abs(scale), abs(low)) > _LARGEST_FLOAT:
            raise ModelError(f"{origin}: {name!r} is quantised with a scale or min that float32 does not hold")
        return _Entry(name, tuple(sides), kind, stored, float(scale), float(low))

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.count * np.dtype((_TYPES | _QUANTISED)[self.stored]).itemsize

    def values(self, content: memoryview, origin: str) -> np.ndarray:
        stored = np.frombuffer(content, (_TYPES | _QUANTISED)[self.stored]).reshape(self.shape)
        values = stored if self.stored in _TYPES else stored.astype(np.float64) * self.scale + self.low
        if self.kind == "int32" and values.dtype.kind == "f":
            values = np.floor(values + 0.5)  # as JavaScript rounds
        largest = _LARGEST_FLOAT if self.kind == "float32" else 2.0**31 - 1
        if values.dtype.kind == "f" and not (np.abs(values) <= largest).all():
            raise ModelError(f"{origin}: {self.name!r} holds values that are not finite or too large")
        return values.astype(np.dtype(_TYPES[self.kind]).newbyteorder("="))


def _lists(group: object, origin: str) -> tuple[list[Any], list[Any]]:
    fields = group if isinstance(group, dict) else {}
    entries, names = fields.get("weights"), fields.get("paths")
    if not isinstance(entries, list) or not isinstance(names, list):
        raise ModelError(
            f'{origin} is no manifest of TensorFlow.js: expected {{"weights": [...], "paths": [...]}}, got '
            f"{str(group)[:80]!r}"
        )
    return entries, names


def _shard(folder: Path, name: object, origin: str) -> Path:
    """A file beside the manifest, or in a folder below it; no link."""
    parts = PurePosixPath(name).parts if isinstance(name, str) else ()
    if not parts or parts[0] == "/" or ".." in parts or any(mark in str(name) for mark in ("\\", ":", "\0")):
        raise ModelError(f"{origin} names the shard {str(name)[:80]!r}, expected a file in its own folder")
    places = [folder.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    if any(place.is_symlink() for place in places):
        raise ModelError(f"{origin} names the shard {str(name)[:80]!r}, which is a link: expected an ordinary file")
    return places[-1]


def _contents(files: list[Path], origin: str) -> memoryview:
    content, room = [], LARGEST_TENSORS
    for file in files:
        try:
            content.append(read_regular(file, room))
        except (OSError, ValueError) as error:
            raise ModelError(f"{origin}: the shard {file.name[:80]!r} cannot be read: {error}") from None
        room -= len(content[-1])
    return memoryview(b"".join(content))
