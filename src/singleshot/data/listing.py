"""List what lies in a folder: one system call for a hundred thousand images, where glob and iterdir ask for each."""

from __future__ import annotations

import os
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
