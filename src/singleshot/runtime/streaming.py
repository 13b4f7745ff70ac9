"""Detect in many files: decoding overlaps with inference, and a bounded number of images lies in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np

from singleshot.decode import decode_image
from singleshot.errors import ImageError
from singleshot.runtime.engine import Backend, InferenceWorker
from singleshot.ssd.detection import RawDetections

Result = tuple[Path, np.ndarray, RawDetections]
"""A file, its decoded image and the detections in it."""
Decode = Callable[[Path], tuple[Path, np.ndarray] | ImageError]
Item = TypeVar("Item")
Output = TypeVar("Output")

DECODERS = 2
AHEAD = 4
"""Files for each thread that are in work, or done and not yet taken."""


def stream(
    backend: Backend,
    paths: Iterable[Path],
    *,
    batch_size: int,
    score_threshold: float | None = None,
    max_pixels: int | None = None,
) -> Iterator[Result | ImageError]:
    """Path, decoded image and detections of each file, in order; or the error of a file that cannot be used.

    An engine with workers gets an image a worker at a time, decoded by the same thread, so that no core waits for
    another. Others get batches, decoded ahead. One or two files go one at a time, without workers to start.
    `max_pixels` is the limit of `decode_image`.
    """
    decode = partial(_decoded, max_pixels=max_pixels)
    remaining = iter(paths)
    first = list(islice(remaining, 3))
    workers = backend.workers() if len(first) == 3 else ()
    everything = chain(first, remaining)
    if workers:
        yield from _by_workers(workers, everything, decode, score_threshold)
    else:
        batch_size = batch_size if len(first) == 3 else 1
        yield from _in_batches(backend, everything, decode, batch_size, score_threshold)


def _by_workers(
    workers: Sequence[InferenceWorker], paths: Iterable[Path], decode: Decode, score_threshold: float | None
) -> Iterator[Result | ImageError]:
    free: SimpleQueue[InferenceWorker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def detect(path: Path) -> Result | ImageError:
        decoded = decode(path)
        if isinstance(decoded, ImageError):
            return decoded
        worker = free.get()
        try:
            return (*decoded, worker(decoded[1], score_threshold=score_threshold))
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        yield from _ahead(pool, detect, paths, AHEAD * len(workers))


def _in_batches(
    backend: Backend, paths: Iterable[Path], decode: Decode, batch_size: int, score_threshold: float | None
) -> Iterator[Result | ImageError]:
    with ThreadPoolExecutor(DECODERS) as pool:
        files = _ahead(pool, decode, paths, 2 * batch_size)
        while batch := list(islice(files, batch_size)):
            images = [item[1] for item in batch if not isinstance(item, ImageError)]
            detections = iter(backend(images, score_threshold=score_threshold) if images else ())
            for item in batch:
                yield item if isinstance(item, ImageError) else (*item, next(detections))


def _decoded(path: Path, *, max_pixels: int | None) -> tuple[Path, np.ndarray] | ImageError:
    try:
        return path, decode_image(path, max_pixels=max_pixels)
    except ImageError as error:
        return error


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Output], items: Iterable[Item], most: int
) -> Iterator[Output]:
    """`work` of each item, in order; at most `most` results are in work, or done and not yet taken."""
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
