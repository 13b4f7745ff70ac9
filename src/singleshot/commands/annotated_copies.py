"""Places of annotated copies, which replace earlier copies of ours and nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from singleshot.errors import RequestError
from singleshot.files import write_whole
from singleshot.shapes import UInt8

MARK = "annotated by singleshot"
"""Comment in an annotated JPEG or WebM, by which a later run knows that it may replace it."""


def copy_folders(out: Path, sources: Sequence[str | Path], files: Sequence[Path]) -> dict[Path, Path]:
    """Where each file's annotated copy goes: a folder's sub-folders are mirrored under `out`.

    Raises:
        RequestError: `out` is a file, or a copy would lie among the files that are read.
    """
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out is a folder for annotated copies; {out} is a file")
    roots = [path for path in map(Path, sources) if path.is_dir()]
    folders: dict[Path, Path] = {}
    for file in files:
        root = next((root for root in roots if file.is_relative_to(root)), file.parent)
        folders[file] = out / file.parent.relative_to(root)
    read = {place: file for file in files for place in (file.resolve().parent, file.parent.resolve())}
    written = {out, *folders.values()}
    inside = any(out.resolve().is_relative_to(root.resolve()) for root in roots)  # of what is read
    for place in (place.resolve() for place in written):
        held = next((file for folder, file in read.items() if inside and folder.is_relative_to(place)), read.get(place))
        if held is not None:
            raise RequestError(f"{out} holds {held.name} itself, which its copy might replace: give another folder")
    return folders


def free_place(place: Path, taken: set[Path]) -> Path:
    """The place for a copy: as asked for, or with a number where another source, or a file not of ours, has it."""
    free, number = place, 1
    while free in taken or not _may_replace(free):
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}")
    taken.add(free)
    return free


def write_jpeg(place: Path, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write an annotated image as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92, comment=MARK.encode())
    write_whole(place, buffer.getvalue())


def _may_replace(place: Path) -> bool:
    """Whether nothing is there, or an earlier copy of ours, known by the comment in its first bytes."""
    if not os.path.lexists(place):
        return True
    if place.is_symlink() or not place.is_file():
        return False
    with place.open("rb") as file:
        return MARK.encode() in file.read(1024)
