"""`ssd reproduce`, behind the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from singleshot.console import percent
from singleshot.data.recognise import open_data
from singleshot.errors import RequestError, UnknownNameError
from singleshot.lab.reproduce.datasets import DataSplit, MissingDataError
from singleshot.lab.reproduce.differences import RESAMPLES, Difference, differences
from singleshot.lab.reproduce.light import SIDE, STEPS, VGG_SIDE, VGG_STEPS
from singleshot.lab.reproduce.options import ReproduceOptions
from singleshot.lab.reproduce.outcome import Outcome, Result, orderings
from singleshot.lab.reproduce.page import data_of_all, write_table
from singleshot.lab.reproduce.paper import Table, TableRow
from singleshot.lab.reproduce.parallel import Job, train_at_once
from singleshot.lab.reproduce.planning import chosen_budget, runner_for, wanted_rows
from singleshot.lab.reproduce.runner import Runner
from singleshot.lab.reproduce.speed import milliseconds
from singleshot.models.ssd import SSD
from singleshot.runtime.find_model import find_model
from singleshot.train.initial import NO
from singleshot.train.results import is_finished
from singleshot.train.timer import format_duration

BORNE_OUT = "no two rows' intervals part: no ordering is claimed"
ONE_SEED = "one seed has no interval: give --seeds 0,1,2 to learn which differences are more than chance"


@dataclass(frozen=True)
class Reproduced:
    """A table of ours.

    Attributes:
        table: the paper's.
        outcomes: rows that were trained or given.
        left_out: label and reason of those that were not.
        claims: lines on which orderings the intervals bear out.
        differences: of the rows that the paper compares.
        notes: lines on how it was made.
    """

    table: Table
    outcomes: tuple[Outcome, ...]
    left_out: tuple[tuple[str, str], ...]
    claims: tuple[str, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "table": self.table.name,
            "title": self.table.title,
            "rows": [outcome.to_json() for outcome in self.outcomes],
            "left_out": [{"row": label, "reason": reason} for label, reason in self.left_out],
            "orderings": [list(pair) for pair in orderings(self.outcomes)],
            "differences": [difference.to_json() for difference in self.differences],
            "notes": list(self.notes),
        }


def reproduce(
    table: Table, options: ReproduceOptions, *, say: Callable[[str], None], stage: Callable[[str], None]
) -> Reproduced:
    """Train (or take) every row with every seed, evaluate it, time it, and write the page.

    Args:
        table: of the paper.
        options: what the user said.
        say: takes a line as soon as it is known.
        stage: takes what is going on, for a line that changes.

    Raises:
        RequestError, DataError, ModelError: no row can be made of what was given, or something given is wrong; found
            before any training.
    """
    seeds, given = options.seed_numbers(), options.given_models()
    runner = runner_for(options, chosen_budget(options, say))
    rows, left_out = _possible(table, wanted_rows(table, options, runner.budget), runner, given)
    for label, reason in left_out:
        say(f"left out: {label}: {reason}")
    timed = _timed(rows, runner, stage) if table.timed and options.rounds else {}
    if options.jobs > 1:
        trained = [row for row in rows if row.key not in given]
        train_at_once(runner, _jobs(trained, runner, seeds), options.jobs, say=say, stage=stage)
    results = _results(rows, runner, seeds, given, say=say, stage=stage)
    outcomes = tuple(
        _outcome(row, runner, results[row.key], timed.get(row.key, {}), given=row.key in given) for row in rows
    )
    notes = _notes(table, runner, outcomes)
    compared = differences(
        outcomes,
        [pair for pair in table.pairs if runner.budget.compares(table, pair)],
        on_resample=lambda done: stage(f"comparing rows: {done} of {RESAMPLES} resamples"),
    )
    reproduced = Reproduced(table, outcomes, tuple(left_out), tuple(_claims(outcomes)), tuple(compared), notes)
    shown = [*notes, *(f"left out: {label}: {reason}" for label, reason in left_out)]
    write_table(
        runner.options.out / f"{table.name}.html",
        table.title,
        outcomes,
        notes=shown,
        claims=reproduced.claims,
        compared=compared,
    )
    return reproduced


def _timed(rows: Sequence[TableRow], runner: Runner, stage: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Milliseconds of each row's network: the paper's, or the light budget's own."""
    options = runner.options
    return milliseconds(
        {row.key: runner.budget.network(row) if runner.budget.light else row.spec for row in rows},
        threads=options.threads or 2,
        rounds=options.rounds,
        on_round=lambda done: stage(f"timing: round {done} of {options.rounds}"),
    )


def _jobs(rows: Sequence[TableRow], runner: Runner, seeds: Sequence[int]) -> list[Job]:
    """The trainings of the rows that are not done, seed by seed; rows that share a model are one."""
    groups: dict[str, list[TableRow]] = {}
    for row in rows:
        groups.setdefault(str(runner.folder(row, 0)), []).append(row)
    return [
        Job(tuple(group), seed)
        for seed in seeds
        for group in groups.values()
        if not all(runner.is_evaluated(row, seed) for row in group)
    ]


def _notes(table: Table, runner: Runner, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What people should know of the comparison."""
    notes = [line for line in (table.note, data_of_all(outcomes)) if line]
    budget = runner.budget
    if budget.light:
        notes.append(
            "budget light: MobileNetV2 with classifier's weights under the rows' own default boxes, "
            f"input {SIDE}, {STEPS:,} steps of 16 images (VGG-16 rows: {VGG_SIDE}, {VGG_STEPS:,} steps): "
            "no figure here is the paper's; it is the comparison on a light backbone"
        )
    elif budget.quick or budget.width < 1:
        notes.append(
            f"budget {budget.name}: the trunk's width x {budget.width:g}, epochs {budget.epochs or 0:g}, from nothing: "
            "no figure here is the paper's; it is the comparison in small, on other data"
        )
        if table.controls:
            notes.append("too short to tell most rows apart: --budget light does, in hours")
    elif runner.options.init in {None, NO}:
        notes.append("trained from nothing: the paper starts from a classifier's VGG-16 (--init FILE)")
    return tuple(notes)


def _possible(
    table: Table, wanted: Sequence[TableRow], runner: Runner, given: Mapping[str, str]
) -> tuple[list[TableRow], list[tuple[str, str]]]:
    """The wanted rows that what was given is enough for, and those that it is not, with what they lack."""
    known = {row.key: row for row in (*table.rows, *wanted)}
    for key in given:
        if key not in known:
            raise UnknownNameError(f"row of {table.name}", key, known)
    possible: list[TableRow] = []
    lacking: list[tuple[str, str]] = []
    alike: dict[str, str] = {}
    needed: set[DataSplit] = set()
    for row in wanted:
        trains = row.key not in given
        try:
            sources = [runner.datasets.evaluation_split(row), *(runner.datasets.training_splits(row) if trains else ())]
            if trains:
                runner.start(row)
        except MissingDataError as error:
            lacking.append((row.label, str(error)))
            continue
        training = json.dumps([runner.whole_cost(row), *map(str, sources), row.protocol, row.detects_boundary])
        if trains and (same := alike.setdefault(training, row.label)) != row.label:
            lacking.append((row.label, f"of what was given it would be the same as {same}"))
            continue
        possible.append(row)
        needed.update(sources)
    if not possible:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in lacking)
        raise RequestError(f"{table.name}: no row can be made of what was given: {reasons}")
    for path in given.values():
        find_model(path)
    for source in sorted(needed, key=str):
        open_data(source.path, split=source.split)  # whatever is wrong with it is found before anything is learnt
    return possible, lacking


def _results(
    rows: Sequence[TableRow],
    runner: Runner,
    seeds: Sequence[int],
    given: Mapping[str, str],
    *,
    say: Callable[[str], None],
    stage: Callable[[str], None],
) -> dict[str, list[Result]]:
    """Every row's models, evaluated; seed by seed, so that a table that is cut short has all its rows."""
    results: dict[str, list[Result]] = {row.key: [] for row in rows}
    for row in rows:
        if (folder := given.get(row.key)) is not None:
            stage(f"{row.label}: evaluating {folder}")
            evaluated = runner.evaluate(find_model(folder).path, row, memory=None)
            results[row.key].append(Result(None, evaluated.figures, folder, evaluated.matches))
            say(_line(row, results[row.key][-1]))
    jobs = [(seed, row) for seed in seeds for row in rows if row.key not in given]
    started, trained = time.monotonic(), 0
    for number, (seed, row) in enumerate(jobs):
        left = (time.monotonic() - started) / trained * (len(jobs) - number) if trained else None
        stage(
            f"{number + 1} of {len(jobs)}: {row.label}, seed {seed}"
            + (f"; {format_duration(left)} left" if left else "")
        )
        finished_before = is_finished(runner.folder(row, seed))
        model = runner.train(row, seed)
        evaluated = runner.evaluate(model, row, memory=runner.folder(row, seed))
        trained += not finished_before
        results[row.key].append(Result(seed, evaluated.figures, str(model), evaluated.matches))
        say(_line(row, results[row.key][-1]))
    return results


def _line(row: TableRow, result: Result) -> str:
    mean_ap = result.figure("mAP")
    whose = "given" if result.seed is None else f"seed {result.seed}"
    return f"{row.label}, {whose}: mAP {percent(mean_ap, nothing='no ground-truth boxes')}"


def _outcome(
    row: TableRow, runner: Runner, results: Sequence[Result], timed: Mapping[str, float], *, given: bool
) -> Outcome:
    names = tuple(results[0].figures["per_class"])
    spec = find_model(results[0].model).spec if given else runner.budget.network(row)
    network = SSD(spec if given else replace(spec, class_names=names))
    return Outcome(
        row=row,
        learnt=() if given else runner.datasets.training_splits(row),
        evaluated_on=runner.datasets.evaluation_split(row),
        boxes=len(network.default_boxes),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        results=tuple(results),
        milliseconds=timed,
        given=given,
        trained={} if given else runner.cost(row, row.schedule),
    )


def _claims(outcomes: Sequence[Outcome]) -> list[str]:
    if all(outcome.interval is None for outcome in outcomes):
        return [ONE_SEED]
    labels = {outcome.row.key: outcome.row.label for outcome in outcomes}
    above: dict[str, list[str]] = {}
    for better, worse in orderings(outcomes):
        above.setdefault(better, []).append(labels[worse])
    return [f"{labels[key]} is above: {'; '.join(worse)}" for key, worse in above.items()] or [BORNE_OUT]
