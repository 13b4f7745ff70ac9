"""Decode an image file to displayed RGB pixels. Training, detection and serving all decode here.

Steps: the first bytes give the format, from an allowlist; the header gives the size, and more than `max_pixels` are
refused before decoding; Pillow decodes, and a truncated file is an error, not filled with grey; the colours become
8-bit RGB; EXIF orientation is applied. Conversions, each as OpenCV's imread does it:

    grey, 1 bit, palette    the colour itself, three channels
    alpha                   dropped, the stored colours stay (no compositing)
    16 bits                 the high byte of each value; where all are smaller, the highest 8 bits that the file uses
                            (12-bit cameras would be nearly black), with a `UserWarning`
    CMYK, YCCK              (255 - C)(255 - K) / 255, without a colour profile
    animation, many pages   the first, with a `UserWarning`
    32 bits, float, Lab     refused: the file does not say what range they have in RGB
"""

from __future__ import annotations

import io
import math
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL.Image import Image
from PIL.ImageFile import ImageFile

from singleshot.errors import ImageError, ImageFormatError, ImageSizeError, RequestError
from singleshot.image_formats import describe, open_header, readable, sniff
from singleshot.shapes import UInt8, UInt16

USUAL_MEGAPIXELS = 50.0
LIMIT_VARIABLE = "SINGLESHOT_MAX_MEGAPIXELS"
"""Environment variable with the limit of this process and of those that it starts."""
BYTES_A_PIXEL = 10  # more than an uncompressed file has at 16 bits a channel
HEAD_BYTES, TAIL_BYTES = 65_536, 4096
END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xae\x42\x60\x82"}
ORIENTATION_TAG = 0x0112
DEPTHS = (8, 10, 12, 14, 16)
"""Bits a value that cameras have."""


def pixel_limit(megapixels: float | None = None) -> int:
    """Largest width x height that is decoded: as given, else by the environment, else 50 megapixels.

    Raises:
        RequestError: a limit that is no number above 0.
    """
    text = os.environ.get(LIMIT_VARIABLE, USUAL_MEGAPIXELS) if megapixels is None else megapixels
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not (math.isfinite(limit) and limit > 0):
        where = f"{LIMIT_VARIABLE} is" if megapixels is None else "the limit is"
        raise RequestError(f"{where} a number of megapixels above 0, got {text}")
    return round(limit * 1e6)


@contextmanager
def limited_to(megapixels: float | None) -> Iterator[None]:
    """Decode up to this limit, here and in the processes that are started inside; None leaves it as it is.

    Raises:
        RequestError: as `pixel_limit`.
    """
    before = os.environ.get(LIMIT_VARIABLE)
    pixel_limit(megapixels)
    if megapixels is not None:
        os.environ[LIMIT_VARIABLE] = str(megapixels)
    try:
        yield
    finally:
        if megapixels is not None:
            os.environ.pop(LIMIT_VARIABLE)
            if before is not None:
                os.environ[LIMIT_VARIABLE] = before


def decode_image(source: Path | bytes, *, max_pixels: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """The image as displayed: 8-bit RGB, EXIF orientation applied.

    Args:
        source: a path, or the content of a file.
        max_pixels: largest width x height, else that of `pixel_limit`; larger images are refused by their header.

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
        orientation: of EXIF, 1 to 8; 1 is upright.

    Args:
        source: a path, or the content of a file.
        max_pixels: as `decode_image`.

    Raises:
        ImageError: not an image, a format outside the allowlist, or too large.
    """

    def __init__(self, source: Path | bytes, *, max_pixels: int | None = None) -> None:
        most = pixel_limit() if max_pixels is None else max_pixels
        self._name, self._data = _read(source, BYTES_A_PIXEL * most)
        self._kind, self._image = _open(self._name, self._data, most)
        self._deep = ";16" in str(self._image.tile)  # asked first: a PNG's EXIF block is read by loading its pixels
        width, height = self._image.size
        # Pillow's TIFF reader has already swapped the sides that its load() will turn.
        self.orientation = _orientation(self._image)
        turned = self._kind != "TIFF" and self.orientation >= 5
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
            if self._deep and pixels.max(initial=0) < 64 and not image.mode.startswith("I"):
                pixels = _deep_colours(name, self._data)
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


def image_size(source: Path | bytes, *, max_pixels: int | None = None) -> tuple[int, int]:
    """Displayed (width, height), from the header only; damaged pixels are not noticed.

    Raises:
        ImageError: not an image, a format outside the allowlist, or too large.
    """
    height, width = image_header(source, max_pixels=max_pixels).size_hw
    return width, height


def image_header(source: Path | bytes, *, max_pixels: int | None = None) -> EncodedImage:
    """An image of which perhaps the header alone was read, for its size and orientation. Raises as `image_size`."""
    return _from_head(source, max_pixels) or EncodedImage(source, max_pixels=max_pixels)


def require_end(path: Path) -> None:
    """Refuse a file whose end is missing, by its last bytes; what `decode_image` would refuse for that reason.

    Raises:
        ImageError: truncated.
    """
    try:
        with path.open("rb") as file:
            kind, size = sniff(file.read(64)), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
    except OSError:
        return  # reading the header has told
    if kind in {"JPEG", "PNG"} and END_MARKERS[kind] in tail:
        return
    if kind in {"JPEG", "PNG", "GIF", "WebP"}:
        _refuse_truncation(str(path), kind, path.read_bytes())


def _from_head(source: Path | bytes, max_pixels: int | None) -> EncodedImage | None:
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


def _read(source: Path | bytes, max_bytes: int) -> tuple[str, bytes]:
    """Name of the source for messages, and its content."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "image", bytes(source)
    path = Path(source)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{path}: expected an image, found a folder, a pipe or a device")
        with path.open("rb") as file:
            start = file.read(64)
            # A file that is no image may be of any size: its rest is not read.
            content = start + file.read(max_bytes) if readable(sniff(start)) else start
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ImageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > max_bytes:
        raise ImageSizeError(f"{path}: an image of more than {max_bytes:,} bytes is not read")
    return str(path), content


def _open(name: str, data: bytes, max_pixels: int) -> tuple[str, ImageFile]:
    """Format and header of an image; nothing is decoded."""
    kind = sniff(data)
    if kind is None or not readable(kind):
        raise ImageFormatError(f"{name}: {describe(data)}")
    if kind == "WebP":
        # libwebp allocates its canvas on opening, so the size is checked before.
        _limit(name, _webp_size(name, data), max_pixels)
    try:
        image = open_header(kind, io.BytesIO(data))
    except Exception as error:  # many types, as in `decode`
        raise _damaged(name, kind, error) from error
    _limit(name, image.size, max_pixels)
    return kind, image


def _limit(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: an image of {width} x {height} pixels has nothing in it")
    if width * height > max_pixels:
        needed = math.ceil(width * height / 1e6)
        raise ImageSizeError(
            f"{name}: {width} x {height} pixels are more than the limit of {max_pixels / 1e6:g} megapixels; "
            f"--max-megapixels {needed} allows them (in Python Detector.load(max_megapixels={needed}), elsewhere the "
            f"environment's {LIMIT_VARIABLE})"
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
        "JPEG": lambda: data.rfind(END_MARKERS["JPEG"]) > 0,  # from the end: phones append videos to images
        "PNG": lambda: data.rfind(END_MARKERS["PNG"]) > 0,
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
        return np.repeat(_eight_bits(name, np.asarray(image))[..., None], 3, axis=2)
    if image.mode in {"I", "F", "LAB"}:
        raise ImageError(
            f"{name}: mode {image.mode} (32-bit or Lab pixels) has no defined 8-bit RGB; save it as 8 or 16 bits"
        )
    if "transparency" in image.info:  # dropped from a copy: with it Pillow converts differently, and warns
        image = image.copy()
        del image.info["transparency"]
    return np.asarray(image.convert("RGB"))


def _eight_bits(name: str, values: UInt16[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """The high byte of 16-bit values, or of the bits that they use where all are smaller.

    Of `DEPTHS` the smallest that holds the largest value counts: 12 for a camera of 12 bits.
    """
    largest = int(values.max(initial=0))
    bits = next(depth for depth in DEPTHS if largest < 2**depth) if largest else 16
    if bits < 16:
        message = f"{name}: a file of 16 bits whose largest value is {largest}: taken for {bits} bits"
        warnings.warn(message, stacklevel=2)
    return (values >> (bits - 8)).astype(np.uint8)


def _deep_colours(name: str, data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    """8-bit RGB of a file of 16-bit colours whose values are small; Pillow gives the high byte alone."""
    import cv2

    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ImageError(f"{name}: colours of 16 bits that cannot be read; save it with 8 bits a channel")
    return np.ascontiguousarray(_eight_bits(name, values[..., 2::-1]))


def _damaged(name: str, kind: str, error: Exception) -> ImageError:
    """The error of a reader as one line."""
    message = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name}: truncated or damaged {kind}: {message[:200]}")
