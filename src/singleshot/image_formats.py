"""Which kind of image a file is, by its first bytes, and Pillow's reader of it.

Six formats are always read. HEIC and AVIF, the photographs of phones, are read where the extra `heif` is installed
(`pillow-heif`; AVIF by Pillow itself): their decoders are large, and who has no such photographs is safer without.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import BinaryIO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)
from PIL.ImageFile import ImageFile

# Pillow's readers are called directly, not through Image.open, so that no format outside this table is tried.
READERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
VIDEO_SIGNATURES = (b"\x1a\x45\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\x01", b"\x30\x26\xb2\x75")
"""First bytes of Matroska and WebM, MPEG program and video streams, Flash video, Windows Media. MP4 and QuickTime say
`ftyp` behind four bytes of length."""
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
PHONE_SUFFIXES = (".heic", ".heif", ".avif")
"""Read only with the extra `heif`."""
UNREAD_SUFFIXES = frozenset(
    {*PHONE_SUFFIXES, ".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".svg", ".psd",
     ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".jp2", ".jxl", ".exr", ".hdr", ".pdf", ".dcm",
     ".ppm", ".pgm", ".pnm"}
)  # fmt: skip
"""Of images and videos that somebody may expect to be read."""


def image_suffixes() -> frozenset[str]:
    """The suffixes of the formats that are read here, in lower case."""
    usual = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    return frozenset({*usual, *(PHONE_SUFFIXES if reads_heif() else ())})


@cache
def reads_heif() -> bool:
    """Whether the extra `heif` is installed."""
    return find_spec("pillow_heif") is not None


def readable(kind: str | None) -> bool:
    """Whether files of this kind, a result of `sniff`, can be decoded here."""
    return kind in READERS or (reads_heif() and (kind == "HEIC" or (kind == "AVIF" and bool(features.check("avif")))))


def open_header(kind: str, file: BinaryIO) -> ImageFile:
    """The image in a file of a readable kind; its header is read, its pixels are not decoded.

    Raises whatever Pillow's readers raise on damaged files.
    """
    if kind == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile(file)
    if kind == "HEIC":
        from pillow_heif import HeifImageFile

        return HeifImageFile(file)  # type: ignore[no-any-return]
    return READERS[kind](file)


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
    if data[4:8] == b"ftyp":
        return _sniff_boxes(data)
    return "BMP" if data[:2] == b"BM" else None


def _sniff_boxes(data: bytes) -> str | None:
    """HEIC or AVIF by the brands of the first box (ISO 14496-12); None for a video."""
    length = min(int.from_bytes(data[:4], "big"), 64)
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & {*HEIF_BRANDS, b"mif1", b"msf1"} else None


def describe(data: bytes) -> str:
    """What a file that is not read seems to be, what is expected, and what to do."""
    return f"expected {', '.join(READERS)}, found {_found(data)}"


def _found(data: bytes) -> str:
    kind = sniff(data)
    if kind == "AVIF" and reads_heif():
        return "an AVIF image, which this Pillow is built without: save it as JPEG"
    if kind in {"HEIC", "AVIF"}:
        phone = "a HEIC image (a photograph of an iPhone)" if kind == "HEIC" else "an AVIF image"
        return f"{phone}: save it as JPEG, or let it be read by pip install 'singleshot[heif]'"
    if data[4:8] == b"ftyp" or data.startswith(VIDEO_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"AVI "):
        return "a video: take its frames, by ffmpeg -i VIDEO frame-%05d.jpg"
    if data[:2] in {b"P5", b"P6"} and data[2:3].isspace():
        return "a PPM image: save it as PNG, by mogrify -format png *.ppm (labels may go on naming the .ppm)"
    if not data:
        return "an empty file"
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "an HTML page"
    if start.startswith((b"<?xml", b"<svg")):
        return "XML or SVG"
    return f"bytes {data[:8].hex(' ')}"
