"""`ssd train` from the user's words to the last file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from singleshot.console import remarks
from singleshot.errors import RequestError
from singleshot.report.page import ReportContent, write_report
from singleshot.spec import ModelSpec
from singleshot.train import checkpoint
from singleshot.train.begun import completed, differences
from singleshot.train.journal import METRICS, Journal, read_history
from singleshot.train.loop import run
from singleshot.train.options import TrainOptions
from singleshot.train.plan import Plan, prepare
from singleshot.train.ranks import joined
from singleshot.train.rate_finder import find_rate
from singleshot.train.recipe import Recipe
from singleshot.train.run_report import write_run_report

MOST_SHOWN = 5
"""Differences from the run that is to be resumed."""
RESULTS = ("best", "last", "report.html")
"""What a finished run leaves in its folder, and another would replace."""


def train_command(
    data: Sequence[str],
    options: TrainOptions,
    *,
    base: ModelSpec | None = None,
    recipe: Recipe | None = None,
    quietly: bool = False,
) -> int:
    """Train, as one of several processes where `torchrun` started this; returns the exit code.

    Args:
        data: sets to train on.
        options: what the user said.
        base: see `prepare`, as `recipe`.
        recipe: see there.
        quietly: say nothing; the run's files tell all.
    """
    with joined(options.device) as ranks:
        console = remarks() if ranks.is_first and not quietly else Console(quiet=True)
        if not options.resume and not options.find_rate:
            _require_unused(options.out)
        plan = prepare(data, options, ranks, base=base, recipe=recipe)
        for note in (*plan.notes, *plan.coverage):
            console.print(note)
        if options.find_rate:
            _search_rate(plan, console)
            return 0
        with _alone_in(plan.folder) if ranks.is_first else nullcontext():
            if ranks.is_first:
                start = _start(plan, console)
            ranks.while_first(lambda _alive: None)  # what the first process refuses, none begins
            if not ranks.is_first:
                start = _start(plan, console)
            with Journal(
                plan.folder, steps=plan.steps, done=start.step, console=console, silent=not ranks.is_first
            ) as (journal):
                validation = run(plan, journal, start)
            if not ranks.is_first:
                return 0
            report = write_run_report(plan, validation, command=" ".join(["ssd", *sys.argv[1:]]))
        best = plan.folder / ("best" if (plan.folder / "best").is_dir() else "last")
        console.print(f"model: {best}\nreport: {report}")
    return 0


def _search_rate(plan: Plan, console: Console) -> None:
    """Search, and say and show what was found; the folder stays free for a run."""
    with _alone_in(plan.folder):
        found = find_rate(plan, console)
        page = plan.folder / "learning-rate.html"
        title = f"Learning rate of {plan.model.spec.name} on {', '.join(plan.data)}"
        write_report(page, ReportContent(title=title, rate_search=found, configuration=plan.settings()["recipe"]))
    near = 0.5 <= found.suggested / found.recipe <= 2
    advice = ": close enough to leave it" if near else ""
    console.print(
        f"suggested: --learning-rate {found.suggested:.2g} (the recipe's is {found.recipe:.2g}{advice})\nreport: {page}"
    )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """The run's folder, made where it is not there and held against other processes.

    Raises:
        RequestError: another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RequestError(f"another training writes to {folder}: give another --out, or wait for it") from None
    try:
        yield
    finally:
        lock.release()


def _start(plan: Plan, console: Console) -> checkpoint.RunState:
    """Where to begin: at the newest checkpoint when resuming, else at 0 in a folder that holds no other run.

    Raises:
        RequestError: the folder holds another run, or its checkpoint has other settings; what differs is named.
    """
    folder = plan.folder / "checkpoints"
    settings = plan.settings()
    fresh = checkpoint.RunState(0, settings)
    if not plan.options.resume:
        _require_unused(plan.folder)
        return fresh
    found = checkpoint.load_latest(folder)
    if found is None:
        _require_no_results(plan.folder)
        console.print(f"no checkpoint in {plan.folder}: starting afresh")
        return fresh
    state, tensors, solver_tensors, notes = found
    for note in notes:
        console.print(f"passed over: {note}")
    differing = differences({"parts": 1} | completed(state.settings), settings)
    if differing:
        more = f" and {len(differing) - MOST_SHOWN} more" if len(differing) > MOST_SHOWN else ""
        raise RequestError(
            f"cannot resume {plan.folder}: {'; '.join(differing[:MOST_SHOWN])}{more}. A run is resumed by the command "
            "that began it and --resume; to train a model further, give it as --model, and another --out"
        )
    checkpoint.restore(plan.model, plan.solver, tensors, solver_tensors, plan.average)
    console.print(f"going on after step {state.step} of {plan.steps}")
    return state


def _require_unused(folder: Path) -> None:
    if checkpoint.checkpoints(folder / "checkpoints"):
        raise RequestError(f"{folder} holds a run already: --resume goes on with it, --out begins another")
    _require_no_results(folder)


def _require_no_results(folder: Path) -> None:
    there = [name for name in RESULTS if (folder / name).exists()]
    journal = folder / METRICS
    if journal.is_file() and journal.stat().st_size and not any("step" in row for row in read_history(journal)):
        raise RequestError(f"{journal} is none of ours and would be replaced: give another --out")
    if there:
        raise RequestError(f"{folder} holds {' and '.join(there)} of another run: give another --out")
