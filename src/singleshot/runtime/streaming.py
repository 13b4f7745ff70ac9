"""Many files through a detector: decoding overlaps with inference, a bounded number of images lies in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

from singleshot.decode import decode_image
from singleshot.errors import ImageError
from singleshot.runtime.engine import Backend, Lane
from singleshot.ssd.detection import Found

Decoded = tuple[Path, np.ndarray, Found]


Item = TypeVar("Item")
Result = TypeVar("Result")

DECODERS = 2
AHEAD = 4
"""Files in work or done for each thread."""


def stream(backend: Backend, paths: Iterable[Path], *, batch_size: int) -> Iterator[Decoded | ImageError]:
    """Path, decoded image and what was found in it, in order; or the error of a file that cannot be used.

    An engine with lanes gets an image a lane at a time, decoded by the same thread: no core waits for another, and
    none is shared. Others get batches, decoded ahead. One or two files go the quickest way, one at a time.
    """
    remaining = iter(paths)
    first = list(islice(remaining, 3))
    if len(first) < 3:
        yield from _in_batches(backend, first, batch_size=1)
        return
    lanes = backend.lanes()
    everything = chain(first, remaining)
    if lanes:
        yield from _in_lanes(lanes, everything)
    else:
        yield from _in_batches(backend, everything, batch_size=batch_size)


def _in_lanes(lanes: Sequence[Lane], paths: Iterable[Path]) -> Iterator[Decoded | ImageError]:
    free: SimpleQueue[Lane] = SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def detect(path: Path) -> Decoded | ImageError:
        try:
            image = decode_image(path)
        except ImageError as error:
            return error
        lane = free.get()
        try:
            return path, image, lane(image)
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        yield from _ahead(pool, detect, paths, AHEAD * len(lanes))


def _in_batches(backend: Backend, paths: Iterable[Path], *, batch_size: int) -> Iterator[Decoded | ImageError]:
    def decode(path: Path) -> tuple[Path, np.ndarray] | ImageError:
        try:
            return path, decode_image(path)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(DECODERS) as pool:
        decoded = _ahead(pool, decode, paths, 2 * batch_size)
        while batch := list(islice(decoded, batch_size)):
            images = [item[1] for item in batch if not isinstance(item, ImageError)]
            found = iter(backend(images) if images else ())
            for item in batch:
                yield item if isinstance(item, ImageError) else (*item, next(found))


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Iterator[Result]:
    """`work` of each item, in order, at most so many begun and not yet taken."""
    waiting: deque = deque()  # type: ignore[type-arg]  # of futures
    remaining = iter(items)
    waiting.extend(pool.submit(work, item) for item in islice(remaining, most))
    try:
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()
