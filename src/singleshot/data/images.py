"""Which files of a folder are images, their sizes by their headers, and whether the annotations agree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from singleshot.data.faults import Fault
from singleshot.decode import image_size
from singleshot.errors import ImageError
from singleshot.image_formats import image_suffixes
from singleshot.types import Annotations

IMAGE_SUFFIXES = image_suffixes()


def is_image(name: str) -> bool:
    """Whether a file name has the suffix of an image format that we decode; hidden files do not count."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122  (a hundred thousand names)


def images_by_stem(folder: Path) -> dict[str, tuple[str, ...]]:
    """The images of a folder by stem; those that differ in their suffix only in alphabetical order."""
    if not folder.is_dir():
        return {}
    images: dict[str, tuple[str, ...]] = {}
    for name in sorted(entry.name for entry in os.scandir(folder)):
        if is_image(name):
            stem = os.path.splitext(name)[0]  # noqa: PTH122
            images[stem] = (*images.get(stem, ()), name)
    return images


def sizes_or_reasons(files: Sequence[Path]) -> list[tuple[int, int] | str]:
    """Displayed (width, height) of each image, or the error message; reads headers only, on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_size_or_reason, files))


def _size_or_reason(file: Path) -> tuple[int, int] | str:
    try:
        return image_size(file)
    except ImageError as error:
        return str(error)


def header_faults(annotations: Annotations, *, missing_too: bool = True) -> list[Fault]:
    """Files that are no images, and images whose size differs from the annotated one; reads headers only."""
    indices = [index for index in range(len(annotations)) if missing_too or annotations.path(index).exists()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = pool.map(lambda index: _header_fault(annotations, index), indices)
        return [fault for fault in faults if fault is not None]


def _header_fault(annotations: Annotations, index: int) -> Fault | None:
    try:
        size = image_size(annotations.path(index))
    except ImageError as error:
        return Fault("unreadable image", annotations.files[index], without_path(error, annotations, index))
    return size_fault(annotations, index, size)


def size_fault(annotations: Annotations, index: int, size_wh: tuple[int, int]) -> Fault | None:
    """A fault where the annotation states another size than the image has, else None."""
    width, height = (int(side) for side in annotations.sizes_wh[index])
    if not width or not height or (width, height) == size_wh:
        return None
    detail = f"the annotation says {width}x{height}, the image is {size_wh[0]}x{size_wh[1]}"
    return Fault("wrong size", annotations.files[index], detail)


def without_path(error: ImageError, annotations: Annotations, index: int) -> str:
    """The message without the path at its beginning, which the fault already names."""
    return str(error).removeprefix(f"{annotations.path(index)}: ")
