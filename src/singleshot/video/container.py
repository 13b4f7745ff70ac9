"""Which kind of video file a file is, by its first bytes, and whether its end is missing.

Only these kinds are opened. What FFmpeg takes for a video, too, is not: playlists (HLS, DASH, ffconcat, SDP) name other
files and addresses, which would be opened for them.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from singleshot.errors import VideoError

FORMATS = {
    "MP4": "mov,mp4,m4a,3gp,3g2,mj2",
    "Matroska": "matroska,webm",
    "AVI": "avi",
    "MPEG-TS": "mpegts",
    "MPEG-PS": "mpeg",
    "FLV": "flv",
}
"""The kinds that are read; FFmpeg's names of their readers, to which it is held."""
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".flv"}
)
"""Files of a folder that are taken for videos; a file given by name is known by its content."""
PLAYLIST_SUFFIXES = frozenset({".m3u", ".m3u8", ".mpd", ".sdp", ".ffconcat", ".pls", ".asx", ".xspf"})
"""Of lists of other files and addresses, which are refused."""
HEAD_BYTES = 400
MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""Types of the box that an MP4 or QuickTime file may begin with."""
TS_PACKETS = ((0, 188), (4, 192))
"""First byte 0x47 (G) of the first packet, and bytes a packet, of MPEG-TS and of the recordings of cameras (M2TS)."""
LISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"<MPD", b"<?xml", b"[playlist]", b"[InternetShortcut]")
TAIL_BYTES = 2**18
FLV_TAGS = (b"\x08", b"\x09", b"\x12")
"""Sound, video and script data."""
MOST_BOXES = 100_000
"""Of an MP4 file, at its top: a stream in fragments has two for each."""
EBML, SEGMENT = 0x1A45DFA3, 0x18538067
"""Element identifiers of Matroska, RFC 9559."""


def sniff_video(head: bytes) -> str | None:
    """The kind of a video by its first bytes, a key of `FORMATS`, or None; the file's name does not matter.

    >>> sniff_video(b"RIFF1234AVI LIST"), sniff_video(b"#EXTM3U")
    ('AVI', None)
    """
    if head[4:8] in MP4_FIRST and head[8:12] not in {b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1"}:
        return "MP4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "Matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "AVI"
    if head.startswith(b"\0\0\x01\xba"):
        return "MPEG-PS"
    if head.startswith(b"FLV\x01"):
        return "FLV"
    return "MPEG-TS" if any(head[start::length][:3] == b"GGG" for start, length in TS_PACKETS) else None


def is_video(path: Path) -> bool:
    """Whether a file is a video of a kind that is read, by its first bytes."""
    try:
        return path.is_file() and sniff_video(_head(path)) is not None
    except (OSError, ValueError):
        return False


def require_video(path: Path) -> str:
    """The kind of a video file.

    Raises:
        VideoError: no ordinary file, or of no kind that is read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise VideoError(f"{path}: expected a video, found a folder, a pipe or a device")
        head = _head(path)
    except FileNotFoundError:
        raise VideoError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise VideoError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    kind = sniff_video(head)
    if kind is not None:
        return kind
    if not head:
        found = "an empty file"
    elif head.lstrip(b"\xef\xbb\xbf \r\n").startswith(LISTS):
        found = "a list of other files or addresses, which are not opened"
    else:
        found = f"bytes {head[:8].hex(' ')}"
    raise VideoError(f"{path}: expected a video ({', '.join(FORMATS)}), found {found}")


def missing_bytes(path: Path, kind: str) -> int:
    """How many bytes the file must have more, at least, by what is written in it; 0 where nothing says so.

    MP4: the length of the last box (ISO 14496-12). Matroska: of the Segment (RFC 9559); a stream's has none. AVI: of
    the RIFF chunks. MPEG-TS: of its packets. MPEG-PS: of the last packet (ISO 13818-1). FLV: of the last tag.
    """
    ends = {
        "MP4": _box_ends,
        "Matroska": _element_ends,
        "AVI": _chunk_ends,
        "MPEG-TS": _ts_ends,
        "MPEG-PS": _ps_ends,
        "FLV": _tag_ends,
    }
    size = path.stat().st_size
    with path.open("rb") as file:
        return max(0, max(ends[kind](file, size), default=0) - size)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _box_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where each box of an MP4 file ends; of a file made of very many, the first ones."""
    place = 0
    for _ in range(MOST_BOXES):
        if place >= size:
            return
        file.seek(place)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        elif length == 0 and header[4:8] != bytes(4):
            return  # to the end of the file
        if length < 8:
            yield place + 8 if len(header) < 8 else 0
            return  # no box: something that players skip
        place += length
        yield place


def _chunk_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where each RIFF chunk of an AVI file ends; long files have several."""
    place = 0
    while place < size:
        file.seek(place)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return
        place += 8 + int.from_bytes(header[4:], "little")
        yield place


def _element_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the EBML header and the Segment of a Matroska file end; a stream's Segment has no length."""
    place = 0
    while place < size:
        file.seek(place)
        header = file.read(12)
        width = 8 - header[4].bit_length() + 1 if len(header) == 12 else 9
        if int.from_bytes(header[:4], "big") not in {EBML, SEGMENT} or width > 8:
            return
        unknown = (1 << 7 * width) - 1
        length = int.from_bytes(header[4 : 4 + width], "big") & unknown
        if length == unknown:
            return
        place += 4 + width + length
        yield place


def _ts_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the last packet of an MPEG-TS file ends."""
    head = file.read(HEAD_BYTES)
    for start, length in TS_PACKETS:
        if head[start::length][:3] == b"GGG":
            yield -(-size // length) * length
            return


def _ps_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the packets at the end of an MPEG-PS file end, from the last pack header on."""
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read()
    place = tail.rfind(b"\0\0\1\xba")
    if place < 0:
        return
    base = size - len(tail)
    while tail[place : place + 3] == b"\0\0\1" and tail[place + 3 : place + 4] != b"\xb9":  # the end code
        header = tail[place + 3 : place + 14].ljust(11, b"\0")
        if header[0] != 0xBA:
            place += 6 + int.from_bytes(header[1:3], "big")
        else:  # a pack header, of MPEG-1 or of MPEG-2
            place += 12 if header[1] >> 4 == 2 else 14 + (header[10] & 7)
        yield base + place
    if 0 < len(tail) - place < 4:  # a start code was begun
        yield base + place + 4


def _tag_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where the last tag of an FLV file ends: the file's last four bytes say how long that tag is."""
    file.seek(max(0, size - 4))
    length = int.from_bytes(file.read(4), "big")
    file.seek(max(0, size - 4 - length))
    tag = file.read(4)
    if tag[:1] not in FLV_TAGS or int.from_bytes(tag[1:], "big") + 11 != length:
        yield size + 1
