"""Small videos that tests write for themselves, by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TICKS = 1000
"""Timestamps are milliseconds."""


def moving_square(count: int, *, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Frames with a white square that moves to the right, two pixels a frame, on a grey ramp."""
    ramp = np.linspace(30, 120, height * width).reshape(height, width, 1)
    frames = []
    for index in range(count):
        frame = np.repeat(ramp, 3, axis=2).astype(np.uint8)
        left = 2 * index % (width - 12)
        frame[8:20, left : left + 12] = 255
        frames.append(frame)
    return frames


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    fps: int = 10,
    milliseconds: Sequence[int] | None = None,
    codec: str = "mpeg4",
    options: dict[str, str] | None = None,
) -> Path:
    """A video file of a kind by its suffix; `milliseconds` are the frames' timestamps, else by the frame rate."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS if milliseconds else fps)
        stream.codec_context.gop_size = 5
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = milliseconds[index] if milliseconds else index
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
