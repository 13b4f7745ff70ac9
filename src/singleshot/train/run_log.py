"""What a run logs while it goes: `metrics.jsonl`, TensorBoard events and the progress bar."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from singleshot.console import remarks
from singleshot.shapes import UInt8

METRICS = "metrics.jsonl"
SETTINGS = "settings.json"
"""Every setting of the run with its origin."""
LINE_EVERY = 30.0
"""Seconds between two lines of progress where there is no terminal."""


class RunLog:
    """One run's log; a context manager. Each row is written at once, so that rows are whole even if the run is killed.

    Args:
        folder: the run's folder; a resumed run appends its rows, another starts the file anew.
        steps: of the whole run, for the bar.
        done: steps already done.
        console: where progress goes; tests pass a quiet one.
        silent: writes no files: another process of the run does.
    """

    def __init__(
        self, folder: Path, *, steps: int, done: int = 0, console: Console | None = None, silent: bool = False
    ) -> None:
        self.console = console or remarks()
        self._steps = steps
        self._files = None if silent else _Files(folder, done)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._task = self._progress.add_task("training", total=steps, completed=done, figures="")
        self._last_line = time.monotonic()
        self._began = time.monotonic() - (seconds_until(folder, done) if done else 0.0)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._files is not None:
            self._files.close()

    @property
    def seconds(self) -> float:
        """Since the run began, without the time between its parts where it was resumed."""
        return time.monotonic() - self._began

    def shorten(self, steps: int) -> None:
        """The run ends after so many steps."""
        self._steps = steps
        self._progress.update(self._task, total=steps)

    def row(self, row: dict[str, Any]) -> None:
        """Append a row of figures; numbers go to TensorBoard too, under `train/` or, with an mAP, `val/`."""
        if self._files is not None:
            self._files.row(row)

    def image(self, name: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """An image for TensorBoard."""
        if self._files is not None:
            self._files.events.add_image(name, image, step, dataformats="HWC")

    def advance(self, step: int, figures: str) -> None:
        """Move the bar; where there is no terminal, print a line every half minute instead."""
        self._progress.update(self._task, completed=step, figures=figures)
        self._line_if_due(f"step {step}/{self._steps}  {figures}")

    def counter(self, what: str, total: int) -> Callable[[int], None]:
        """Gets the number of images done; where there is no terminal, prints a line every half minute."""
        return lambda done: self._line_if_due(f"{what}: {done} of {total} images")

    def say(self, text: str) -> None:
        """A line for people, above the bar."""
        self.console.print(text)

    def _line_if_due(self, text: str) -> None:
        if not self.console.is_terminal and time.monotonic() - self._last_line > LINE_EVERY:
            self._last_line = time.monotonic()
            self.say(text)


class _Files:
    """The files of a run that grow while it goes."""

    def __init__(self, folder: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._file = (folder / METRICS).open("a+b" if done else "w+b")
        if self._file.tell() and self._last_byte() != b"\n":
            self._file.write(b"\n")  # ends a line that a crash has cut
        self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=done or None)

    def row(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        group = "val" if "per_class" in row else "train"
        for key, value in row.items():
            if isinstance(value, int | float) and key not in {"step", "epoch", "seconds"}:
                self.events.add_scalar(f"{group}/{key}", value, row["step"])

    def _last_byte(self) -> bytes:
        self._file.seek(-1, os.SEEK_END)
        return self._file.read(1)

    def close(self) -> None:
        self._file.close()
        self.events.close()


def seconds_until(folder: Path, step: int) -> float:
    """Seconds that a run took for so many steps, by its rows; those of earlier versions do not tell."""
    rows = read_metrics(folder / METRICS)
    return max((row["seconds"] for row in rows if row["step"] <= step and "seconds" in row), default=0.0)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, where NaN and Infinity are None; a line cut by a crash is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line, parse_constant=lambda _name: None)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
