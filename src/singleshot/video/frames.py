"""Read a video frame by frame, whatever it is: a file, a camera, a network stream or a sequence of images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from singleshot.decode import pixel_limit
from singleshot.errors import RequestError, VideoError
from singleshot.shapes import UInt8
from singleshot.video.capture import open_camera, open_file, open_stream, without_password
from singleshot.video.sequence import ImageSequence, is_pattern, open_sequence

USUAL_FPS = 25.0
"""Taken where a video claims an impossible frame rate."""
MOST_FPS = 1000.0
LONGEST_GAP = 3600.0
"""Seconds between two frames; a larger step is taken for a broken timestamp."""
MAY_LACK = 0.02
"""Share of the claimed frames that may be missing without a word: durations in headers are rounded."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video.

    Attributes:
        index: its place among the decoded frames, from 0.
        seconds: when it is shown, from the beginning of the video.
        pixels: RGB, as displayed.
    """

    index: int
    seconds: float
    pixels: UInt8[np.ndarray, "H W 3"]


class FrameSource(Protocol):
    """What a `VideoReader` reads: timed pixels, and what the source claims about itself."""

    fps: float
    claimed_frames: int | None

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height that it claims; (0, 0) where it does not."""

    @property
    def missing_bytes(self) -> int:
        """How many bytes are missing at the end of its file."""

    @property
    def lost(self) -> int:
        """How many frames, of those before the last, could not be decoded."""

    def __iter__(self) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"]]]:
        """Time in seconds and RGB pixels of each frame."""

    def close(self) -> None:
        """Release it."""


class VideoReader:
    """The frames of a video, in order, once; a context manager.

    All frames have the size of the first: where the size changes amid a video, later ones are scaled to it. Times
    increase: where a timestamp does not, the frame rate gives the next one. Both are said in `remarks`.

    Attributes:
        name: of the source, for messages.
        size_wh: width and height as displayed (rotation metadata is obeyed).
        fps: nominal frames a second, between 0 and 1000; the true times are those of the frames.
        claimed_frames: how many frames the file says it has; None where it does not.
        decoded: how many frames were read so far.
        fault: after the last frame, what is wrong with a file that is cut or claims more frames; else None.
        remarks: what was done about a video that contradicts itself, a line each.

    Raises:
        VideoError: not one frame can be decoded, or it has too many pixels.
    """

    def __init__(self, name: str, source: FrameSource, *, max_pixels: int) -> None:
        self.name = name
        self._source = source
        self._max_pixels = max_pixels
        self.fault: str | None = None
        self.remarks: list[str] = []
        self.claimed_frames = source.claimed_frames
        self.decoded = 0
        self.fps = self._nominal(source.fps)
        self._scaled = self._retimed = 0
        self._frames = iter(source)
        try:
            self._require_size(source.size_wh)
            self._first = next(self._frames, None)
            if self._first is None:
                raise VideoError(f"{name}: not one frame can be decoded{self._cut()}")
            height, width = self._first[1].shape[:2]
            self.size_wh = (width, height)
            self._require_size(self.size_wh)
        except BaseException:
            source.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file or the camera."""
        self._source.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are left."""
        last = -math.inf
        while (timed := self._next()) is not None:
            seconds, pixels = timed
            if not last < seconds <= max(last, 0) + LONGEST_GAP:  # not a number neither
                seconds = max(last + 1 / self.fps, 0)
                self._retimed += 1
            last = seconds
            fitting = self._fitting(pixels)
            if fitting is None:
                return
            self.decoded += 1
            yield Frame(self.decoded - 1, seconds, fitting)
        self._conclude(last)

    def _next(self) -> tuple[float, UInt8[np.ndarray, "H W 3"]] | None:
        if self._first is not None:
            timed, self._first = self._first, None
            return timed
        return next(self._frames, None)

    def _nominal(self, fps: float) -> float:
        if 0 < fps <= MOST_FPS:
            return fps
        if not isinstance(self._source, ImageSequence):
            self.remarks.append(f"{self.name} claims {fps:g} frames a second; {USUAL_FPS:g} are assumed")
        return USUAL_FPS

    def _require_size(self, size_wh: tuple[int, int]) -> None:
        width, height = size_wh
        if width * height > self._max_pixels:
            needed = math.ceil(width * height / 1e6)
            raise VideoError(
                f"{self.name}: frames of {width} x {height} pixels are more than the limit of "
                f"{self._max_pixels / 1e6:g} megapixels; --max-megapixels {needed} allows them"
            )

    def _fitting(self, pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"] | None:
        """The pixels in the size of the first frame; None where they are too many, which ends the video."""
        height, width = pixels.shape[:2]
        if (width, height) == self.size_wh:
            return pixels
        try:
            self._require_size((width, height))
        except VideoError as error:
            self.fault = f"{error}; it ends after {self.decoded} frames"
            return None
        import cv2

        self._scaled += 1
        scaled: UInt8[np.ndarray, "H W 3"] = cv2.resize(pixels, self.size_wh, interpolation=cv2.INTER_AREA)
        return scaled

    def _conclude(self, last: float) -> None:
        """Say what is wrong with a video whose last frame was read."""
        if self._retimed:
            self.remarks.append(
                f"{self.name}: {self._retimed} of {self.decoded} frames have a broken timestamp; "
                f"{self.fps:g} frames a second are assumed for them"
            )
        if self._scaled:
            size = "{} x {}".format(*self.size_wh)
            self.remarks.append(f"{self.name}: {self._scaled} frames of another size were scaled to {size}")
        claimed, lost = self.claimed_frames or 0, self._source.lost
        lacks = claimed - self.decoded
        too_few = lacks > max(1, MAY_LACK * claimed) and last < (claimed - 1 - MAY_LACK * claimed) / self.fps
        if self._source.missing_bytes or too_few or lost:
            of = f" of {claimed}" if lacks > 0 else ""
            damage = f"; {lost} before the last are damaged" if lost else ""
            first = f": {self._source.first_loss}" if isinstance(self._source, ImageSequence) and lost else ""
            self.fault = f"{self.name}: {self.decoded}{of} frames could be decoded{damage}{first}{self._cut()}"

    def _cut(self) -> str:
        missing = self._source.missing_bytes
        return f"; the file is cut, {missing:,} bytes or more are missing" if missing else ""


def open_video(
    source: str | Path | int,
    *,
    fps: float | None = None,
    allow_network: bool = False,
    max_pixels: int | None = None,
) -> VideoReader:
    """Open a video.

    Args:
        source: a video file; the number of a camera, from 0; an RTSP address; a folder of images, or a pattern of
            their names such as `frame_%05d.jpg`.
        fps: frames a second of a sequence of images; other sources say it themselves.
        allow_network: whether an address may be opened.
        max_pixels: the largest frame, width x height; None: the limit of `decode.pixel_limit`.

    Raises:
        RequestError: an address that is not allowed, or a sequence without a frame rate.
        VideoError: no video, or nothing of it can be decoded.
    """
    limit = max_pixels or pixel_limit()
    if fps is not None and not 0 < fps <= MOST_FPS:
        raise RequestError(f"--fps lies above 0 and at most at {MOST_FPS:g}, got {fps:g}")
    is_address = "://" in str(source)
    if not isinstance(source, int) and not is_address and (Path(source).is_dir() or is_pattern(Path(source))):
        return VideoReader(str(source), open_sequence(Path(source), fps=fps, max_pixels=limit), max_pixels=limit)
    if isinstance(source, int):
        video = VideoReader(f"camera {source}", open_camera(source), max_pixels=limit)
    elif is_address:
        name = without_password(str(source))
        if not allow_network:
            raise RequestError(f"{name}: addresses are not opened; --stream allows RTSP")
        video = VideoReader(name, open_stream(str(source)), max_pixels=limit)
    else:
        video = VideoReader(str(source), open_file(Path(source)), max_pixels=limit)
    if fps is not None:
        video.remarks.append(f"{video.name} has times of its own: --fps is for sequences of images")
    return video
