"""One image on its way through the server, and what becomes of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np

from singleshot.serve.decoders import DecodedImage
from singleshot.serve.problems import Problem
from singleshot.types import Detections


@dataclass(frozen=True)
class Timing:
    """Seconds that an image took: in the queues, to be decoded, and in the engine."""

    queue: float = 0.0
    decode: float = 0.0
    infer: float = 0.0


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What was detected in an image.

    Attributes:
        size_wh: width and height as displayed.
        detections: in pixels, best first.
        remarks: what was converted or left out when it was decoded.
        timing: how long it took.
    """

    size_wh: tuple[int, int]
    detections: Detections
    remarks: tuple[str, ...]
    timing: Timing


@dataclass(eq=False)
class Job:
    """One image on its way.

    Attributes:
        content: a file's, or decoded pixels; given up as soon as it is decoded.
        score: leave out detections below this.
        deadline: when its answer is of no use any more, by `time.monotonic`.
        future: for the result.
        submitted: when it came.
        abandoned: whether its client has gone.
        decoded: the image, after a decoder had it.
        decode_seconds: what that took.
        crashes: how many engines ended while they had it.
    """

    content: bytes | np.ndarray
    score: float
    deadline: float
    future: asyncio.Future[ImageResult | Problem]
    submitted: float = field(default_factory=time.monotonic)
    abandoned: bool = False
    decoded: DecodedImage | None = None
    decode_seconds: float = 0.0
    crashes: int = 0

    @property
    def dropped(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.abandoned or time.monotonic() > self.deadline

    def abandon(self) -> None:
        """Nobody waits for it any more; what it holds is given up."""
        self.abandoned, self.content = True, b""
        self.future.cancel()


def late() -> Problem:
    """The result of a job that was dropped."""
    return Problem(504, "not done within the deadline")
