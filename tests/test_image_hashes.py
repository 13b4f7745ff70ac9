"""Hashes of images: of the file, and of what it shows."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from singleshot.data import image_hashes
from singleshot.data.image_hashes import (
    LEAST_SIDE,
    NO_HASH,
    content_hash,
    grey_grid,
    hash_image,
    hash_images,
    perceptual_hash,
)
from singleshot.photographs import PHOTOGRAPHS

if TYPE_CHECKING:
    from pathlib import Path

CAT = PHOTOGRAPHS[0].path


def distance(first: np.uint64, second: np.uint64) -> int:
    return int(np.bitwise_count(first ^ second))


def slow_hash(pixels: np.ndarray) -> int:
    """The definition, sum by sum."""
    grid = grey_grid(pixels)
    values = []
    for down in range(1, 9):
        for across in range(1, 9):
            total = 0.0
            for row in range(32):
                for column in range(32):
                    wave = math.cos(math.pi * down * (2 * row + 1) / 64) * math.cos(
                        math.pi * across * (2 * column + 1) / 64
                    )
                    total += float(grid[row, column]) * wave
            values.append(total)
    median = sorted(values)[31] / 2 + sorted(values)[32] / 2
    return int("".join("1" if value > median else "0" for value in values), 2)


def test_the_hash_is_64_signs_of_low_frequencies() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8)
    assert int(perceptual_hash(grey_grid(pixels))) == slow_hash(pixels)
    assert slow_hash(pixels).bit_count() == 32  # above the median


def test_grey_is_a_mean_of_areas_and_colours() -> None:
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:2, :4] = [100, 200, 50]
    grid = grey_grid(pixels)
    assert grid.shape == (32, 32)
    assert grid[0, 0] == pytest.approx(0.299 * 100 + 0.587 * 200 + 0.114 * 50, abs=0.51)
    assert not grid[1:].any()


def test_the_content_is_the_beginning_of_blake2b(tmp_path: Path) -> None:
    assert content_hash(b"") == int.from_bytes(hashlib.blake2b(b"", digest_size=8).digest(), "big")
    (tmp_path / "cat.jpg").write_bytes(CAT.read_bytes())
    assert hash_image(tmp_path / "cat.jpg").content == content_hash(CAT.read_bytes())


def test_an_image_encoded_anew_or_scaled_is_known_again_and_another_is_not(tmp_path: Path) -> None:
    image = Image.open(CAT).convert("RGB")
    image.save(tmp_path / "bad.jpg", quality=30)
    image.save(tmp_path / "same.png")
    image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(tmp_path / "small.png")
    names = ("bad.jpg", "same.png", "small.png")
    (original, *copies) = hash_images([CAT, *(tmp_path / name for name in names)]).perceptual
    assert [distance(original, copy) <= 4 for copy in copies] == [True] * 3
    others = hash_images([photograph.path for photograph in PHOTOGRAPHS[1:]])
    assert min(distance(original, other) for other in others.perceptual) > 12


def test_the_image_counts_as_displayed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.open(CAT).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    lying.save(tmp_path / "turned.png", exif=exif)
    assert distance(hash_image(tmp_path / "turned.png").perceptual[0], hash_image(CAT).perceptual[0]) <= 4


def test_a_jpeg_may_be_decoded_small_but_not_smaller_than_the_hash_needs() -> None:
    assert [image_hashes._reduction(side) for side in (LEAST_SIDE, 2 * LEAST_SIDE, 8 * LEAST_SIDE - 1, 8000)] == [
        1,
        2,
        4,
        8,
    ]


def test_what_shows_nothing_or_cannot_be_read_has_no_hash(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (200, 30, 30)).save(tmp_path / "plain.png")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "cut.jpg").write_bytes(CAT.read_bytes()[:3000])
    (tmp_path / "folder.jpg").mkdir()
    done: list[int] = []
    names = ("plain.png", "text.jpg", "cut.jpg", "folder.jpg", "missing.jpg")
    hashes = hash_images([tmp_path / name for name in names], on_image=done.append)
    assert not hashes.perceptual.any()
    assert hashes.content[0] != NO_HASH
    assert not hashes.content[1:].any()
    assert done == [1, 2, 3, 4, 5]
    assert len(hash_images([])) == 0
