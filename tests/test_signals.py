"""Ctrl-C and SIGTERM during a run."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time

import pytest

from singleshot.train.signals import catch_signals


def test_a_signal_is_noted_and_said_and_handlers_come_back() -> None:
    handlers = [signal.getsignal(stop) for stop in (signal.SIGINT, signal.SIGTERM)]
    lines: list[str] = []
    with catch_signals(lines.append) as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 30
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert signals.received == signal.SIGTERM
    assert "SIGTERM: saving after this step" in lines[0]
    assert [signal.getsignal(stop) for stop in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_second_signal_ends_as_usual() -> None:
    with pytest.raises(KeyboardInterrupt), catch_signals(lambda _line: None):  # noqa: PT012 (the second one raises)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_it_is_said_while_the_main_thread_is_busy_outside_of_python() -> None:
    """As in a backward pass: Python's own handler does not run before it returns."""
    said: list[float] = []
    with catch_signals(lambda _line: said.append(time.monotonic())):
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 6_000_000)
        returned = time.monotonic()
        while not said:
            time.sleep(0.01)
    assert said[0] < returned
