"""What the machine is, how busy others keep it, and how fast it multiplies."""

from __future__ import annotations

import os
import time
from pathlib import Path

from singleshot.errors import MachineError
from singleshot.machine import processor_features, processor_name

MOST_OTHER_LOAD = 0.3
"""Cores that other processes may use while we measure."""


def require_quiet(*, seconds: float = 2.0) -> float:
    """Cores that others use just now.

    Raises:
        MachineError: more than `MOST_OTHER_LOAD`.
    """
    load = other_load(seconds)
    if load > MOST_OTHER_LOAD:
        raise MachineError(
            f"other programs use {load:.1f} cores, more than {MOST_OTHER_LOAD}: figures would say nothing. Try when "
            "the machine is idle, or measure all the same with --loaded"
        )
    return load


def other_load(seconds: float) -> float:
    """Cores that are busy while we sleep (Linux; 0 elsewhere)."""
    if not Path("/proc/stat").exists():
        return 0.0
    before, started = _busy_seconds(), time.perf_counter()
    time.sleep(seconds)
    return (_busy_seconds() - before) / (time.perf_counter() - started)


def _busy_seconds() -> float:
    user, nice, system, _idle, _wait, interrupts, soft, *_ = (
        int(field) for field in Path("/proc/stat").read_text().split()[1:9]
    )
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def processor() -> str:
    """Its name and the flags that decide about bf16 and int8 rates."""
    features = processor_features()
    return f"{processor_name()} ({', '.join(features)})" if features else processor_name()
