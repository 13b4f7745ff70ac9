"""Several rows of a table trained at once, each in a process of its own; what they leave is found by the table."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess

import torch

from singleshot.errors import SingleshotError
from singleshot.lab.reproduce.paper import TableRow
from singleshot.lab.reproduce.runner import Runner
from singleshot.train.signals import Stopped, catch_signals
from singleshot.train.timer import format_duration

PATIENCE = 1.0
"""Seconds between two looks for a signal."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        rows: that evaluate its model, the first of them trains it.
        seed: of the training.
    """

    rows: tuple[TableRow, ...]
    seed: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.rows[0].label}, seed {self.seed}"


class RowFailedError(SingleshotError):
    """A training of a row ended with an error, which it has printed; `exit_code` is that of its process."""

    def __init__(self, job: Job, code: int) -> None:
        super().__init__(f"{job}: its training ended with exit code {code}; the same command goes on from there")
        self.exit_code = code if 0 < code < 126 else 4  # type: ignore[misc]


def train_at_once(
    runner: Runner,
    jobs: Sequence[Job],
    most: int,
    *,
    say: Callable[[str], None],
    stage: Callable[[str], None],
) -> None:
    """Train and evaluate all, at most so many at a time.

    Args:
        runner: with `threads` for each of them.
        jobs: in the order in which they begin.
        most: processes.
        say: takes a line.
        stage: takes what is going on, for a line that changes.

    Raises:
        RowFailedError: one of them failed; the others were stopped after their step.
        Stopped: a signal ended them, likewise.
    """
    context = multiprocessing.get_context("spawn")
    waiting, running = list(jobs), dict[SpawnProcess, Job]()
    started = time.monotonic()
    with catch_signals(say, what=f"the {most} trainings save after this step") as signals:
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    job = waiting.pop(0)
                    process = context.Process(target=_train, args=(runner, job))
                    process.start()
                    running[process] = job
                done = len(jobs) - len(waiting) - len(running)
                left = (time.monotonic() - started) / done * (len(jobs) - done) if done else None
                stage(
                    f"{done} of {len(jobs)} done"
                    + (f", about {format_duration(left)} left" if left else "")
                    + f": {'; '.join(map(str, running.values()))}"
                )
                wait([process.sentinel for process in running], timeout=PATIENCE)
                if signals.received is not None:
                    raise Stopped(signals.received, 0, advice="the same command goes on from there")
                for process in [process for process in running if process.exitcode is not None]:
                    job = running.pop(process)
                    if process.exitcode:
                        raise RowFailedError(job, process.exitcode)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.join()


def _train(runner: Runner, job: Job) -> None:
    """In a process of its own: train the row, and evaluate it and those that share its model."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C in a terminal reaches the parent alone, which then asks each process once
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if runner.options.threads is not None:
        torch.set_num_threads(runner.options.threads)
    try:
        model = runner.train(job.rows[0], job.seed)
        for row in job.rows:
            runner.evaluate(model, row, memory=runner.folder(row, job.seed))
    except Stopped as stop:
        sys.exit(stop.exit_code)
    except SingleshotError as error:
        print(f"{job}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
