"""What an image may be: its size as a setting, kinds that are not read and how they are named, and deep values."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from singleshot import image_formats
from singleshot.commands.sources import find_sources
from singleshot.decode import LIMIT_VARIABLE, decode_image, limited_to, pixel_limit
from singleshot.errors import ImageError, RequestError
from singleshot.preprocess import has_contrast


def saved(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def png(values: np.ndarray) -> bytes:
    """A PNG of 16-bit grey (H, W) or RGB (H, W, 3), written by hand: Pillow writes no deep colours."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 2 if values.ndim == 3 else 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_the_limit_is_that_of_the_environment_inside_only() -> None:
    image = saved(Image.new("RGB", (40, 30)), "PNG")
    assert pixel_limit() == 50_000_000
    with limited_to(0.0011):
        assert os.environ[LIMIT_VARIABLE] == "0.0011"
        with pytest.raises(ImageError, match="--max-megapixels 1 "):
            decode_image(image)
        with limited_to(0.0012):
            assert decode_image(image).shape == (30, 40, 3)
        with limited_to(None):
            assert pixel_limit() == 1100
        assert decode_image(image, max_pixels=1200).shape == (30, 40, 3)
    assert LIMIT_VARIABLE not in os.environ


@pytest.mark.parametrize("limit", ["many", "-1", "0", "nan", "inf"])
def test_a_limit_is_a_number_above_0(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, limit)
    with pytest.raises(RequestError, match=LIMIT_VARIABLE):
        pixel_limit()
    if limit != "many":
        with pytest.raises(RequestError, match="above 0"):
            pixel_limit(float(limit))


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_fewer_bits_are_as_bright_as_those_of_16(bits: int, channels: int) -> None:
    values = np.linspace(0, 2**16 - 1, 30 * 40 * channels).astype(np.uint16).reshape(30, 40, channels).squeeze()
    full = decode_image(png(values))
    with pytest.warns(UserWarning, match=f"{bits} bits"):
        fewer = decode_image(png(values >> (16 - bits)))
    np.testing.assert_array_equal(fewer, full)
    assert full.max() == 255


def test_tiff_and_colours_in_order() -> None:
    values = np.zeros((4, 4), np.uint16) + np.uint16(4095)
    with pytest.warns(UserWarning, match="12 bits"):
        assert decode_image(saved(Image.fromarray(values), "TIFF")).min() == 255
    colours = np.zeros((2, 2, 3), np.uint16) + np.array([4095, 2048, 16], np.uint16)
    with pytest.warns(UserWarning, match="12 bits"):
        assert decode_image(png(colours))[0, 0].tolist() == [255, 128, 1]


@pytest.mark.filterwarnings("error")
def test_black_and_full_16_bits_say_nothing() -> None:
    assert decode_image(png(np.zeros((4, 4), np.uint16))).max() == 0
    assert decode_image(png(np.full((4, 4), 16384, np.uint16))).max() == 64


@pytest.mark.parametrize(
    ("brands", "said"),
    [
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"mif1\0\0\0\0mif1heic", "HEIC"),
        (b"avif\0\0\0\0mif1avif", "AVIF"),
        (b"mif1\0\0\0\0avifmif1", "AVIF"),
        (b"isom\0\0\0\0isommp41", "ffmpeg"),
    ],
)
def test_what_is_not_read_is_named_with_the_way_out(brands: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_formats, "reads_heif", lambda: False)
    with pytest.raises(ImageError, match=said) as caught:
        decode_image((8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands)
    assert "\n" not in str(caught.value)
    assert ("singleshot[heif]" in str(caught.value)) == (said != "ffmpeg")


@pytest.mark.skipif(not image_formats.readable("AVIF"), reason="needs pillow-heif, and Pillow with AVIF")
def test_photographs_of_phones_are_read_with_the_extra() -> None:
    rows = np.linspace(0, 255, 64).astype(np.uint8)
    image = Image.fromarray(np.stack(np.broadcast_arrays(rows[:, None], rows[None], np.uint8(128)), axis=-1))
    import pillow_heif

    pillow_heif.register_heif_opener()
    for kind in ("AVIF", "HEIF"):
        data = saved(image, kind)
        assert np.abs(decode_image(data).astype(int) - np.asarray(image)).mean() < 4
        with pytest.raises(ImageError):
            decode_image(data[: len(data) // 2])


def test_a_folder_says_what_of_it_is_not_read(tmp_path: Path) -> None:
    for name in ("IMG_1.heic", "b.WMV", "c.wmv", "notes.txt"):
        (tmp_path / name).touch()
    lines: list[str] = []
    with pytest.raises(RequestError, match=r"3 files, none of a kind that is read: \.heic, \.wmv"):
        find_sources([tmp_path], say=lines.append)
    (tmp_path / "d.jpg").touch()
    assert find_sources([tmp_path], say=lines.append).images == [tmp_path / "d.jpg"]
    assert len(lines) == 1
    assert "3 files" in lines[0]


def test_contrast_is_more_than_eight_levels_in_some_channel() -> None:
    image = np.full((40, 50, 3), 100, np.uint8)
    assert not has_contrast(image)
    image[7, 9, 1] = 108
    assert not has_contrast(image)
    image[7, 9, 1] = 109
    assert has_contrast(image)
    shades = np.zeros((2, 2, 3), np.uint8) + np.array([0, 100, 250], np.uint8)
    assert not has_contrast(shades)
