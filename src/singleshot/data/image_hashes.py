"""Two hashes of an image, eight bytes each: of its file, and of what it shows.

The content hash is equal for equal files alone: the first eight bytes of the file's BLAKE2b. The perceptual hash
changes little where an image was only encoded anew, scaled or slightly changed; no image can be had back from either.

The perceptual hash is the sign of 64 coefficients of a cosine transform (DCT-II, Ahmed et al. 1974): the image in grey
as displayed, averaged to 32 x 32, its 8 x 8 lowest frequencies in both directions but those that do not change along
one of them, each as a bit: whether it is above their median. Two hashes differ in half of their bits on average where
two images have nothing in common. Measured distances: docs/measurements.md.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from singleshot.decode import EncodedImage
from singleshot.errors import ImageError
from singleshot.shapes import Float32, UInt8

NO_HASH = np.uint64(0)
"""Of a file that cannot be read, or of an image that shows nothing; it is like no other."""
GRID, FREQUENCIES = 32, 8
"""Side of the image in grey, and how many frequencies of each direction give bits."""
LEAST_CONTRAST = 2.0
"""Mean absolute coefficient, in grey levels, below which an image shows too little to be known again."""
LEAST_SIDE = 96
"""Pixels of the shorter side that a JPEG is still decoded to: three times the grid."""


@dataclass(frozen=True, eq=False)
class ImageHashes:
    """The hashes of some images, in their order.

    Attributes:
        content: (N,) uint64, of the files; `NO_HASH` where one cannot be read.
        perceptual: (N,) uint64, of what they show; `NO_HASH` where one cannot be decoded, or shows nothing.
    """

    content: np.ndarray
    perceptual: np.ndarray

    def __len__(self) -> int:
        return len(self.content)

    @staticmethod
    def concatenate(parts: Sequence[ImageHashes]) -> ImageHashes:
        """Those of several parts, one behind the other."""
        if not parts:
            return ImageHashes(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
        return ImageHashes(*(np.concatenate([getattr(part, name) for part in parts]) for name in HASHES))


HASHES = ("content", "perceptual")


def hash_images(paths: Sequence[Path], *, on_image: Callable[[int], None] = lambda _done: None) -> ImageHashes:
    """The hashes of some files, on all cores; what cannot be read has none (`NO_HASH`).

    Args:
        paths: the files.
        on_image: called with the number of files done.
    """
    pairs = np.zeros((len(paths), 2), np.uint64)
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # of several frames and of 16 bits: who decodes the image says so
        for row, pair in enumerate(pool.map(_hash_file, paths)):
            pairs[row] = pair
            on_image(row + 1)
    return ImageHashes(pairs[:, 0].copy(), pairs[:, 1].copy())


def hash_image(path: Path) -> ImageHashes:
    """The hashes of one file; see `hash_images`."""
    return hash_images([path])


def _hash_file(path: Path) -> tuple[np.uint64, np.uint64]:
    try:
        content = path.read_bytes() if path.is_file() else b""
        pixels = decode_small(content)
    except (OSError, ImageError):
        return NO_HASH, NO_HASH
    return content_hash(content), perceptual_hash(grey_grid(pixels))


def decode_small(source: Path | bytes) -> UInt8[np.ndarray, "H W 3"]:
    """An image as small as its decoder can make it without harm to its hash. Raises as `decode_image`."""
    image = EncodedImage(source)
    return image.decode(reduction=_reduction(min(image.size_hw)))


def _reduction(shorter_side: int) -> int:
    """How much smaller a JPEG may be decoded."""
    return next((factor for factor in (8, 4, 2) if shorter_side >= factor * LEAST_SIDE), 1)


def content_hash(content: bytes) -> np.uint64:
    """The first eight bytes of BLAKE2b (RFC 7693) as a number, never `NO_HASH`."""
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return max(np.uint64(int.from_bytes(digest, "big")), np.uint64(1))


def perceptual_hash(grid: Float32[np.ndarray, "S S"]) -> np.uint64:
    """64 signs of what an image in grey shows, `NO_HASH` where that is too little; see above."""
    coefficients = _low_frequencies(grid)
    if np.abs(coefficients).mean() < LEAST_CONTRAST:
        return NO_HASH
    bits = coefficients > np.median(coefficients)
    return np.uint64(int.from_bytes(np.packbits(bits).tobytes(), "big"))


def grey_grid(pixels: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "S S"]:
    """An image in grey (BT.601), its parts averaged to a square of 32 x 32 whatever its shape."""
    import cv2  # late: a tenth of a second

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grid: np.ndarray = cv2.resize(grey, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return grid


def _low_frequencies(grid: Float32[np.ndarray, "S S"]) -> Float32[np.ndarray, " F"]:
    """Coefficients of frequencies 1 to 8 in both directions, in grey levels, row by row."""
    waves = _waves(len(grid))
    coefficients: np.ndarray = waves @ grid @ waves.T * (2 / len(grid))
    return coefficients.ravel()


@cache
def _waves(side: int) -> Float32[np.ndarray, "F S"]:
    """The cosine of each frequency at each cell."""
    at = (2 * np.arange(side) + 1) * np.pi / (2 * side)
    waves = np.cos(np.arange(1, FREQUENCIES + 1)[:, None] * at)
    return waves.astype(np.float32)
