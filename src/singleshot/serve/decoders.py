"""Decoders as processes: a damaged image may crash or stop one of them, but never the server.

A decoder decodes an image and resizes it to the network's input, so that some 300 KB an image come back; resizing it
again, as every engine does, leaves it as it is. What comes back is JSON, then pixels: nothing that a decoder says is
trusted further than that.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from singleshot.decode import decode_image
from singleshot.errors import ImageError, ImageFormatError, ImageSizeError, MachineError
from singleshot.preprocess import has_contrast
from singleshot.runtime.engine import resize_into
from singleshot.serve.priority import go_behind
from singleshot.serve.processes import PIPE_FAULTS, settle, start_process
from singleshot.shapes import UInt8

ERRORS = {kind.__name__: kind for kind in (ImageError, ImageFormatError, ImageSizeError)}
FAULTS = (*PIPE_FAULTS, ValueError, KeyError, TypeError)
"""What talking to a decoder raises that has died, or whose reply is none."""
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
        self._process: BaseProcess | None = None
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
        self._process, (pipe,) = start_process(_decode_all, (self._size_hw, self._max_pixels), pipes=1)
        self._pipe = pipe
        self.started += 1
        try:
            if not pipe.poll(START_SECONDS) or pipe.recv_bytes(MOST_REPLY_BYTES) != b"ready":
                raise EOFError
        except PIPE_FAULTS as error:
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


def _decode_all(pipes: Sequence[Connection], size_hw: tuple[int, int], max_pixels: int) -> None:
    """What a decoder process does until the server closes its end of the pipe, or dies."""
    import cv2

    settle("ssd-decoder")
    (pipe,) = pipes
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
    except PIPE_FAULTS:
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
