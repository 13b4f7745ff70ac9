"""Which files of a folder are images."""

from __future__ import annotations

import os
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


def is_image(name: str) -> bool:
    """The name ends as an image that we decode, in upper or lower case; hidden files are none."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122  (a hundred thousand names)


def images_by_stem(folder: Path) -> dict[str, tuple[str, ...]]:
    """The images of a folder by name without suffix; several where only the suffix differs, in alphabetical order."""
    if not folder.is_dir():
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(entry.name for entry in os.scandir(folder)):
        if is_image(name):
            stem = os.path.splitext(name)[0]  # noqa: PTH122
            found[stem] = (*found.get(stem, ()), name)
    return found
