"""Frames of video files, cameras and network streams, by OpenCV and the FFmpeg inside it.

FFmpeg may open a file, and nothing else: it is told the one reader and the one protocol that it may use.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from singleshot.errors import RequestError, VideoError
from singleshot.shapes import UInt8
from singleshot.video.container import FORMATS, missing_bytes, require_video

OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""Environment variable by which OpenCV takes options for FFmpeg."""
STREAM_PROTOCOLS = ("rtsp://", "rtsps://")
PATIENCE_MS = 10_000
"""A network stream that does not open, or gives no frame, for so long has ended."""
LONGEST_DAMAGE = 1000
"""Frames in a row that cannot be decoded, after which no more are tried."""
_opening = Lock()  # the environment is one for all threads


class Capture:
    """An open source of frames.

    Attributes:
        size_wh: width and height that it claims.
        fps: frames a second that it claims; may be anything.
        claimed_frames: how many frames it claims to have, or None.
        missing_bytes: how many bytes are missing at the end of the file.
        lost: how many frames before the last could not be decoded.

    Args:
        capture: OpenCV's.
        missing: becomes `missing_bytes`.
        may_fail: frames in a row that may fail before the source is taken to have ended.
        live: whether frames are timed by the clock, as they come; else by their timestamps.
    """

    def __init__(self, capture: Any, *, missing: int = 0, may_fail: int = 0, live: bool = False) -> None:
        import cv2

        self._capture = capture
        self.size_wh = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        self.fps = float(capture.get(cv2.CAP_PROP_FPS))
        frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.claimed_frames = int(frames) if 0 < frames < 2**53 else None
        self.missing_bytes = missing
        self.lost = 0
        self._may_fail = may_fail
        self._live = live
        self._start: float | None = None

    def __iter__(self) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"]]]:
        """Time in seconds and RGB pixels, as displayed, of each frame."""
        import cv2

        failed = 0
        while failed <= self._may_fail:  # a failure may be the end, or a frame that cannot be decoded
            try:
                decoded, frame = self._capture.read()
            except cv2.error:
                decoded, frame = False, None
            if not decoded or frame is None:
                failed += 1
                continue
            self.lost, failed = self.lost + failed, 0
            yield self._seconds(), cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def _seconds(self) -> float:
        """When the frame that was read last is shown."""
        import cv2

        if not self._live:
            return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        now = time.monotonic()
        self._start = now if self._start is None else self._start
        return now - self._start

    def close(self) -> None:
        """Release the file or the camera."""
        self._capture.release()


def open_file(path: Path) -> Capture:
    """Open a video file.

    Raises:
        VideoError: no video of a kind that is read, or nothing in it can be decoded.
    """
    kind = require_video(path)
    missing = missing_bytes(path, kind)
    options = f"protocol_whitelist;file|format_whitelist;{FORMATS[kind]}"
    try:
        name = str(path.resolve())
        name.encode()
    except UnicodeEncodeError:
        raise VideoError(f"{path}: a video's path must be UTF-8: rename it, or the folder that is not") from None
    capture = _ffmpeg(name, options)
    if capture is None:
        cut = f"; its end is missing, {missing:,} bytes or more" if missing else ""
        raise VideoError(f"{path}: no video in it can be decoded ({kind}){cut}")
    return Capture(capture, missing=missing, may_fail=LONGEST_DAMAGE)


def open_stream(address: str) -> Capture:
    """Open a network stream, which has to be an RTSP address.

    Raises:
        RequestError: another kind of address.
        VideoError: it cannot be opened.
    """
    if not address.startswith(STREAM_PROTOCOLS):
        raise RequestError(f"{without_password(address)}: a network stream begins with {' or '.join(STREAM_PROTOCOLS)}")
    options = "rtsp_transport;tcp|protocol_whitelist;rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto"
    capture = _ffmpeg(address, options)
    if capture is None:
        raise VideoError(
            f"{without_password(address)}: the stream cannot be opened, or not within {PATIENCE_MS // 1000} s"
        )
    return Capture(capture)


def without_password(address: str) -> str:
    """The address as it may be shown and written.

    >>> without_password("rtsp://me:secret@camera/1")
    'rtsp://camera/1'
    """
    scheme, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def open_camera(index: int) -> Capture:
    """Open a camera of this machine.

    Raises:
        VideoError: there is none of this number.
    """
    import cv2

    _quiet()
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        raise VideoError(f"camera {index}: there is none, or it cannot be opened; the first is 0")
    return Capture(capture, live=True)


def _ffmpeg(source: str, options: str) -> Any | None:
    """OpenCV's capture of a source, or None where it cannot be opened."""
    import cv2

    _quiet()
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, PATIENCE_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, PATIENCE_MS]
    try:
        source.encode()  # VideoCapture ends the whole process at a name that is not UTF-8
        with _opening, _environment(OPTIONS_VARIABLE, options):
            capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    except (cv2.error, ValueError, UnicodeError):
        return None
    return capture if capture.isOpened() else None


def _quiet() -> None:
    """Keep OpenCV and FFmpeg from writing to standard error: what is wrong is said by us, in a line."""
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first video is opened
    if "OPENCV_LOG_LEVEL" not in os.environ:
        place = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # OpenCV 4, and 5
        place.setLogLevel(0)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
