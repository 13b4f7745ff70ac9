"""A drill in a process of its own: its memory is measured alone, and a crash is an answer, too."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

Drill = Callable[..., tuple[bool, str]]
"""Returns whether the promise was kept, and a figure."""


def in_own_process(drill: Drill, *arguments: Any) -> tuple[bool, str]:
    """What a drill returns; a promise that was not kept where its process crashed."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, drill, arguments))
    process.start()
    sender.close()
    try:
        kept, figure = receiver.recv()
    except EOFError:
        kept, figure = False, "the process crashed"
    process.join()
    return kept, figure


def _send(pipe: Connection, drill: Drill, arguments: tuple[Any, ...]) -> None:
    pipe.send(drill(*arguments))
