"""How the server starts the processes that may die: decoders and the engine."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

PRELOADED = "singleshot.serve.decoders"
"""What the server of processes imports, once for all of them."""
PIPE_BYTES = 2**20
"""What may wait in a pipe, where the system allows it: an image, so that its sender need not wait for who takes it."""
PIPE_FAULTS = (EOFError, OSError)
"""What reading from a pipe raises, or writing to it, whose other end has gone."""
_MAIN_LOCK = Lock()


def start_process(
    target: Callable[..., None], arguments: tuple[object, ...], *, pipes: int
) -> tuple[BaseProcess, list[Connection]]:
    """Start a process that calls `target(THEIR_ENDS, *arguments)`; no file is needed for it.

    Args:
        target: a function of a module; it calls `settle` first.
        arguments: plain data.
        pipes: how many there are between the two.

    Returns:
        The process, and our ends of the pipes.
    """
    context = _context()
    ends = [context.Pipe() for _ in range(pipes)]
    theirs = [their_end for _, their_end in ends]
    if sys.platform != "win32":  # elsewhere they are sockets
        for end in itertools.chain.from_iterable(ends):
            with socket.fromfd(end.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIPE_BYTES)
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    with _no_main_module():
        process.start()
    for their_end in theirs:
        their_end.close()
    return process, [our_end for our_end, _ in ends]


def settle(name: str) -> None:
    """What such a process does first: take a name that `ps` and `top` show, and leave its end to the server.

    The signals that end a program go to all processes of a terminal, or of a service: the server ends us, when it has
    answered what it had taken.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    with suppress(OSError):  # where there is no /proc
        Path("/proc/self/comm").write_text(name)


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep a new process from importing the program that started it, of which it needs nothing.

    Else a script that makes a server outside of `if __name__ == "__main__":` would make another one in each process.
    """
    with _MAIN_LOCK:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _context() -> Any:
    """How processes are started.

    By a server of processes where there is one and it has a folder for its socket: a new decoder is then there in some
    milliseconds. Elsewhere each one starts Python anew.
    """
    if sys.platform != "linux":  # macOS has one, but what is imported here is not safe to be forked there
        return multiprocessing.get_context("spawn")
    try:
        tempfile.gettempdir()
    except FileNotFoundError:  # a read-only container
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    return context
