"""Output to the terminal: plain text without colour, wrapping or markup (so that paths can be copied), and progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Text with control characters escaped, so that a file or class name cannot send commands to the terminal."""
    return text.translate(_CONTROL)


def percent(value: float | None, *, nothing: str = "–") -> str:  # noqa: RUF001 (a dash)
    """A fraction as text, such as 12.5%; `nothing` for None and non-finite values."""
    return nothing if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"


class _Plain(Console):
    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(item) if isinstance(item, str) else item for item in objects), **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process with 1; the command line ends it as SIGPIPE does


def results() -> Console:
    """Standard output, for results."""
    return _Plain(highlight=False, soft_wrap=True, markup=False, emoji=False)


def remarks() -> Console:
    """Standard error, for progress, remarks and errors."""
    return _Plain(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


@contextmanager
def progress(console: Console, task: str, *, every: float = 30) -> Iterator[Callable[[int, int], None]]:
    """Progress of a long task: yields a function `report(done, total)`. A bar on a terminal, elsewhere lines.

    Args:
        console: where it is shown.
        task: what is done, such as `detecting`.
        every: seconds between two lines where the console is not a terminal.
    """
    if console.is_terminal:
        from rich.progress import Progress

        with Progress(console=console) as bars:
            bar = bars.add_task(task)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
        return
    start = last = time.monotonic()

    def line(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every and done:
            last, left = now, (now - start) * (total - done) / done
            console.print(f"{task}: {done:,} of {total:,}, about {left / 60:.0f} min left")

    yield line


@contextmanager
def stages(console: Console, *, every: float = 30) -> Iterator[Callable[[str], None]]:
    """A function of what is going on: one line that changes on a terminal, else a line now and then.

    A new stage, `timing: round 1 of 30`, has a line at once; `timing: round 2 of 30` is of the same stage.

    Args:
        console: where it shows.
        every: seconds between two lines of one stage where the console is no terminal.
    """
    if console.is_terminal:
        with console.status("") as status:
            yield status.update
        return
    stage, last = "", 0.0

    def line(text: str) -> None:
        nonlocal stage, last
        name, now = text.partition(":")[0], time.monotonic()
        if name != stage or now - last >= every:
            stage, last = name, now
            console.print(text)

    yield line
