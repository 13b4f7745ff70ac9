"""What the server and its engine's process tell each other, as bytes: nothing that is read is ever code.

A request is two messages: `REQUEST`, then the pixels of all its images, which have the network's size. A reply is one:
`DONE` and the detections of each image, or `FAILED` and a traceback. Before the first request the process tells in JSON
how many workers its engine has, or why it has none.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence

import numpy as np

from singleshot.errors import HashError, MachineError, ModelError, RequestError, SingleshotError
from singleshot.ssd.detection import RawDetections

REQUEST = struct.Struct("<Id")
"""Number of images; score threshold, NaN for the model's own."""
RESULT = struct.Struct("<II")
"""Of each image: number of detections, and of default boxes that were left out. Boxes, scores and labels follow."""
DONE, FAILED = b"d", b"f"
ERRORS = {kind.__name__: kind for kind in (RequestError, ModelError, HashError, MachineError)}


class EngineFailure(Exception):  # noqa: N818  (not what ends a process: that is a crash)
    """The engine raised an error at these images, and goes on; the message is its traceback."""


def pack_request(count: int, score_threshold: float | None) -> bytes:
    """The first message of a request."""
    return REQUEST.pack(count, math.nan if score_threshold is None else score_threshold)


def unpack_request(message: bytes) -> tuple[int, float | None]:
    """Number of images and score threshold."""
    count, threshold = REQUEST.unpack(message)
    return count, None if math.isnan(threshold) else threshold


def pack_results(results: Sequence[RawDetections]) -> bytes:
    """A reply with the detections of each image."""
    parts = [DONE]
    for raw in results:
        arrays = (raw.boxes_xyxy, np.float32), (raw.scores, np.float32), (raw.labels, np.int64)
        parts += [RESULT.pack(len(raw), raw.dropped), *(array.astype(kind).tobytes() for array, kind in arrays)]
    return b"".join(parts)


def pack_failure(trace: str) -> bytes:
    """A reply with the traceback of an error."""
    return FAILED + trace.encode(errors="backslashreplace")


def unpack_reply(reply: bytes, count: int) -> list[RawDetections]:
    """The detections of so many images. Raises EngineFailure where the engine raised an error."""
    if not reply.startswith(DONE):
        raise EngineFailure(reply[len(FAILED) :].decode())
    results, place = list[RawDetections](), len(DONE)

    def array(shape: tuple[int, ...], kind: type[np.generic]) -> np.ndarray:
        nonlocal place
        values = np.frombuffer(reply, kind, math.prod(shape), place)
        place += values.nbytes
        return values.reshape(shape).copy()

    for _ in range(count):
        detections, dropped = RESULT.unpack_from(reply, place)
        place += RESULT.size
        boxes, scores = array((detections, 4), np.float32), array((detections,), np.float32)
        results.append(RawDetections(boxes, scores, array((detections,), np.int64), dropped))
    return results


def pack_start(workers: int) -> bytes:
    """What is told when the model is loaded: how many workers the engine has."""
    return json.dumps({"workers": workers}).encode()


def pack_error(error: Exception) -> bytes:
    """What is told where the model could not be loaded."""
    if isinstance(error, ModuleNotFoundError):
        return json.dumps({"module": error.name, "message": str(error)}).encode()
    if isinstance(error, SingleshotError):
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS]
        return json.dumps({"error": (*kinds, MachineError.__name__)[0], "message": str(error)}).encode()
    memory = isinstance(error, MemoryError)
    message = "not enough memory to load the model" if memory else "the model cannot be loaded, for the reason above"
    return json.dumps({"error": MachineError.__name__, "message": message}).encode()


def unpack_start(message: bytes) -> int:
    """How many workers the engine has. Raises the error where the model could not be loaded."""
    reply = json.loads(message)
    if "module" in reply:
        raise ModuleNotFoundError(reply["message"], name=reply["module"])
    if "error" in reply:
        raise ERRORS[reply["error"]](reply["message"])
    return int(reply["workers"])
