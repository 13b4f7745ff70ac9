"""Frozen graphs and SavedModel folders: ordinary files, of bounded size, and whole, before OpenVINO gets them."""

from __future__ import annotations

from pathlib import Path

from singleshot.errors import ModelError
from singleshot.files import read_regular

LARGEST_GRAPH = 2**30
"""Bytes of a frozen graph, and of all files of a SavedModel."""
SAVED_MODEL = "saved_model.pb"
_GRAPH_FIELDS = {1, 2, 3, 4, 5}
"""Of TensorFlow's GraphDef (graph.proto): node, library, version, versions, debug_info."""
_SAVED_MODEL_FIELDS = {1, 2}
"""Of SavedModel (saved_model.proto): schema version, meta graphs."""
_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5  # protobuf's wire types


def require_graph(path: Path) -> None:
    """Refuse what is no frozen graph or SavedModel.

    Raises:
        ModelError: links, devices, more bytes than `LARGEST_GRAPH`, a file that is cut short or of another kind.
    """
    total = 0
    for file in [path] if not path.is_dir() else sorted(path.rglob("*")):
        if path.is_dir() and file.is_symlink():
            raise ModelError(f"{file} is a link: a SavedModel holds ordinary files")
        if not (file.is_file() or file.is_dir()):
            raise ModelError(f"{file} is no ordinary file")
        total += file.stat().st_size if file.is_file() else 0
    if total > LARGEST_GRAPH:
        raise ModelError(f"{path} has {total:,} bytes, {LARGEST_GRAPH:,} at most")
    graph, fields = (path / SAVED_MODEL, _SAVED_MODEL_FIELDS) if path.is_dir() else (path, _GRAPH_FIELDS)
    if not graph.is_file():
        raise ModelError(f"{path} is no SavedModel: it holds no {SAVED_MODEL}")
    try:
        content = read_regular(graph, LARGEST_GRAPH)
    except (OSError, ValueError) as error:
        raise ModelError(f"{graph} cannot be read: {error}") from error
    if not content or not _is_whole(content, fields):
        raise ModelError(f"{graph} is no graph of TensorFlow's, or it is cut short or damaged")


def _is_whole(content: bytes, fields: set[int]) -> bool:
    """Whether a protobuf message holds only these fields and ends where the last one does."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        if key >> 3 not in fields:
            return False
        wire = key & 7
        if wire == _VARINT:
            _, place = _varint(content, place)
        elif wire == _DELIMITED:
            length, place = _varint(content, place)
            place += length
        elif wire in {_EIGHT_BYTES, _FOUR_BYTES}:
            place += 8 if wire == _EIGHT_BYTES else 4
        else:
            return False
    return place == len(content)


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends; past the end of the content where it is cut."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    return 0, len(content) + 1
