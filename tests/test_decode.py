from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from singleshot import decode
from singleshot.decode import decode_image, image_pixels, image_size
from singleshot.errors import ImageError
from singleshot.image_formats import sniff

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN = {
    "jpeg": ("JPEG", {"quality": 90}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "jpeg tiff": ("TIFF", {"compression": "jpeg"}),
}
LOSSLESS = ["png", "lossless webp", "bmp", "tiff", "lzw tiff", "deflate tiff"]


def scene(height: int = 30, width: int = 40) -> np.ndarray:
    """Soft colours that every side and corner can be told from."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = 255 * rows / max(height - 1, 1), 255 * columns / max(width - 1, 1)
    return np.stack([red, green, (red + green) / 2], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def written(name: str) -> bytes:
    kind, options = WRITTEN[name]
    return encoded(Image.fromarray(scene()), kind, **options)


@pytest.mark.parametrize("name", WRITTEN)
def test_every_allowed_format_opens(name: str) -> None:
    image = decode_image(written(name))
    assert image.shape == (30, 40, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image_size(written(name)) == (40, 30)
    # Lossy codings and GIF's palette move smooth colours by a few levels.
    most = 0 if name in LOSSLESS else 40
    assert np.abs(image.astype(int) - scene()).max() <= most


def test_a_path_is_as_good_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "no suffix at all"
    path.write_bytes(written("png"))
    np.testing.assert_array_equal(decode_image(path), scene())
    assert image_size(path) == (40, 30)


def test_jpeg_pixels_are_those_of_opencv() -> None:
    data = written("jpeg")
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decode_image(data).astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("name", WRITTEN)
def test_no_cut_is_silent(name: str) -> None:
    data = written(name)
    assert len(decode_image(data))
    cuts = sorted({*np.linspace(0, len(data) - 1, 60).astype(int), *range(len(data) - 12, len(data))})
    for cut in cuts:
        with pytest.raises(ImageError):
            decode_image(data[:cut])


def test_a_cut_behind_a_thumbnail_is_seen() -> None:
    """The EXIF block holds a whole JPEG with an end marker of its own."""
    exif = b"Exif\0\0" + written("jpeg")
    data = encoded(Image.fromarray(scene()), "JPEG", exif=exif)
    assert len(decode_image(data))
    for cut in range(len(data) - 300, len(data)):
        with pytest.raises(ImageError):
            decode_image(data[:cut])


def test_what_phones_append_does_no_harm() -> None:
    np.testing.assert_array_equal(decode_image(written("jpeg") + b"film" * 50_000), decode_image(written("jpeg")))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


PNG_BOMB_SIDES = (7072, 8000, 9500, 10_000, 13_400, 20_000, 30_000, 60_000, 2**24, 2**31 - 1)


def bombs() -> dict[str, bytes]:
    found = {
        f"png {side}": png_bomb(side, side)
        for side in (7072, 8000, 9500, 10_000, 13_400, 20_000, 30_000, 60_000, 2**24, 2**31 - 1)
    }
    webp = bytearray(encoded(Image.fromarray(scene()), "WEBP", lossless=True))
    webp[21:25] = (16382 | 16382 << 14).to_bytes(4, "little")
    lossy = bytearray(written("webp"))
    lossy[26:30] = struct.pack("<HH", 16383, 16383)
    extended = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    gif = bytearray(written("gif"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = bytearray(written("bmp"))
    bmp[18:26] = struct.pack("<ii", 40_000, 40_000)
    jpeg = bytearray(written("jpeg"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65535, 65535)
    tiff = bytearray(written("tiff"))
    for tag in (256, 257):
        place = tiff.index(struct.pack("<HH", tag, 4)) if struct.pack("<HH", tag, 4) in tiff else -1
        if place >= 0:
            tiff[place + 8 : place + 12] = struct.pack("<I", 50_000)
    found |= {
        "flat png": png_bomb(2**31 - 1, 1),
        "webp": bytes(webp),
        "lossy webp": bytes(lossy),
        "extended webp": extended,
        "gif": bytes(gif),
    }
    return found | {"bmp": bytes(bmp), "jpeg": bytes(jpeg), "tiff": bytes(tiff)}


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_from_its_header(name: str) -> None:
    data = bombs()[name]
    tracemalloc.start()
    for read in (decode_image, image_size):
        with pytest.raises(ImageError, match="50 megapixels"):
            read(data)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_the_limit_is_a_setting_and_is_inclusive() -> None:
    data = written("png")
    assert decode_image(data, max_pixels=1200).shape == (30, 40, 3)
    with pytest.raises(ImageError, match="40 x 30"):
        decode_image(data, max_pixels=1199)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    """The stored image is turned so that the displayed one is the scene."""
    shown = Image.fromarray(scene(32, 48))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = shown.transpose(undo[orientation]) if orientation > 1 else shown
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    data = encoded(stored, kind, exif=exif, **options)
    image = decode_image(data)
    assert image_size(data) == (48, 32)
    assert image.shape == (32, 48, 3)
    assert np.abs(image.astype(int) - scene(32, 48)).max() <= 8


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_a_senseless_orientation_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(scene()), "PNG", exif=exif)), scene())


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("L", "1", "P", "RGBA", "LA")),
        *(("TIFF", mode) for mode in ("L", "1", "P", "RGBA", "LA")),
        *(("JPEG", mode) for mode in ("L", "CMYK", "YCbCr")),
        *(("BMP", mode) for mode in ("L", "1", "P", "RGBA")),
        *(("WEBP", mode) for mode in ("L", "P", "RGBA", "LA")),
    ],
)
def test_modes_agree_with_opencv(mode: str, kind: str) -> None:
    data = encoded(Image.fromarray(scene()).convert(mode), kind)
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decode_image(data).astype(int) - theirs).max() <= 2


def test_alpha_is_dropped_and_not_composited() -> None:
    rgba = np.dstack([scene(), np.zeros((30, 40), np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(rgba), "PNG")), scene())


def test_a_palette_with_transparency_gives_its_colours() -> None:
    palette = Image.fromarray(scene()).convert("P")
    expected = np.asarray(palette.convert("RGB"))
    data = encoded(palette, "PNG", transparency=bytes(range(256)))
    np.testing.assert_array_equal(decode_image(data), expected)


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_give_the_high_byte(kind: str, channels: int) -> None:
    values = np.linspace(0, 65535, 30 * 40 * channels).reshape(30, 40, channels).astype(np.uint16)
    data = cv2.imencode(kind, values[..., ::-1])[1].tobytes()
    expected = np.broadcast_to(values >> 8, (30, 40, 3))
    np.testing.assert_array_equal(decode_image(data), expected)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(mode: str) -> None:
    data = encoded(Image.fromarray(scene()).convert(mode), "TIFF")
    with pytest.raises(ImageError, match="no defined 8-bit RGB"):
        decode_image(data)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame_and_a_warning(kind: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 9, 3), value, np.uint8)) for value in (250, 10, 130)]
    path = tmp_path / "film"
    path.write_bytes(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    with pytest.warns(UserWarning, match="film"):
        image = decode_image(path)
    assert image.shape == (8, 9, 3)
    assert np.abs(image.astype(int) - 250).max() <= 2


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\n <html>", "an HTML page"),
        (b"<svg xmlns=", "XML or SVG"),
        (b"%PDF-1.7", "bytes 25 50 44 46 2d 31 2e 37"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "a video"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF image"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81", "a video"),
        (b"RIFF\x24\0\0\0AVI LIST", "a video"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "bytes 52 49 46 46"),
        (bytes(100), "bytes 00 00"),
    ],
)
def test_what_is_no_image_is_named(content: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"cat\.jpg.*JPEG, PNG, WebP, BMP, TIFF, GIF") as caught:
        decode_image(path)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_video_is_called_a_video(tmp_path: Path) -> None:
    """As OpenCV writes one: its first bytes differ between containers."""
    for suffix, codec in ((".mp4", "mp4v"), (".avi", "MJPG")):
        path = tmp_path / f"film{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (40, 30))
        writer.write(scene())
        writer.release()
        with pytest.raises(ImageError, match="a video"):
            decode_image(path)


@pytest.mark.parametrize("kind", ["ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000", "EPS", "PDF", "DDS", "AVIF"])
def test_exotic_formats_are_refused(kind: str) -> None:
    data = encoded(Image.fromarray(scene(32, 32)), kind)
    with pytest.raises(ImageError, match="expected JPEG") as caught:
        decode_image(data)
    assert ("mogrify" in str(caught.value)) == (kind == "PPM")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.jpg"):
        decode_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match="a folder"):
        decode_image(tmp_path)


def test_a_text_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jpg"
    path.write_bytes(b"not an image" * 2_000_000)
    tracemalloc.start()
    with pytest.raises(ImageError):
        image_size(path)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


@pytest.mark.parametrize("name", WRITTEN)
def test_mutations_never_crash(name: str) -> None:
    """Wrong bytes give an image or a ImageError, nothing else; 400 a format."""
    data, generator = written(name), np.random.default_rng(5)
    refused = 0
    for _ in range(400):
        mutant = bytearray(data)
        for place in generator.integers(0, len(data), generator.integers(1, 12)):
            mutant[place] = generator.integers(256)
        # Headers are where the danger is.
        mutant[generator.integers(0, min(64, len(data)))] ^= 1 << generator.integers(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert decode_image(bytes(mutant)).ndim == 3
            except ImageError:
                refused += 1
    assert refused


STARTS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBPVP8X"]


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200),
    st.sampled_from(STARTS),
)
def test_random_bytes_are_refused(tail: bytes, start: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(start + tail)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes(size_hw: tuple[int, int]) -> None:
    image = scene(*size_hw)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(image), "PNG")), image)


def test_sniffing_asks_the_bytes() -> None:
    assert sniff(b"RIFF\0\0\0\0WEBPVP8 ") == "WebP"
    assert sniff(b"RIFF\0\0\0\0WAVE") is None


def test_an_opened_image_gives_the_pixels_that_its_file_gives(tmp_path: Path) -> None:
    deep = (np.arange(30 * 20, dtype=np.uint16) * 100).reshape(20, 30)
    palette = Image.new("P", (30, 20), 3)
    palette.info["transparency"] = 3
    for source, name in ((Image.fromarray(deep), "deep.png"), (palette, "palette.png")):
        path = tmp_path / name
        source.save(path)
        with Image.open(path) as opened:
            np.testing.assert_array_equal(image_pixels(opened), decode_image(path))
            assert ("transparency" in opened.info) == ("transparency" in source.info)


def test_an_opened_image_with_damage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with Image.open(path) as opened, pytest.raises(ImageError, match=r"cut\.png"):
        image_pixels(opened)


def test_the_size_of_a_large_jpeg_needs_its_head_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 400, 3), np.uint8)
    path = tmp_path / "large.jpg"
    Image.fromarray(noise).save(path, quality=95)
    assert path.stat().st_size > 2 * decode.HEAD_BYTES
    heads: list[int] = []
    read = decode._read
    monkeypatch.setattr(decode, "_read", lambda source, most: heads.append(len(source)) or read(source, most))
    assert image_size(path) == (400, 500)
    assert heads == [decode.HEAD_BYTES]


def test_a_jpeg_with_much_before_its_size_is_read_whole(tmp_path: Path) -> None:
    plain = io.BytesIO()
    Image.new("RGB", (40, 30)).save(plain, "JPEG")
    profile = b"\xff\xe2\xff\xff" + bytes(65_533)
    path = tmp_path / "profile.jpg"
    path.write_bytes(plain.getvalue()[:2] + profile * 3 + plain.getvalue()[2:])
    assert image_size(path) == (40, 30)
