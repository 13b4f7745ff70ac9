"""From the user's words to rows and a runner, and what each row will cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from singleshot.data.recognise import open_data, recognise
from singleshot.errors import RequestError, UnknownNameError
from singleshot.lab.reproduce.budget import Budget
from singleshot.lab.reproduce.budget import budget as budget_named
from singleshot.lab.reproduce.options import ReproduceOptions
from singleshot.lab.reproduce.page import aligned
from singleshot.lab.reproduce.paper import Table, TableRow
from singleshot.lab.reproduce.runner import Runner
from singleshot.machine import usable_cores
from singleshot.models.ssd import SSD
from singleshot.runtime.torch_backend import choose_device
from singleshot.spec import ModelSpec
from singleshot.train.prepare import compute_type
from singleshot.train.timer import format_duration

MOST_JOBS = 64


def chosen_budget(options: ReproduceOptions, say: Callable[[str], None] = lambda _line: None) -> Budget:
    """The budget that the user named or, where none was named, the paper's own only with a GPU.

    Raises:
        RequestError: a budget, width or length that cannot be.
    """
    name = options.budget
    if name is None:
        name = "full" if choose_device(options.device).type == "cuda" else "small"
        say(f"budget {name}" + ("" if name == "full" else ", for want of a GPU; --budget full trains as the paper"))
    return budget_named(name, width=options.width, epochs=options.epochs)


def runner_for(options: ReproduceOptions, budget: Budget) -> Runner:
    """Trains and evaluates rows as the user said.

    Raises:
        RequestError: no data, or COCO's are not in its format; no weights to start the light budget from.
    """
    if not options.has_data:
        raise RequestError("which data? Give a set behind --data, or one in COCO's format behind --coco")
    if budget.light and options.init is None:
        raise RequestError(
            "--budget light starts from weights of a MobileNetV2 classifier: --init FILE; not from the shipped model, "
            "which may have learnt the images that rows are evaluated on"
        )
    if options.coco is not None and (form := recognise(Path(options.coco))) != "coco":
        raise RequestError(f"--coco takes a set in COCO's format; {options.coco} is in that of {form}")
    if not 1 <= options.jobs <= MOST_JOBS:
        raise RequestError(f"--jobs is between 1 and {MOST_JOBS}, got {options.jobs}")
    if options.jobs > 1 and options.threads is None:
        options = replace(options, threads=max(1, usable_cores() // options.jobs))
    return Runner(options, budget)


def wanted_rows(table: Table, options: ReproduceOptions, budget: Budget) -> list[TableRow]:
    """The rows that were asked for by key; behind each its variant with the user's settings, where there are any.

    Raises:
        UnknownNameError: no such row or setting; the nearest are offered.
        RequestError: a value that a setting cannot have.
    """
    known = {row.key: row for row in budget.rows(table)}
    wanted = known if options.rows is None else dict.fromkeys(key.strip() for key in options.rows.split(","))
    for key in wanted:
        if key not in known:
            raise UnknownNameError(f"row of {table.name}", key, known)
    rows = [row for key, row in known.items() if key in wanted]
    if not options.settings:
        return rows
    return [variant for row in rows for variant in (row, with_settings(row, options.settings))]


def with_settings(row: TableRow, settings: Sequence[str]) -> TableRow:
    """The row as an ablation of one's own: the same training with these settings of its recipe, `NAME=VALUE` each.

    Raises:
        RequestError, UnknownNameError: no such setting, or a value that it cannot have.
    """
    schedule = replace(row.schedule, settings=tuple(settings))
    schedule.configured_recipe()  # whatever is wrong with the settings is found here
    name = "_".join("".join(sign if sign.isalnum() or sign in "._=-" else "-" for sign in text) for text in settings)
    label = f"{row.label}, {', '.join(settings)}"
    return replace(row, key=f"{row.key}_{name}", label=label, schedule=schedule, paper={}, per_class={}, boxes=None)


@dataclass(frozen=True)
class PlannedRow:
    """A row and what it will cost.

    Attributes:
        row: of the table.
        steps: of training under the budget; None where that needs the data.
        seconds: of training a seed on this machine, estimated; None where that needs the data.
    """

    row: TableRow
    steps: int | None
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values: all that makes the row what it is, and its cost."""
        row = self.row
        cost = {"steps_here": self.steps, "seconds_here": None if self.seconds is None else round(self.seconds)}
        return {"key": row.key, "label": row.label, "paper_percent": dict(row.paper), **row.configuration(), **cost}


def plan_of(rows: Sequence[TableRow], budget: Budget, runner: Runner | None) -> list[PlannedRow]:
    """What each row will cost; without a runner, that is without data, what is known of it.

    Raises:
        DataError, RequestError: the sets lack what a row needs.
    """
    if runner is None:
        return [PlannedRow(row, 0 if row.model_of else budget.steps(row, row.schedule), None) for row in rows]
    seconds: dict[tuple[ModelSpec, int], float] = {}
    planned = []
    for row in rows:
        if row.model_of:
            planned.append(PlannedRow(row, 0, 0.0))
            continue
        schedule, network = row.schedule, budget.network(row)
        batch_size = budget.recipe(row, schedule).batch_size
        steps = budget.steps(row, schedule)
        if steps is None:
            assert budget.epochs is not None
            images = sum(
                len(open_data(split.path, split=split.split)) for split in runner.datasets.training_splits(row)
            )
            steps = max(1, round(budget.epochs * images / batch_size))
        if (network, batch_size) not in seconds:
            seconds[network, batch_size] = step_seconds(network, batch_size, runner.options)
        planned.append(PlannedRow(row, steps, steps * seconds[network, batch_size]))
    return planned


def step_seconds(spec: ModelSpec, batch_size: int, options: ReproduceOptions) -> float:
    """Time of a training step, from forward and backward passes of two images; loss and loading come on top."""
    place = choose_device(options.device)
    precision = compute_type("auto", place)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    network = SSD(spec, seed=0).train().to(place)
    images = torch.zeros(2, 3, *spec.input_size_hw, device=place)

    def seconds() -> float:
        started = perf_counter()
        with torch.autocast(place.type, precision, enabled=precision is not None):
            predictions = network(images)
        (predictions.offsets.float().sum() + predictions.logits.float().sum()).backward()
        if place.type == "cuda":
            torch.cuda.synchronize()
        return perf_counter() - started

    seconds()  # finds its memory
    return min(seconds() for _ in range(3)) * batch_size / 2  # other programs only ever add to it


def plan_lines(planned: Sequence[PlannedRow], budget: Budget, seeds: int, jobs: int = 1) -> list[str]:
    """The plan as aligned lines, and the time that the whole table takes."""
    head = ["row", "what", "trained on", "steps by the paper", "paper", f"steps here ({budget.name})", "time a seed"]
    cells = []
    for plan in planned:
        row = plan.row
        sets = "COCO" if row.on_coco else ("COCO, then " if row.before else "") + row.schedule.sets
        figures = ", ".join(f"{name} {value:g}" for name, value in row.paper.items()) or "-"
        steps = f"{budget.epochs:g} epochs" if plan.steps is None else f"{plan.steps:,}"
        time = "-" if plan.seconds is None else format_duration(plan.seconds)
        cells.append([row.key, row.label, sets, f"{row.schedule.steps:,}", figures, steps, time])
    lines = aligned(head, cells)
    total = sum(plan.seconds for plan in planned if plan.seconds is not None)
    if total:
        several = f" with {seeds} seeds" if seeds > 1 else ""
        several += f", {jobs} at once" if jobs > 1 else ""
        lines.append(
            f"in all about {format_duration(seeds * total / jobs)} of training on this machine{several}, "
            "timed by a step each"
        )
    return lines
