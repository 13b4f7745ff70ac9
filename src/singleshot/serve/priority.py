"""The event loop goes first: it must answer at once, also where all cores decode and detect."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICE = 5
"""Of decoders and of the engine's threads. At four times the capacity, on two cores, a refusal took 242 ms (p99) with 0,
62 ms with 5, at the same rate of answers; with 10 other programs took the processor."""


def go_behind() -> None:
    """Lower the priority of this thread, where threads have one (Linux) and it may be changed."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
