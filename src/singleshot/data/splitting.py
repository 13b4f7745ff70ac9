"""Split a set that comes without splits."""

from __future__ import annotations

import hashlib

from singleshot.errors import DataError
from singleshot.types import Annotations

HELD_OUT = "held-out"
"""In place of a split's name: the images that are held out."""
LEAST_TO_HOLD_OUT = 10
"""Of a set without validation images a fifth is held out, if it has this many."""


def hold_out(annotations: Annotations, *, seed: int = 0) -> tuple[Annotations, Annotations | None]:
    """What training learns of a set without validation images, and what it validates on; None of a tiny set."""
    return (annotations, None) if len(annotations) < LEAST_TO_HOLD_OUT else split(annotations, seed=seed)


def split(annotations: Annotations, *, seed: int = 0, fraction: float = 0.2) -> tuple[Annotations, Annotations]:
    """Images to train on, and `fraction` of them to validate on, at least one each.

    An image's side depends on its own name and the seed (their hash is ranked), so that the order of the set does not
    matter and a few images more move few others. Each part keeps the order of the set.

    Raises:
        DataError: fewer than two images, or a fraction outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise DataError(f"the fraction to validate on must be between 0 and 1, got {fraction}")
    if len(annotations) < 2:
        raise DataError(f"{annotations.root}: {len(annotations)} image cannot be split in two")
    keys = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in annotations.files]
    ranked = sorted(range(len(annotations)), key=lambda index: (keys[index], index))
    count = min(max(round(fraction * len(annotations)), 1), len(annotations) - 1)
    return annotations.subset(sorted(ranked[count:])), annotations.subset(sorted(ranked[:count]))
