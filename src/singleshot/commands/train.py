"""`ssd train` from the user's words to the last file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from singleshot.console import progress, remarks
from singleshot.decode import limited_to
from singleshot.errors import RequestError
from singleshot.files import write_json
from singleshot.report.page import ReportContent, write_report
from singleshot.spec import ModelSpec
from singleshot.train.cost import measure_cost
from singleshot.train.distributed import distributed_context
from singleshot.train.loop import run
from singleshot.train.lr_finder import find_learning_rate
from singleshot.train.options import TrainOptions
from singleshot.train.plan import Plan
from singleshot.train.prepare import prepare
from singleshot.train.recipe import Recipe
from singleshot.train.remember import images_to_remember
from singleshot.train.results import write_run_report
from singleshot.train.resume_check import require_unused, starting_state
from singleshot.train.run_log import SETTINGS, RunLog
from singleshot.train.step import LossFunction

MANY_STEPS = 200
"""From so many on, a run tells beforehand how long it will take; to know it costs eight steps."""


def train_command(
    data: Sequence[str],
    options: TrainOptions,
    *,
    base: ModelSpec | None = None,
    recipe: Recipe | None = None,
    loss: LossFunction | None = None,
    quietly: bool = False,
) -> int:
    """Train, as one of several processes where `torchrun` started this; returns the exit code.

    Args:
        data: sets to train on.
        options: what the user said.
        base: see `prepare`, as `recipe`.
        recipe: see there.
        loss: instead of the recipe's loss, see docs/python.md.
        quietly: say nothing; the run's files tell all.
    """
    with limited_to(options.max_megapixels), distributed_context(options.device) as ranks:
        console = remarks() if ranks.is_first and not quietly else Console(quiet=True)
        if not options.resume and not options.find_rate:
            require_unused(options.out)
        plan = prepare(data, options, ranks, base=base, recipe=recipe)
        plan.loss = loss
        for note in (*plan.notes, *plan.box_recall):
            console.print(note)
        if options.find_rate:
            _search_rate(plan, console)
            return 0
        _train(plan, console)
    return 0


def plan_of(data: Sequence[str], options: TrainOptions) -> list[str]:
    """What a run would do: every decision with its reason, and how long it takes here; nothing is written."""
    with limited_to(options.max_megapixels):
        if not options.resume:
            require_unused(options.out)
        plan = prepare(data, options)
        lines = [*plan.notes, *plan.box_recall]
        if not options.find_rate:
            starting_state(plan, lines.append)
        return [*lines, *measure_cost(plan).lines()]


def _train(plan: Plan, console: Console) -> None:
    """Train in the run's folder, from its newest checkpoint where it is resumed, and write the report."""
    ranks = plan.ranks
    with _alone_in(plan.folder) if ranks.is_first else nullcontext():
        if ranks.is_first:
            start = starting_state(plan, console.print)
            write_json(plan.folder / SETTINGS, plan.settings.to_json())
        ranks.on_rank_zero(lambda _alive: None)  # what the first process refuses, none begins
        if not ranks.is_first:
            start = starting_state(plan, console.print)
        if plan.steps - start.step >= MANY_STEPS and ranks.world == 1 and not console.quiet:
            for line in measure_cost(plan).lines():
                console.print(line)
        with progress(console, "hashing images") as on_image:
            plan.learnt = images_to_remember(plan, on_image=on_image)
        with RunLog(plan.folder, steps=plan.steps, done=start.step, console=console, silent=not ranks.is_first) as log:
            finished = run(plan, log, start)
            if not ranks.is_first:
                return
            for line in finished.remarks:
                console.print(line)
            report = write_run_report(plan, finished.validation, log, finished.remarks)
    best = plan.folder / ("best" if (plan.folder / "best").is_dir() else "last")
    console.print(f"model: {best}\nreport: {report}")


def _search_rate(plan: Plan, console: Console) -> None:
    """Search the learning rate and write a page; the folder stays free for a run."""
    with _alone_in(plan.folder):
        search = find_learning_rate(plan, console)
        page = plan.folder / "learning-rate.html"
        title = f"Learning rate of {plan.model.spec.name} on {', '.join(plan.data)}"
        write_report(page, ReportContent(title=title, rate_search=search, configuration=plan.settings.table()))
    near = 0.5 <= search.suggested / search.recipe <= 2
    advice = ": close enough to leave it" if near else ""
    console.print(
        f"suggested: --learning-rate {search.suggested:.2g} (the recipe's is {search.recipe:.2g}{advice})\n"
        f"report: {page}"
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
