"""The event loop goes first: it must answer at once, also where all cores decode and detect."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICE = 5
"""How much behind. At four times the capacity, on two cores, a refusal took 242 ms (p99) with 0, 62 ms with 5, at the
same rate of answers; with 10 other programs took the processor."""


def go_behind() -> None:
    """Lower the priority of this thread, where threads have one (Linux) and it may be changed."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICE))
