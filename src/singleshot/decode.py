"""Decode an image file to displayed RGB pixels. Training, detection and serving all decode here.

Steps: the first bytes give the format, from an allowlist; the header gives the size, and more than `max_pixels` are
refused before decoding; Pillow decodes, and a truncated file is an error, not filled with grey; the colours become
8-bit RGB; EXIF orientation is applied. Conversions, each as OpenCV's imread does it:

    grey, 1 bit, palette    the colour itself, three channels
    alpha                   dropped, the stored colours stay (no compositing)
    16 bits                 the high byte of each value
    CMYK, YCCK              (255 - C)(255 - K) / 255, without a colour profile
    animation, many pages   the first, with a `UserWarning`
    32 bits, float, Lab     refused: the file does not say what range they have in RGB
"""

from __future__ import annotations

import io
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.Image import Image
from PIL.ImageFile import ImageFile

from singleshot.errors import ImageError
from singleshot.shapes import UInt8

MAX_PIXELS = 50_000_000
MAX_BYTES = 500_000_000  # more than MAX_PIXELS take uncompressed at 16 bits a channel
HEAD_BYTES = 65_536
ORIENTATION_TAG = 0x0112

VIDEO_SIGNATURES = (b"\x1a\x45\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\x01", b"\x30\x26\xb2\x75")
"""First bytes of Matroska and WebM, MPEG program and video streams, Flash video, Windows Media. MP4 and QuickTime say
`ftyp` behind four bytes of length."""

# Pillow's readers are called directly, not through Image.open, so that no format outside this table is tried.
READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}


def decode_image(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "H W 3"]:
    """The image as displayed: 8-bit RGB, EXIF orientation applied.

    Args:
        source: a path, or the content of a file.
        max_pixels: largest width x height; larger images are refused by their header.

    Raises:
        ImageError: not an image, a format outside the allowlist, too large, truncated or damaged.

    Warns:
        UserWarning: the file has several frames; only the first is used.
    """
    return EncodedImage(source, max_pixels=max_pixels).decode()


class EncodedImage:
    """An image whose header was read and checked; its pixels are decoded on request.

    Attributes:
        size_hw: height and width as displayed.

    Args:
        source: a path, or the content of a file.
        max_pixels: as `decode_image`.

    Raises:
        ImageError: not an image, a format outside the allowlist, or too large.
    """

    def __init__(self, source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> None:
        self._name, self._data = _read(source)
        self._kind, self._image = _open(self._name, self._data, max_pixels)
        width, height = self._image.size
        # Pillow's TIFF reader has already swapped the sides that its load() will turn.
        turned = self._kind != "TIFF" and _orientation(self._image) >= 5
        self.size_hw = (width, height) if turned else (height, width)

    def decode(self, *, reduction: int = 1) -> UInt8[np.ndarray, "H W 3"]:
        """The pixels as of `decode_image`; call it once.

        Args:
            reduction: decode a JPEG at 1/2, 1/4 or 1/8 of its sides (2, 4, 8), rounded up, in a fraction of the time
                (libjpeg's scaled DCT). Other formats are not reduced.

        Raises, warns: as `decode_image`.
        """
        name, kind, image = self._name, self._kind, self._image
        _refuse_truncation(name, kind, self._data)
        if getattr(image, "is_animated", False):
            warnings.warn(f"{name}: only the first of several frames is used", stacklevel=2)
        if reduction > 1 and kind == "JPEG":
            image.draft(image.mode, (max(1, image.width // reduction), max(1, image.height // reduction)))
        try:
            image.load()
            orientation = _orientation(image)
            pixels = _rgb(name, image)
        except ImageError:
            raise
        except Exception as error:  # Pillow's readers raise many types on damaged files
            raise _damaged(name, kind, error) from error
        return _turn(pixels, orientation)


def image_pixels(image: Image) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of a Pillow image as displayed: 8-bit RGB, EXIF orientation applied where it has one.

    Raises:
        ImageError: a mode without a defined 8-bit RGB, an empty image, or a file that cannot be decoded.
    """
    name = getattr(image, "filename", "") or "the image"
    if 0 in image.size:
        raise ImageError(f"{name} has no pixels: {image.width}x{image.height}")
    try:
        image.load()
        pixels = _rgb(name, image)
    except ImageError:
        raise
    except Exception as error:  # Pillow reads a lazily opened file here
        raise _damaged(name, image.format or "image", error) from error
    return _turn(pixels, _orientation(image))


def image_size(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Displayed (width, height), from the header only; damaged pixels are not noticed.

    Raises:
        ImageError: not an image, a format outside the allowlist, or too large.
    """
    height, width = (_from_head(source, max_pixels) or EncodedImage(source, max_pixels=max_pixels)).size_hw
    return width, height


def _from_head(source: Path | bytes, max_pixels: int) -> EncodedImage | None:
    """A JPEG opened from its first `HEAD_BYTES`, which give the size of nearly every one; None: read the whole file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return None
    path = Path(source)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return EncodedImage(head, max_pixels=max_pixels) if sniff(head) == "JPEG" else None
    except (ImageError, OSError, ValueError):
        return None  # reading the whole file gives the error message


def sniff(data: bytes) -> str | None:
    """The format by the first bytes, or None; the file's name does not matter.

    >>> sniff(b"GIF89a"), sniff(b"<html>")
    ('GIF', None)
    """
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return "GIF"
    if data[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "TIFF"
    return "BMP" if data[:2] == b"BM" else None


def _read(source: Path | bytes) -> tuple[str, bytes]:
    """Name of the source for messages, and its content."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "image", bytes(source)
    path = Path(source)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{path}: expected an image, found a folder, a pipe or a device")
        with path.open("rb") as file:
            start = file.read(16)
            # A file that is no image may be of any size: its rest is not read.
            content = start + file.read(MAX_BYTES) if sniff(start) else start
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ImageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_BYTES:
        raise ImageError(f"{path}: an image of more than {MAX_BYTES:,} bytes is not read")
    return str(path), content


def _open(name: str, data: bytes, max_pixels: int) -> tuple[str, ImageFile]:
    """Format and header of an image; nothing is decoded."""
    kind = sniff(data)
    if kind is None:
        raise ImageError(f"{name}: expected {', '.join(READERS)}, found {_describe(data)}")
    if kind == "WebP":
        # libwebp allocates its canvas on opening, so the size is checked before.
        _limit(name, _webp_size(name, data), max_pixels)
    try:
        image = READERS[kind](io.BytesIO(data))
    except Exception as error:  # many types, as in `decode`
        raise _damaged(name, kind, error) from error
    _limit(name, image.size, max_pixels)
    return kind, image


def _limit(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: an image of {width} x {height} pixels has nothing in it")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width} x {height} pixels are more than the limit of {max_pixels / 1e6:g} megapixels"
        )


def _webp_size(name: str, data: bytes) -> tuple[int, int]:
    """Canvas size by the first chunk of a WebP file (RFC 9649, sections 2.5 to 2.7)."""
    kind, body = data[12:16], data[20:30]
    if len(body) == 10 and kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if len(body) == 10 and kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if len(body) == 10 and kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise ImageError(f"{name}: damaged WebP: no size in its header")


def _refuse_truncation(name: str, kind: str, data: bytes) -> None:
    """Refuse a file whose end marker is missing, even where all pixels could be decoded."""
    complete = {
        "JPEG": lambda: data.rfind(b"\xff\xd9") > 0,  # searched from the end: phones append videos to images
        "PNG": lambda: data.rfind(b"IEND\xae\x42\x60\x82") > 0,
        "WebP": lambda: len(data) >= int.from_bytes(data[4:8], "little") + 8,
        "GIF": lambda: data.rstrip(b"\0").endswith(b";"),
    }
    if kind in complete and not complete[kind]():
        raise ImageError(f"{name}: truncated {kind}: its end is missing after {len(data)} bytes")


def _orientation(image: Image) -> int:
    """EXIF orientation, 1..8; 1 where it is missing or cannot be read."""
    if image.format == "JPEG" and "exif" not in image.info:
        return 1
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001  (a broken EXIF block does not make the pixels wrong)
        return 1
    return orientation if orientation in range(1, 9) else 1


def _turn(pixels: UInt8[np.ndarray, "H W 3"], orientation: int) -> UInt8[np.ndarray, "..."]:
    """Pixels as displayed, from pixels as stored (EXIF 2.32, tag 0x0112)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _rgb(name: str, image: Image) -> UInt8[np.ndarray, "H W 3"]:
    """8-bit RGB of a loaded image, by the table at the top of this file."""
    if image.mode == "RGB":
        return np.asarray(image)
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in {"I", "F", "LAB"}:
        raise ImageError(
            f"{name}: mode {image.mode} (32-bit or Lab pixels) has no defined 8-bit RGB; save it as 8 or 16 bits"
        )
    if "transparency" in image.info:  # dropped from a copy: with it Pillow converts differently, and warns
        image = image.copy()
        del image.info["transparency"]
    return np.asarray(image.convert("RGB"))


def _damaged(name: str, kind: str, error: Exception) -> ImageError:
    """The error of a reader as one line."""
    message = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name}: truncated or damaged {kind}: {message[:200]}")


def _describe(data: bytes) -> str:
    """What a file that is no image seems to be."""
    if not data:
        return "an empty file"
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "an HTML page"
    if start.startswith((b"<?xml", b"<svg")):
        return "XML or SVG"
    if data[4:8] == b"ftyp":
        still = {b"avif": "an AVIF image", b"heic": "a HEIC image", b"heix": "a HEIC image", b"mif1": "a HEIF image"}
        return still.get(data[8:12], "a video")
    if data.startswith(VIDEO_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"AVI "):
        return "a video"
    return f"bytes {data[:8].hex(' ')}"
