"""Decoders as processes: a damaged image may crash or stop one of them, but never the server.

A decoder decodes an image and resizes it to the network's input, so that some 300 KB an image come back; resizing it
again, as every engine does, leaves it as it is. What comes back is JSON, then pixels: nothing that a decoder says is
trusted further than that. No file is needed for it, where the system's temporary folder cannot be written to either.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from singleshot.decode import decode_image
from singleshot.errors import ImageError, ImageFormatError, ImageSizeError, MachineError
from singleshot.preprocess import has_contrast
from singleshot.runtime.engine import resize_into
from singleshot.serve.priority import go_behind
from singleshot.shapes import UInt8

ERRORS = {kind.__name__: kind for kind in (ImageError, ImageFormatError, ImageSizeError)}
FAULTS = (EOFError, OSError, ValueError, KeyError, TypeError)
"""What talking to a decoder raises that has died, or whose reply is none."""
_MAIN_LOCK = Lock()
MOST_REPLY_BYTES = 100_000
START_SECONDS = 60
"""After which a new decoder that has not said a word is given up."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image as the network takes it.

    Attributes:
        pixels: 8-bit RGB, already of the network's size.
        size_wh: width and height as displayed.
        contrast: whether anything can be seen in it, see `preprocess.has_contrast`.
        remarks: what was converted or left out, a line each.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    size_wh: tuple[int, int]
    contrast: bool
    remarks: tuple[str, ...] = ()


class Decoder:
    """A decoder process, for one thread; it is started when it is first needed, and again after it has died.

    Args:
        input_size_hw: the network's.
        max_pixels: largest width x height of an image.
        timeout: seconds for one image.
    """

    def __init__(self, input_size_hw: tuple[int, int], *, max_pixels: int, timeout: float) -> None:
        self._size_hw = input_size_hw
        self._max_pixels = max_pixels
        self._timeout = timeout
        self._process: Any = None
        self._pipe: Connection | None = None
        self._since: float | None = None  # when the image in work was handed over
        self._late = False
        self.started = 0

    @property
    def process_id(self) -> int | None:
        """Of the process that runs, if any does."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    def start(self) -> None:
        """Start a process, unless one runs; returns when it is ready.

        Raises:
            MachineError: none could be started.
        """
        if self.process_id is not None:
            return
        self.stop()
        context = _context()
        ours, theirs = context.Pipe()
        arguments = (theirs, self._size_hw, self._max_pixels)
        process = context.Process(target=_decode_all, args=arguments, name="decoder", daemon=True)
        with _no_main_module():
            process.start()
        theirs.close()
        self._process, self._pipe = process, ours
        self.started += 1
        try:
            if not ours.poll(START_SECONDS) or ours.recv_bytes(MOST_REPLY_BYTES) != b"ready":
                raise EOFError
        except (EOFError, OSError) as error:
            self.stop()
            raise MachineError("a decoder process could not be started") from error

    def decode(self, content: bytes) -> DecodedImage:
        """The image in the content of a file.

        A decoder that dies is replaced, and the image is tried once more: the fault may have been the machine's.

        Raises:
            ImageError: not an image, too large, damaged; it took too long; or two decoders died of it.
            MachineError: no decoder could be started.
        """
        for _attempt in range(2):
            try:
                return self._decode(content)
            except FAULTS:
                self.stop()
                if self._late:
                    raise ImageError(f"decoding it took more than {self._timeout:g} s") from None
        raise ImageError("decoding it ended the decoder's process, twice")

    def _decode(self, content: bytes) -> DecodedImage:
        self.start()
        assert self._pipe is not None
        self._late, self._since = False, time.monotonic()
        try:
            self._pipe.send_bytes(content)
            reply = json.loads(self._pipe.recv_bytes(MOST_REPLY_BYTES))
            if "error" in reply:
                raise ERRORS[reply["error"]](reply["message"])
            height, width = self._size_hw
            content = self._pipe.recv_bytes(height * width * 3)
        finally:
            self._since = None
        pixels = np.frombuffer(content, np.uint8).reshape(height, width, 3)
        width, height = reply["size_wh"]
        return DecodedImage(pixels, (width, height), reply["contrast"], tuple(reply["remarks"]))

    def kill_if_late(self) -> None:
        """Kill the process where its image takes too long; called by another thread now and then."""
        since, process = self._since, self._process
        if since is not None and process is not None and time.monotonic() - since > self._timeout:
            self._late = True
            process.kill()

    def stop(self) -> None:
        """Kill the process, if there is one."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep a new process from importing the program that started it, of which it needs nothing.

    Else a script that makes a server outside of `if __name__ == "__main__":` would make another one in each decoder.
    """
    with _MAIN_LOCK:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _context() -> Any:
    """How processes are started.

    By a server of processes where there is one and it has a folder for its socket: a new decoder is then there in some
    milliseconds. Elsewhere each one starts Python anew.
    """
    if sys.platform != "linux":  # macOS has one, but what is imported here is not safe to be forked there
        return multiprocessing.get_context("spawn")
    try:
        tempfile.gettempdir()
    except FileNotFoundError:  # a read-only container
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _decode_all(pipe: Connection, size_hw: tuple[int, int], max_pixels: int) -> None:
    """What a decoder process does until the server closes its end of the pipe, or dies."""
    import cv2

    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)  # sent to all processes of a terminal or service: the server ends us
    go_behind()
    cv2.setNumThreads(1)  # there are as many decoders as cores
    pixels = np.empty((1, *size_hw, 3), np.uint8)
    try:
        pipe.send_bytes(b"ready")
        while True:
            reply = _decode_into(pixels, pipe.recv_bytes(), max_pixels)
            pipe.send_bytes(json.dumps(reply).encode())
            if "error" not in reply:
                pipe.send_bytes(pixels.tobytes())
    except (EOFError, OSError):
        return


def _decode_into(pixels: UInt8[np.ndarray, "1 h w 3"], content: bytes, max_pixels: int) -> dict[str, Any]:
    """Decode an image and resize it; what there is to say about it."""
    try:
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always", UserWarning)
            image = decode_image(content, max_pixels=max_pixels)
    except (ImageError, MemoryError) as error:
        kind = type(error).__name__ if type(error).__name__ in ERRORS else ImageError.__name__
        return {"error": kind, "message": str(error)[:1000] or "decoding it needs more memory than there is"}
    resize_into(pixels, [image])
    lines = [str(remark.message).removeprefix("image: ")[:500] for remark in remarks]
    size_wh = (image.shape[1], image.shape[0])
    return {"size_wh": size_wh, "contrast": has_contrast(image), "remarks": lines}
