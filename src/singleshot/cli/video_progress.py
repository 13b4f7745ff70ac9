"""Progress of a video: frames, speed and the time that is left; a line that changes, or a line now and then."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console

from singleshot.console import printable

EVERY = 10.0, 0.5
"""Seconds between two lines, on a pipe and on a terminal."""


class VideoSoFar(Protocol):
    """A video that is being read: its name, the frames that were read, and those that it claims to have."""

    name: str
    frames: int
    claimed_frames: int | None


CLEAR_REST = "\x1b[K"
"""Of a terminal: clear what is right of the cursor."""


class VideoProgress:
    """Shows how far a video is; call it after each frame.

    Args:
        console: standard error.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._every = EVERY[console.is_terminal]
        self._video: VideoSoFar | None = None
        self._start = self._last = 0.0

    def __call__(self, video: VideoSoFar) -> None:
        """Show the state of this video."""
        now = time.monotonic()
        if video is not self._video:
            self._video, self._start, self._last = video, now, now
        elif now - self._last >= self._every:
            self._last = now
            line = progress_line(video, now - self._start)
            if self._console.is_terminal:
                self._rewrite(line)
            else:
                self._console.print(line)

    def close(self) -> None:
        """Leave the line that changes."""
        if self._console.is_terminal and self._last > self._start:
            self._rewrite("")

    def _rewrite(self, line: str) -> None:
        """Put a line in the place of the one before; `print` would escape what moves the cursor."""
        self._console.file.write(f"\r{printable(line)}{CLEAR_REST}")
        self._console.file.flush()


def progress_line(video: VideoSoFar, elapsed: float) -> str:
    """`a.mp4: 1,200 of 3,770 frames, 151 a second, 0:17 left`; without what is unknown.

    Args:
        video: so far.
        elapsed: seconds since its first frame.
    """
    speed = video.frames / elapsed
    claimed = video.claimed_frames or 0
    if claimed < video.frames:
        return f"{video.name}: {video.frames:,} frames, {speed:.0f} a second"
    minutes, seconds = divmod(round((claimed - video.frames) / speed), 60)
    return f"{video.name}: {video.frames:,} of {claimed:,} frames, {speed:.0f} a second, {minutes}:{seconds:02} left"
