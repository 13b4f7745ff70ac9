"""Which files of a folder are images, their sizes by their headers, and whether the annotations agree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from singleshot.data.faults import Fault
from singleshot.decode import image_header, image_size, require_end
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


class ImageHeader(NamedTuple):
    """Displayed width and height, and the EXIF orientation (1: upright)."""

    size_wh: tuple[int, int]
    orientation: int


def read_headers(annotations: Annotations, *, missing_too: bool = True) -> list[ImageHeader | str | None]:
    """The header of each image, or the message of what is wrong with the file, its missing end included.

    None for a missing image without `missing_too`. Reads the first and the last bytes only, on all cores.
    """

    def header(index: int) -> ImageHeader | str | None:
        path = annotations.path(index)
        if not missing_too and not path.exists():
            return None
        try:
            image = image_header(path)
            require_end(path)
        except ImageError as error:
            return without_path(error, annotations, index)
        height, width = image.size_hw
        return ImageHeader((width, height), image.orientation)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(header, range(len(annotations))))


def header_faults(annotations: Annotations, headers: Sequence[ImageHeader | str | None]) -> list[Fault]:
    """Files that are no images or lack their end, and images whose size differs from the annotated one."""
    faults = []
    for index, header in enumerate(headers):
        if isinstance(header, str):
            faults.append(Fault("unreadable image", annotations.files[index], header))
        elif header is not None and (fault := size_fault(annotations, index, header.size_wh, header.orientation)):
            faults.append(fault)
    return faults


def size_fault(annotations: Annotations, index: int, size_wh: tuple[int, int], orientation: int = 1) -> Fault | None:
    """A fault where the annotation states another size than the image has, else None."""
    width, height = (int(side) for side in annotations.sizes_wh[index])
    if not width or not height or (width, height) == size_wh:
        return None
    detail = f"the annotation says {width}x{height}, the image is {size_wh[0]}x{size_wh[1]}"
    if (height, width) == size_wh and orientation >= 5:
        detail += f" as displayed (EXIF orientation {orientation}): --labels-on stored turns its boxes"
    return Fault("wrong size", annotations.files[index], detail)


def without_path(error: ImageError, annotations: Annotations, index: int) -> str:
    """The message without the path at its beginning, which the fault already names."""
    return str(error).removeprefix(f"{annotations.path(index)}: ")
