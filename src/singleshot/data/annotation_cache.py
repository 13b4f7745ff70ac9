"""A cache of parsed annotations, in the folder that the environment variable SINGLESHOT_CACHE names.

Parsing the json of COCO takes twenty seconds, loading the arrays less than one. Without the variable there is no cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from singleshot.data.coco import coco_files
from singleshot.data.csv_table import csv_files
from singleshot.errors import RequestError
from singleshot.files import write_whole
from singleshot.types import ARRAYS, TEXTS, Annotations

FOLDER = "SINGLESHOT_CACHE"
VERSION = 4
"""Of the cache files; part of their names, so that other versions do not read them."""


@dataclass(frozen=True)
class AnnotationCache:
    """The cache file of one set: its name is a hash of the annotation file's path, content and split."""

    path: Path

    @classmethod
    def of(cls, data: Path, format_name: str, split: str | None) -> AnnotationCache | None:
        """The cache of a set that is one COCO or CSV file; None for other sets, and where no folder is named."""
        folder = os.environ.get(FOLDER)
        if not folder or format_name not in {"coco", "csv"}:
            return None
        files = coco_files(data) if format_name == "coco" else csv_files(data)
        file = files.get(split) if split is not None else next(iter(files.values())) if len(files) == 1 else None
        if file is None or not file.is_file():
            return None
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256")
        for other in files.values():  # the classes of a split depend on the other files, too
            status = other.stat()
            digest.update(json.dumps([str(other), status.st_size, status.st_mtime_ns]).encode())
        digest.update(json.dumps([VERSION, str(data.resolve()), str(file.resolve()), split]).encode())
        return cls(Path(folder) / f"annotations-{digest.hexdigest()[:32]}.safetensors")

    def load(self) -> Annotations | None:
        """The cached annotations; None where there are none, or the file is damaged."""
        try:
            with safe_open(self.path, framework="numpy") as content:
                metadata = content.metadata() or {}
                tensors = {name: content.get_tensor(name) for name in (*ARRAYS, *TEXTS)}
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        header = metadata.get("header", "")
        if metadata.get("digest") != _digest(tensors, header):
            return None
        fields = json.loads(header)
        files, ids = (_texts(tensors.pop(name)) for name in TEXTS)
        return Annotations(
            format=fields["format"],
            root=Path(fields["root"]),
            class_names=tuple(fields["class_names"]),
            category_ids=tuple(fields["category_ids"]),
            remarks=tuple(fields["remarks"]),
            files=files,
            ids=ids,
            **tensors,
        )

    def store(self, annotations: Annotations) -> None:
        """Write the annotations. Raises RequestError where the folder cannot be written to."""
        fields = {
            "format": annotations.format,
            "root": str(annotations.root),
            "class_names": annotations.class_names,
            "category_ids": annotations.category_ids,
            "remarks": annotations.remarks,
        }
        tensors = {name: np.ascontiguousarray(getattr(annotations, name)) for name in ARRAYS}
        tensors |= {name: _bytes(getattr(annotations, name)) for name in TEXTS}
        header = json.dumps(fields)
        try:
            write_whole(self.path, save(tensors, {"header": header, "digest": _digest(tensors, header)}))
        except OSError as error:
            raise RequestError(
                f"{FOLDER} names {self.path.parent}, which cannot be written to: {error.strerror}"
            ) from error


def _digest(tensors: Mapping[str, np.ndarray], header: str) -> str:
    """SHA-256 of the whole content, so that training never uses a file damaged by a crash or a bad disk."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _bytes(texts: Sequence[str]) -> np.ndarray:
    """Texts as bytes, each ended by a zero byte (which no file name contains)."""
    return np.frombuffer("".join(f"{text}\0" for text in texts).encode(errors="surrogateescape"), np.uint8)


def _texts(content: np.ndarray) -> tuple[str, ...]:
    return tuple(content.tobytes().decode(errors="surrogateescape").split("\0")[:-1])
