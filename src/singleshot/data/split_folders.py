"""Which folders are splits, by their names: `train`, `Valid`, `test_images`, `train2017`."""

from __future__ import annotations

import os
import re
from pathlib import Path

_WORD = r"(train(ing|val)?|val(id|idation)?|test(ing)?)"
_SPLIT = re.compile(rf"^{_WORD}([-_ .]?(set|data|images?|imgs?|zip|\d++))*$", re.IGNORECASE)


def is_split_name(name: str) -> bool:
    """Whether a folder or list of this name is a split.

    >>> is_split_name("valid"), is_split_name("train_images"), is_split_name("trains"), is_split_name("testimony")
    (True, True, False, False)
    """
    return _SPLIT.match(name) is not None


def split_folders(root: Path) -> dict[str, Path]:
    """The folders in `root` that are splits, in alphabetical order."""
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if is_split_name(entry.name) and entry.is_dir())
    return {name: root / name for name in names}


def split_of(file: str) -> str:
    """The split that a path below the set's root lies in: its shortest folder that is a split's; "" where none is.

    >>> split_of("train_zip/train/a.xml"), split_of("Annotations/a.xml")
    ('train', '')
    """
    return min(filter(is_split_name, file.split("/")[:-1]), key=len, default="")


def child_folder(root: Path, name: str) -> Path | None:
    """The folder of this name in `root`, in any case of letters."""
    exact = root / name
    if exact.is_dir():
        return exact
    with os.scandir(root) as entries:  # there may be a hundred thousand
        names = sorted(entry.name for entry in entries if entry.name.lower() == name and entry.is_dir())
    return root / names[0] if names else None
