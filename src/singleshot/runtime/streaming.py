"""Detect in many images or frames: decoding overlaps with inference, and a bounded number of them lies in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from queue import Queue, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

import numpy as np

from singleshot.errors import ImageError
from singleshot.runtime.engine import Backend, InferenceWorker
from singleshot.ssd.detection import RawDetections

Item = TypeVar("Item")
Output = TypeVar("Output")
Decode = Callable[[Item], np.ndarray | ImageError]
"""The RGB pixels of an item, such as a path or a frame; or why there are none."""
Result = tuple[Item, np.ndarray, RawDetections]
"""An item, its pixels and the detections in it."""

DECODERS = 2
AHEAD = 4
"""Items for each thread that are in work, or done and not yet taken."""


def stream(
    backend: Backend,
    items: Iterable[Item],
    decode: Decode[Item],
    *,
    batch_size: int,
    score_threshold: float | None = None,
) -> Iterator[Result[Item] | ImageError]:
    """Item, decoded pixels and detections of each item, in order; or the error of an item that cannot be decoded.

    An engine with workers gets an image a worker at a time, decoded by the same thread, so that no core waits for
    another. Others get batches, decoded ahead. One or two items go one at a time, without workers to start.
    """
    remaining = iter(items)
    first = list(islice(remaining, 3))
    workers = backend.workers() if len(first) == 3 else ()
    everything = chain(first, remaining)
    if workers:
        yield from _by_workers(workers, everything, decode, score_threshold)
    else:
        batch_size = batch_size if len(first) == 3 else 1
        yield from _in_batches(backend, everything, decode, batch_size, score_threshold)


def read_ahead(items: Iterable[Item], most: int) -> Generator[Item]:
    """The items of a slow iterable, such as the frames of a video: a thread reads up to so many ahead.

    Its errors are raised here. When this generator is closed, the thread ends, after the item that it is reading.
    """
    queue: Queue[tuple[Item] | BaseException | None] = Queue(most)
    closed = Event()

    def read() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                queue.put((item,))
                if closed.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  (raised by who takes the items)
            end = error
        queue.put(end)

    reader = Thread(target=read, name="read ahead", daemon=True)
    reader.start()
    try:
        while isinstance(entry := queue.get(), tuple):
            yield entry[0]
        if entry is not None:
            raise entry
    finally:
        closed.set()
        while reader.is_alive():  # it may wait for a place in the queue
            while not queue.empty():
                queue.get()
            reader.join(0.01)


def _by_workers(
    workers: Sequence[InferenceWorker], items: Iterable[Item], decode: Decode[Item], score_threshold: float | None
) -> Iterator[Result[Item] | ImageError]:
    free: SimpleQueue[InferenceWorker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def detect(item: Item) -> Result[Item] | ImageError:
        decoded = decode(item)
        if isinstance(decoded, ImageError):
            return decoded
        worker = free.get()
        try:
            return item, decoded, worker(decoded, score_threshold=score_threshold)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        yield from _ahead(pool, detect, items, AHEAD * len(workers))


def _in_batches(
    backend: Backend, items: Iterable[Item], decode: Decode[Item], batch_size: int, score_threshold: float | None
) -> Iterator[Result[Item] | ImageError]:
    def with_pixels(item: Item) -> tuple[Item, np.ndarray] | ImageError:
        decoded = decode(item)
        return decoded if isinstance(decoded, ImageError) else (item, decoded)

    with ThreadPoolExecutor(DECODERS) as pool:
        files = _ahead(pool, with_pixels, items, 2 * batch_size)
        while batch := list(islice(files, batch_size)):
            images = [item[1] for item in batch if not isinstance(item, ImageError)]
            detections = iter(backend(images, score_threshold=score_threshold) if images else ())
            for item in batch:
                yield item if isinstance(item, ImageError) else (*item, next(detections))


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
