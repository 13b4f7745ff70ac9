"""Which files of a folder are pictures."""

from __future__ import annotations

import os
from pathlib import Path

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


def is_picture(name: str) -> bool:
    """The name ends as a picture that we decode, in upper or lower case; hidden files are none."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122  (a hundred thousand names)


def pictures_by_stem(folder: Path) -> dict[str, tuple[str, ...]]:
    """The pictures of a folder by name without suffix; several where only the suffix differs, in alphabetical order."""
    if not folder.is_dir():
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(entry.name for entry in os.scandir(folder)):
        if is_picture(name):
            stem = os.path.splitext(name)[0]  # noqa: PTH122
            found[stem] = (*found.get(stem, ()), name)
    return found
