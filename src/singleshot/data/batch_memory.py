"""The memory through which worker processes hand batches over: on Linux the folder `/dev/shm`, 64 MB in a container.

A worker that finds it full cannot send its batch, so the room is counted before any worker starts.
"""

from __future__ import annotations

import os

from singleshot.errors import MachineError

SHARED_MEMORY = "/dev/shm"  # noqa: S108  (looked at, never written to by us)
MOST_AHEAD = 4
"""Batches that each worker makes in advance."""
USABLE = 0.9
"""Of the free memory; the rest is left to annotations and to other programs."""


def free_shared_memory() -> int | None:
    """Bytes; None on systems that have no such folder."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):  # AttributeError: Windows
        return None
    return status.f_bavail * status.f_frsize


def batches_ahead(batch_bytes: int, *, workers: int, held: int, processes: int = 1) -> int:
    """How many batches each worker may make in advance so that all fit, 1 to `MOST_AHEAD`.

    Args:
        batch_bytes: size of a batch's images.
        workers: of each process.
        held: batches that the process holds while it waits for the next.
        processes: that share the memory.

    Raises:
        MachineError: not even one batch a worker fits.
    """
    free = free_shared_memory()
    if free is None or not workers:
        return MOST_AHEAD
    room = int(USABLE * free / processes / batch_bytes) - held
    if room < workers:
        needed = batch_bytes * (workers + held) * processes / USABLE
        fewer = f"--workers {room}" if room > 0 else "--workers 0"
        raise MachineError(
            f"{SHARED_MEMORY} is too small: {free / 2**20:.0f} MiB are free, and {workers * processes} processes that "
            f"prepare batches need {needed / 2**20:.0f} MiB: enlarge it (docker: --shm-size=1g), or give {fewer}"
        )
    return min(MOST_AHEAD, room // workers)
