"""Ctrl-C and SIGTERM ask a run to end; it does so between two steps."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
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
def catch_signals(say: Callable[[str], None], *, what: str = "saving after this step") -> Iterator[Signals]:
    """Note SIGINT and SIGTERM instead of dying; a second one ends the process as usual.

    Python runs a signal's handler only once the main thread returns from torch, which may take a whole backward pass.
    The line about it comes from another thread, so at once.

    Args:
        say: gets the line, in another thread.
        what: what happens now, for the line.
    """
    state = Signals()
    previous: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        state.received = number
        signal.signal(number, previous[number])

    for stop in (signal.SIGINT, signal.SIGTERM):
        previous[stop] = signal.signal(stop, note)
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)

    def announce() -> None:
        while number := receiver.recv(1):
            if number[0] in previous:
                name = signal.Signals(number[0]).name
                say(f"{name}: {what}; a second one ends the process at once")
                return

    thread = threading.Thread(target=announce, name="signals", daemon=True)
    thread.start()
    try:
        yield state
    finally:
        signal.set_wakeup_fd(wakeup)
        sender.close()
        thread.join()
        receiver.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
