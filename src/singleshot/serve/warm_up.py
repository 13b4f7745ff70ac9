"""The first runs of an engine, which take longer than the others: they are over before the first request."""

from __future__ import annotations

import time

import numpy as np

from singleshot.runtime.engine import Backend

BATCH = 8
"""Images of a batch, at most."""
BATCH_SIZES = (1, 2, 4, BATCH)
"""What an engine without workers is prepared for; compiled networks are compiled for each of these."""
ROUNDS = 2


def warm_up(backend: Backend) -> float:
    """Run each worker of an engine, or batches of each size; seconds an image, by the fastest."""
    blank = np.zeros((*backend.spec.input_size_hw, 3), np.uint8)
    seconds = list[float]()
    workers = backend.workers()
    for _ in range(ROUNDS):
        for worker in workers:
            start = time.monotonic()
            worker(blank)
            seconds.append((time.monotonic() - start) / len(workers))
    for size in () if workers else BATCH_SIZES:
        start = time.monotonic()
        backend([blank] * size)
        seconds.append((time.monotonic() - start) / size)
    return max(1e-4, min(seconds))
