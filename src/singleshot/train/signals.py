"""Ctrl-C and SIGTERM ask a run to end; it does so between two updates."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from singleshot.errors import SingleshotError


class Stopped(SingleshotError):  # noqa: N818  (a signal is no error)
    """A signal ended the run; `exit_code` is 128 + the signal's number."""

    def __init__(self, number: int, step: int, *, advice: str = "go on with --resume") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}; {advice}")
        self.number, self.step = number, step
        self.exit_code = 128 + number  # type: ignore[misc]


@dataclass
class Signals:
    """The last stop signal received, if any."""

    received: int | None = None


@contextmanager
def catch_signals() -> Iterator[Signals]:
    """Note SIGINT and SIGTERM instead of dying; a second one ends the process as usual."""
    state = Signals()
    previous: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        state.received = number
        signal.signal(number, previous[number])

    for stop in (signal.SIGINT, signal.SIGTERM):
        previous[stop] = signal.signal(stop, note)
    try:
        yield state
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
