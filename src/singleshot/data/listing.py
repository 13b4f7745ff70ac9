"""List what lies in a folder: one system call for a hundred thousand images, where glob and iterdir ask for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder in alphabetical order; hidden ones do not count."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def files_in(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder with a suffix such as `.json`, in alphabetical order; hidden ones do not count."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.lower().endswith(suffix)]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def folders_below(top: Path, *, deepest: int | None = None) -> Iterator[Path]:
    """A folder and all folders below it, each before those inside it, in alphabetical order; hidden ones do not count.

    Links are followed, but for one that leads back to a folder that it lies in.

    Args:
        top: where to begin.
        deepest: levels below `top`; None: all.
    """
    yield from _below(top, (os.path.realpath(top),), deepest)


def _below(folder: Path, above: tuple[str, ...], deepest: int | None) -> Iterator[Path]:
    """`folders_below`; `above` are the real paths of this folder and of those that it was reached through."""
    yield folder
    if deepest is not None and len(above) > deepest:
        return
    for child in folders_in(folder):
        real = os.path.realpath(child) if child.is_symlink() else os.path.join(above[-1], child.name)  # noqa: PTH118
        if not any(place == real or place.startswith(f"{real}{os.sep}") for place in above):
            yield from _below(child, (*above, real), deepest)
