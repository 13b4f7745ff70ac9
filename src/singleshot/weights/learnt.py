"""Which images a model has learnt: the file `learnt.safetensors` of a model folder, and who asks about it.

Sixteen bytes an image, see `data/image_hashes.py`: from them nobody has an image back, but who has an image can tell
whether the model learnt it. `ssd train --forget-images` writes no such file; a folder without one claims nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as format_tensors

from singleshot.data.hash_search import near_pairs
from singleshot.data.image_hashes import HASHES, NO_HASH, ImageHashes
from singleshot.errors import ModelError
from singleshot.evaluate.learnt_images import LearntOverlap
from singleshot.files import parse_json

SAME_PICTURE = 4
"""Bits in which the perceptual hashes of one picture differ at most; of an image encoded anew 2 were measured."""
LARGEST_HEADER = 2**16  # bytes
LONGEST_NAME = 200  # characters
EMPTY = ImageHashes.concatenate([])


@dataclass(frozen=True, eq=False)
class LearntImages:
    """The hashes of the images that a model has to do with.

    Attributes:
        trained: those that it was trained on.
        validated: those that its training validated on, by which its best epoch was chosen.
        ancestors: those that the models before it were trained on, from which its training started.
        names: what they are, for people, by the names of the fields above: such as `voc2007, split trainval`.
    """

    trained: ImageHashes
    validated: ImageHashes = EMPTY
    ancestors: ImageHashes = EMPTY
    names: Mapping[str, str] = field(default_factory=dict)

    def starting_from(self, parent: LearntImages | None) -> LearntImages:
        """The same of a training that started from a model which had learnt `parent`; None: nothing is known of it."""
        if parent is None:
            return self
        both = ImageHashes.concatenate([parent.ancestors, parent.trained])
        names = dict.fromkeys(name for key in ("ancestors", "trained") if (name := parent.names.get(key)))
        return LearntImages(self.trained, self.validated, both, {**self.names, "ancestors": "; ".join(names)})

    def overlap(self, judged: ImageHashes) -> LearntOverlap:
        """How many of these images the model knows."""
        files, alike = _known(judged, self.trained)
        before = np.logical_or(*_known(judged, self.ancestors)) & ~(files | alike)
        chosen = np.logical_or(*_known(judged, self.validated)) & ~(files | alike | before)
        return LearntOverlap(
            judged=len(judged),
            trained_on=int(files.sum()),
            trained_on_alike=int(alike.sum()),
            ancestors_trained_on=int(before.sum()),
            validated_on=int(chosen.sum()),
            training_set=self.names.get("trained", ""),
            ancestors=self.names.get("ancestors", ""),
        )


ROLES = ("trained", "validated", "ancestors")
NAMES = "names"
"""The one key of the metadata: of several, the package writes them in an order of chance."""


def format_learnt(learnt: LearntImages) -> bytes:
    """The content of `learnt.safetensors`: an (N, 2) uint64 tensor a role, and the names as metadata.

    Rows are sorted and none is there twice, so that they say nothing of the order of the training.
    """
    tensors = {}
    for role in ROLES:
        hashes: ImageHashes = getattr(learnt, role)
        rows = np.stack([getattr(hashes, name) for name in HASHES], axis=1)
        tensors[role] = np.unique(rows[hashes.content != NO_HASH], axis=0)
    names = {role: learnt.names[role] for role in ROLES if learnt.names.get(role)}
    return format_tensors(tensors, metadata={NAMES: json.dumps(names)})


def parse_learnt(content: bytes, origin: str) -> LearntImages:
    """What `format_learnt` wrote.

    Raises:
        ModelError: it is no such file.
    """
    try:
        tensors = parse_tensors(content)
        names = _names(content)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{origin} is no valid safetensors file with names of its sets: {error}") from error
    for role in ROLES:
        tensor = tensors.get(role)
        if tensor is None or tensor.dtype != np.uint64 or tensor.ndim != 2 or tensor.shape[1] != len(HASHES):
            got = "nothing" if tensor is None else f"{tensor.shape} of {tensor.dtype}"
            raise ModelError(f"{origin}: {role} must be (n, {len(HASHES)}) of uint64, got {got}")
    return LearntImages(names=names, **{role: ImageHashes(*tensors[role].T.copy()) for role in ROLES})


def _names(content: bytes) -> dict[str, str]:
    """The metadata, which the package's own reader of bytes leaves out."""
    size = int.from_bytes(content[:8], "little")
    if size > LARGEST_HEADER:
        raise ValueError(f"its header has {size:,} bytes, more than {LARGEST_HEADER:,}")
    names = parse_json(parse_json(content[8 : 8 + size])["__metadata__"][NAMES].encode())
    return {role: " ".join(str(names[role]).split())[:LONGEST_NAME] for role in ROLES if names.get(role)}


def _known(judged: ImageHashes, learnt: ImageHashes) -> tuple[np.ndarray, np.ndarray]:
    """Which images are the very files of some others, and which of the rest look the same as one; (N,) bool each."""
    files = np.isin(judged.content, learnt.content) & (judged.content != NO_HASH)
    alike = np.zeros(len(judged), bool)
    unsettled = np.flatnonzero(~files & (judged.perceptual != NO_HASH))
    others = learnt.perceptual[learnt.perceptual != NO_HASH]
    for rows, _ in near_pairs(judged.perceptual[unsettled], others, most_bits=SAME_PICTURE):
        alike[unsettled[rows]] = True
    return files, alike
