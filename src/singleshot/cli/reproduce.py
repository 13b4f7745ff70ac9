"""`ssd reproduce`."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:  # what loads torch
    from singleshot.lab.reproduce.command import Request
    from singleshot.lab.reproduce.paper import Table
    from singleshot.lab.reproduce.planning import ReproduceOptions


MANY = Parameter(consume_multiple=True, negative=())


def reproduce(
    table: str,
    *,
    data: Annotated[tuple[str, ...], MANY] = (),
    coco: str | None = None,
    rows: Annotated[str | None, Parameter(show_default=False)] = None,
    budget: str | None = None,
    width: float | None = None,
    epochs: float | None = None,
    seeds: str = "0",
    given: Annotated[tuple[str, ...], MANY] = (),
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative=(), show_default=False)] = (),
    init: str = "none",
    train_split: str | None = None,
    test_split: str | None = None,
    plan: bool = False,
    rounds: int = 9,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    out: Path = Path("runs/reproduce"),
    json: Path | None = None,
) -> int:
    """Train and judge the rows of one of the paper's tables, and set ours beside the paper's.

    Args:
        table: `table1` (VOC2007), `table2` (augmentation, box shapes, atrous), `table3` (output maps), `table4`
            (VOC2012), `table5` (COCO), `table6` (expansion), `table7` (speed), `ilsvrc`; or `relatives`: fused maps,
            focal loss, OverFeat- and YOLO-like networks.
        data: the sets to learn and judge on: VOC2007, VOC2012; or any of your own.
        coco: a set in COCO's format, for rows that learn it.
        rows: only these, by key, separated by commas; `--plan` lists them.
        budget: `full`: the paper's network and updates; `small`: an eighth of the trunk's width, 12 epochs from
            nothing. Left out, full where there is a GPU.
        width: of the trunk, instead of the budget's.
        epochs: instead of the budget's.
        seeds: of the trainings, separated by commas; from two on there are intervals.
        settings: `NAME=VALUE`, repeatable: every row is trained a second time with these settings of its recipe, an
            ablation of your own; `ssd train --settings` lists them.
        given: `ROW=FOLDER`: judge this model instead of training one.
        init: weights of a VGG-16 classifier to start from, as `ssd train --init`; `none` for fresh ones.
        train_split: instead of trainval, or of the set's own training split.
        test_split: instead of test, or of the set's own validation split where it has no test.
        plan: only list the rows: what each learns, how long by the paper and, with --data, how many steps and how long
            here (with --json, all of its configuration).
        rounds: how often each row is timed; 0 for never.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that prepare images; left out: the cores less one.
        threads: of torch on the CPU; left out: all cores.
        out: folder of the runs and pages; a table that was cut short goes on there.
        json: file for the figures.
    """
    from singleshot.files import require_output, write_whole
    from singleshot.lab.reproduce.command import Request, parse_given, parse_seeds
    from singleshot.lab.reproduce.planning import ReproduceOptions
    from singleshot.lab.reproduce.tables import SPEED
    from singleshot.lab.reproduce.tables import table as table_named

    require_output(json, "--json", [*data, *([coco] if coco else [])])
    options = ReproduceOptions(
        data, coco, rows, settings, budget, width, epochs, init, train_split, test_split, device, workers, threads, out
    )
    if table == SPEED:
        content = _speed(None if plan else out / f"{table}.html", threads=threads or 2, rounds=rounds)
    elif plan:
        content = _plan(table_named(table), options, seeds=len(parse_seeds(seeds)))
    else:
        request = Request(parse_seeds(seeds), parse_given(given), rounds, threads or 2)
        content = _trained(table_named(table), options, request)
    if json is not None:
        write_whole(json, json_format.dumps(content, indent=1, allow_nan=False) + "\n")
    return 0


def _speed(page: Path | None, *, threads: int, rounds: int) -> dict[str, object]:
    """Table 7, timed where it has a page."""
    from singleshot.console import remarks, results, stages
    from singleshot.lab.reproduce.speed import speed_lines, speed_table

    with stages(remarks()) as on_stage:
        timed = speed_table(page, threads=threads, rounds=rounds, on_stage=on_stage)
    for line in (*speed_lines(timed), *([] if page is None else [str(page)])):
        results().print(line)
    return {"table": "table7", "rows": timed}


def _plan(table: Table, options: ReproduceOptions, *, seeds: int) -> dict[str, object]:
    """The plan for people, and all of it as plain values."""
    from singleshot.console import results
    from singleshot.lab.reproduce.planning import chosen_budget, plan_lines, plan_of, runner_for, wanted_rows

    budget = chosen_budget(options)
    rows = wanted_rows(table, options)
    planned = plan_of(rows, budget, runner_for(options, budget) if options.has_data else None)
    for line in plan_lines(planned, budget, seeds):
        results().print(line)
    return {"table": table.name, "title": table.title, "rows": [row.to_json() for row in planned]}


def _trained(table: Table, options: ReproduceOptions, request: Request) -> dict[str, object]:
    """The table, trained and judged, for people and as plain values."""
    from singleshot.console import remarks, results, stages
    from singleshot.lab.reproduce.command import reproduce as run
    from singleshot.lab.reproduce.page import as_text
    from singleshot.lab.reproduce.planning import chosen_budget, runner_for, wanted_rows

    console, people = results(), remarks()
    runner = runner_for(options, chosen_budget(options, people.print))
    rows = wanted_rows(table, options)
    with stages(people) as on_stage:
        done = run(table, rows, runner, request, say=people.print, stage=on_stage)
    for note in done.notes:
        people.print(note)
    for line in (*as_text(done.outcomes), *done.claims, str(options.out / f"{table.name}.html")):
        console.print(line)
    return done.to_json()
