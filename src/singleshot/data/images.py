"""Which files of a folder are images, their sizes by their headers, and whether the annotations agree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from singleshot.data.faults import Fault
from singleshot.errors import ImageError
from singleshot.preprocess import image_size
from singleshot.types import Annotations

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


def sizes_or_reasons(files: Sequence[Path]) -> list[tuple[int, int] | str]:
    """Width and height of each image as displayed, or why it has none; reads headers only, on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_size_or_reason, files))


def _size_or_reason(file: Path) -> tuple[int, int] | str:
    try:
        return image_size(file)
    except ImageError as error:
        return str(error)


def header_faults(annotations: Annotations, *, missing_too: bool = True) -> list[Fault]:
    """Images that are none, and those of another size than stated; reads headers only, on all cores."""
    looked_at = [index for index in range(len(annotations)) if missing_too or annotations.path(index).exists()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda index: _header_fault(annotations, index), looked_at)
        return [fault for fault in found if fault is not None]


def _header_fault(annotations: Annotations, index: int) -> Fault | None:
    try:
        size = image_size(annotations.path(index))
    except ImageError as error:
        return Fault("unreadable image", annotations.files[index], without_path(error, annotations, index))
    return size_fault(annotations, index, size)


def size_fault(annotations: Annotations, index: int, size_wh: tuple[int, int]) -> Fault | None:
    """The fault where the annotation states a size, and another than the image's."""
    width, height = (int(side) for side in annotations.sizes_wh[index])
    if not width or not height or (width, height) == size_wh:
        return None
    detail = f"the annotation says {width}x{height}, the image is {size_wh[0]}x{size_wh[1]}"
    return Fault("wrong size", annotations.files[index], detail)


def without_path(error: ImageError, annotations: Annotations, index: int) -> str:
    """The message without the path at its beginning, which the fault names already."""
    return str(error).removeprefix(f"{annotations.path(index)}: ")
