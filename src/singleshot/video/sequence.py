"""A sequence of images as a video: a folder, or numbered files named by a pattern such as `frame_%05d.jpg`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from singleshot.decode import decode_image
from singleshot.errors import ImageError, RequestError, VideoError
from singleshot.image_formats import image_suffixes
from singleshot.shapes import UInt8

NUMBER = re.compile(r"%0?(\d*)d")
"""The place of the number in a pattern, as C and FFmpeg write it."""


class ImageSequence:
    """Images as frames, one every 1 / fps seconds.

    Attributes:
        fps: frames a second.
        claimed_frames: how many images there are.
        lost: how many images could not be used; their time passes.
        first_loss: what was wrong with the first of them.
        size_wh: (0, 0), as no image has been read yet.
        missing_bytes: 0.
    """

    size_wh = (0, 0)
    missing_bytes = 0

    def __init__(self, files: list[Path], *, fps: float, max_pixels: int) -> None:
        self._files = files
        self._max_pixels = max_pixels
        self.fps = fps
        self.claimed_frames: int | None = len(files)
        self.lost = 0
        self.first_loss = ""

    def __iter__(self) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"]]]:
        """Time in seconds and RGB pixels, as displayed, of each image."""
        for place, file in enumerate(self._files):
            try:
                yield place / self.fps, decode_image(file, max_pixels=self._max_pixels)
            except ImageError as error:
                self.lost += 1
                self.first_loss = self.first_loss or str(error)

    def close(self) -> None:
        """Nothing is open."""


def is_pattern(source: Path) -> bool:
    """Whether a name is a pattern with one number in it, and no file of its own."""
    return len(NUMBER.findall(source.name)) == 1 and not source.exists()


def open_sequence(source: Path, *, fps: float | None, max_pixels: int) -> ImageSequence:
    """The images of a folder, in the order of the numbers in their names, or those that a pattern names.

    Raises:
        RequestError: no frame rate.
        VideoError: there are no such images.
    """
    if fps is None:
        raise RequestError(f"{source}: a sequence of images needs its frames a second: --fps 25")
    files = _of_folder(source) if source.is_dir() else _of_pattern(source)
    if not files:
        raise VideoError(f"{source}: {'has no images' if source.is_dir() else 'no file has such a name'}")
    return ImageSequence(files, fps=fps, max_pixels=max_pixels)


def _of_folder(folder: Path) -> list[Path]:
    suffixes = image_suffixes()
    files = [file for file in folder.iterdir() if file.suffix.lower() in suffixes and file.is_file()]
    return sorted(files, key=lambda file: _natural(file.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which frame2 comes before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _of_pattern(pattern: Path) -> list[Path]:
    found = NUMBER.search(pattern.name)
    assert found is not None
    before, after = re.escape(pattern.name[: found.start()]), re.escape(pattern.name[found.end() :])
    numbered = re.compile(f"{before}(\\d{{{found[1] or 1},}}){after}")
    if not pattern.parent.is_dir():
        return []
    matches = ((numbered.fullmatch(file.name), file) for file in pattern.parent.iterdir() if file.is_file())
    return [file for _, file in sorted((int(match[1]), file) for match, file in matches if match)]
