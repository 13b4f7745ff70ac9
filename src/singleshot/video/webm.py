"""Write frames as VP9 in WebM, which every browser plays, by PyAV (the extra `video`), in a thread of its own.

Settings, measured on 200 frames of 768 x 432 with drawn boxes on two cores: libvpx's realtime mode at its fastest
(cpu-used 8) takes 3.5 ms of processor time a frame at crf 24; cpu-used 7 takes 4.7 ms, 6 takes 6.0, 5 takes 8.2, for a
PSNR that is 0.03 dB higher; VP8 takes 6.2 ms and 1.6 times the bytes. OpenCV converts the colours in 0.2 ms, FFmpeg's
swscale in 0.6.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Any, Self

import numpy as np

from singleshot.errors import MachineError, RequestError
from singleshot.files import sync
from singleshot.shapes import UInt8

OPTIONS = {"deadline": "realtime", "cpu-used": "8", "row-mt": "1", "lag-in-frames": "0", "crf": "24", "b": "0"}
"""Of libvpx-vp9. Constant quality (b 0), no frames kept back."""
MOST_THREADS = 4
PIXELS_A_THREAD = 1_000_000
"""Beyond one thread: at 768 x 432 two take 10 to 30% more processor time of the whole than one."""
TICKS = 1000
"""A second; Matroska's timestamps are whole milliseconds."""
USUAL_FPS = 25.0
"""Where the caller knows no frame rate."""
LARGEST_DENOMINATOR = 1001
"""Of a frame rate: 30000/1001 is the NTSC standard's."""
KEY_FRAME_EVERY = 120
"""Frames; a player can jump to a key frame."""
WAITING = 8
"""Frames that may wait for the encoder."""
BT601 = 6
"""Of FFmpeg's colour spaces, SMPTE 170M: what OpenCV converts to."""
NARROW_RANGE = 1
"""Luma of 16 to 235, as OpenCV gives it."""


def can_write_webm() -> bool:
    """Whether the extra `video` is installed."""
    return find_spec("av") is not None


class WebmWriter:
    """Writes a video beside its place, and renames it when it is whole; a context manager.

    Leaving the context by Ctrl-C finishes the video with the frames so far; any other error removes it.

    Args:
        path: where the video shall be; what is there is replaced.
        size_wh: width and height of the frames. VP9 of browsers has even sides: an odd one gets one more pixel, a
            copy of the last.
        fps: nominal frames a second, which other programs read from the file; the frames are shown at their own times.
        comment: kept in the file.

    Raises:
        RequestError: the extra `video` is not installed.
        MachineError: no space left on the disk.
    """

    def __init__(self, path: Path, size_wh: tuple[int, int], *, fps: float = USUAL_FPS, comment: str = "") -> None:
        if not can_write_webm():
            raise RequestError("writing a video needs PyAV: pip install 'singleshot[video]'")
        self.path = path
        self.size_wh = size_wh
        self._fps = fps
        self._comment = comment
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._queue: Queue[tuple[float, UInt8[np.ndarray, "H W 3"]] | None] = Queue(WAITING)
        self._error: BaseException | None = None
        self._keep = True
        path.parent.mkdir(parents=True, exist_ok=True)
        self._thread = Thread(target=self._run, name="write video", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: TracebackType | None) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.discard()

    def write(self, seconds: float, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
        """Add a frame.

        Args:
            seconds: when it is shown; later than the frame before.
            pixels: RGB, of the writer's size.

        Raises:
            MachineError: no space left on the disk, for this frame or one before.
        """
        width, height = self.size_wh
        if pixels.shape != (height, width, 3):
            raise ValueError(f"frames of this video are ({height}, {width}, 3), got {pixels.shape}")
        self._raise()
        self._queue.put((seconds, pixels))

    def close(self) -> None:
        """Encode what waits, finish the file and put it in its place. Raises as `write`."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._raise()

    def discard(self) -> None:
        """Stop, and leave nothing behind."""
        self._keep = False
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _raise(self) -> None:
        error = self._error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise MachineError(f"no space left on the disk for {self.path}") from error
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            with self._beside.open("wb") as file:
                self._encode(file)
                file.flush()
                os.fsync(file.fileno())
            if self._keep:
                self._beside.replace(self.path)
                sync(self.path.parent)
        except BaseException as error:  # noqa: BLE001  (raised by `write` or `close`)
            if isinstance(error, OSError):
                error.filename = str(self.path)  # not the temporary one, which the user does not know
            self._error = error
            while self._queue.get() is not None:  # so that `write` does not wait for ever
                pass
        finally:
            self._beside.unlink(missing_ok=True)

    def _encode(self, file: Any) -> None:
        import av

        with av.open(file, "w", format="webm") as container:
            container.metadata["comment"] = self._comment
            stream = self._stream(container)
            for start, duration, pixels in self._timed():
                frame = av.VideoFrame.from_ndarray(self._even_yuv(pixels), format="yuv420p")
                frame.pts, frame.duration, frame.time_base = start, duration, Fraction(1, TICKS)
                for packet in stream.encode(frame):  # one: no frames are kept back
                    packet.duration = duration
                    container.mux(packet)
            container.mux(stream.encode())

    def _timed(self) -> Iterator[tuple[int, int, UInt8[np.ndarray, "H W 3"]]]:
        """Start, duration and pixels of each frame that was written; the last is shown as long as the one before."""
        start, duration, held = 0, max(round(TICKS / self._fps), 1), None
        while (entry := self._queue.get()) is not None:
            if not self._keep:
                continue
            tick = max(round(entry[0] * TICKS), 0)
            if held is not None:
                duration = max(tick - start, 1)
                yield start, duration, held
                tick = start + duration
            start, held = tick, entry[1]
        if held is not None and self._keep:
            yield start, duration, held

    def _stream(self, container: Any) -> Any:
        rate = max(Fraction(self._fps).limit_denominator(LARGEST_DENOMINATOR), Fraction(1, LARGEST_DENOMINATOR))
        stream = container.add_stream("libvpx-vp9", rate=rate, options=OPTIONS)
        stream.width, stream.height = (side + side % 2 for side in self.size_wh)
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.time_base = Fraction(1, TICKS)
        codec.thread_count = min(1 + stream.width * stream.height // PIXELS_A_THREAD, MOST_THREADS)
        codec.gop_size = KEY_FRAME_EVERY
        codec.colorspace, codec.color_range = BT601, NARROW_RANGE
        return stream

    def _even_yuv(self, pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w"]:
        """Planes Y, U and V, one below the other, of the frame with even sides."""
        import cv2

        width, height = self.size_wh
        if width % 2 or height % 2:
            pixels = cv2.copyMakeBorder(pixels, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        planes: UInt8[np.ndarray, "h w"] = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420)
        return planes
