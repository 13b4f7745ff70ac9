"""A data set's annotations in memory that all processes share: another process only gets the handles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from singleshot.shapes import Int64, UInt8
from singleshot.types import ARRAYS, TEXTS, Annotations


class PackedStrings(Sequence[str]):
    """Many short texts in two arrays: a hundred thousand Python strings take three times the memory."""

    def __init__(self, content: UInt8[np.ndarray, " bytes"], ends: Int64[np.ndarray, " n"]) -> None:
        self._content, self._ends = content, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """One text, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        start = self._ends[place - 1] if place else 0
        return self._content[start : self._ends[place]].tobytes().decode(errors="surrogateescape")


@dataclass(frozen=True, eq=False)
class SharedAnnotations:
    """`Annotations` as tensors in shared memory; pickled for another process, only their handles are sent.

    Attributes:
        tensors: by attribute of the annotations; of texts there are `NAME` (bytes) and `NAME_ends`.
        rest: the annotations without these.
    """

    tensors: dict[str, Tensor]
    rest: Annotations

    def annotations(self) -> Annotations:
        """The set; its arrays and texts are views of the shared memory."""
        arrays = {name: tensor.numpy() for name, tensor in self.tensors.items()}
        content: dict[str, Any] = {name: PackedStrings(arrays[name], arrays[f"{name}_ends"]) for name in TEXTS}
        content |= {name: arrays[name] for name in ARRAYS}
        return replace(self.rest, **content)


def to_shared_memory(annotations: Annotations) -> SharedAnnotations:
    """Move a set into shared memory."""
    arrays = {name: getattr(annotations, name) for name in ARRAYS}
    for name in TEXTS:
        encoded = [text.encode(errors="surrogateescape") for text in getattr(annotations, name)]
        arrays[name] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays[f"{name}_ends"] = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    tensors = {
        name: torch.tensor(array).share_memory_()  # type: ignore[no-untyped-call]
        for name, array in arrays.items()
    }
    nothing: dict[str, Any] = {name: np.zeros(0) for name in ARRAYS} | dict.fromkeys(TEXTS, ())
    return SharedAnnotations(tensors, replace(annotations, **nothing))
