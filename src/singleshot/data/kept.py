"""Annotations that were read once, kept as arrays in a folder of the user's: COCO's take twenty seconds to read.

Nothing is kept unless the user names the folder in the environment, as `SINGLESHOT_CACHE`.
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
LAYOUT = 2
"""Of what is kept; part of the name, so that other versions do not find it."""


@dataclass(frozen=True)
class Kept:
    """Where the annotations of one file are kept, found by the file's place and content."""

    path: Path

    @classmethod
    def of(cls, data: Path, layout: str, split: str | None) -> Kept | None:
        """The place for a set that is one COCO or CSV file; None for others, and where no folder is named."""
        folder = os.environ.get(FOLDER)
        if not folder or layout not in {"coco", "csv"}:
            return None
        files = coco_files(data) if layout == "coco" else csv_files(data)
        file = files.get(split) if split is not None else next(iter(files.values())) if len(files) == 1 else None
        if file is None or not file.is_file():
            return None
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256")
        digest.update(json.dumps([LAYOUT, str(data.resolve()), str(file.resolve()), split]).encode())
        return cls(Path(folder) / f"annotations-{digest.hexdigest()[:32]}.safetensors")

    def load(self) -> Annotations | None:
        """What is kept; None where nothing is, or it is damaged."""
        try:
            with safe_open(self.path, framework="numpy") as content:
                metadata = content.metadata()
                tensors = {name: content.get_tensor(name) for name in (*ARRAYS, *TEXTS)}
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        if not metadata or metadata.get("digest") != _digest(tensors, metadata.get("said", "")):
            return None
        said = json.loads(metadata["said"])
        files, ids = (_texts(tensors.pop(name)) for name in TEXTS)
        return Annotations(
            layout=said["layout"],
            root=Path(said["root"]),
            class_names=tuple(said["class_names"]),
            category_ids=tuple(said["category_ids"]),
            files=files,
            ids=ids,
            **tensors,
        )

    def store(self, annotations: Annotations) -> None:
        """Keep them."""
        said = {
            "layout": annotations.layout,
            "root": str(annotations.root),
            "class_names": annotations.class_names,
            "category_ids": annotations.category_ids,
        }
        tensors = {name: np.ascontiguousarray(getattr(annotations, name)) for name in ARRAYS}
        tensors |= {name: _bytes(getattr(annotations, name)) for name in TEXTS}
        try:
            words = json.dumps(said)
            write_whole(self.path, save(tensors, {"said": words, "digest": _digest(tensors, words)}))
        except OSError as error:
            raise RequestError(
                f"{FOLDER} names {self.path.parent}, which cannot be written to: {error.strerror}"
            ) from error


def _digest(tensors: Mapping[str, np.ndarray], said: str) -> str:
    """Of everything that is kept: what a crash or a bad disk left of a file must not be learnt from."""
    digest = hashlib.sha256(said.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


def _bytes(texts: Sequence[str]) -> np.ndarray:
    """Texts without zero bytes, which no file's name has, each ended by one."""
    return np.frombuffer("".join(f"{text}\0" for text in texts).encode(errors="surrogateescape"), np.uint8)


def _texts(content: np.ndarray) -> tuple[str, ...]:
    return tuple(content.tobytes().decode(errors="surrogateescape").split("\0")[:-1])
