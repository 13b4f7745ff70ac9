"""`ssd reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from singleshot.lab.reproduce.options import ReproduceOptions

if TYPE_CHECKING:  # what loads torch
    from singleshot.lab.reproduce.paper import Table


def reproduce(
    table: str,
    *,
    options: Annotated[ReproduceOptions, Parameter(name="*")] = ReproduceOptions(),  # noqa: B008
    plan: bool = False,
    json: Path | None = None,
) -> int:
    """Train and evaluate the rows of one of the paper's tables, and set ours beside the paper's.

    Args:
        table: `table1` (VOC2007), `table2` (augmentation, box shapes, atrous), `table3` (output maps), `table4`
            (VOC2012), `table5` (COCO), `table6` (expansion), `table7` (speed), `ilsvrc`; or `relatives`: fused maps,
            focal loss, OverFeat- and YOLO-like networks.
        plan: only list the rows: what each learns, how long by the paper and, with --data, how many steps and how long
            here (with --json, all of its configuration).
        json: file for the figures.
    """
    from singleshot.files import require_output, write_json
    from singleshot.lab.reproduce.tables import SPEED
    from singleshot.lab.reproduce.tables import table as table_named

    require_output(json, "--json", [*options.data, *([options.coco] if options.coco else [])])
    if table == SPEED:
        page = None if plan else options.out / f"{table}.html"
        content = _speed(page, threads=options.threads or 2, rounds=options.rounds)
    elif plan:
        content = _plan(table_named(table), options)
    else:
        content = _trained(table_named(table), options)
    write_json(json, content)
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


def _plan(table: Table, options: ReproduceOptions) -> dict[str, object]:
    """The plan for people, and all of it as plain values."""
    from singleshot.console import results
    from singleshot.lab.reproduce.planning import chosen_budget, plan_lines, plan_of, runner_for, wanted_rows

    budget = chosen_budget(options)
    rows = wanted_rows(table, options, budget)
    planned = plan_of(rows, budget, runner_for(options, budget) if options.has_data else None)
    for line in plan_lines(planned, budget, len(options.seed_numbers()), options.jobs):
        results().print(line)
    return {"table": table.name, "title": table.title, "rows": [row.to_json() for row in planned]}


def _trained(table: Table, options: ReproduceOptions) -> dict[str, object]:
    """The table, trained and evaluated, for people and as plain values."""
    from singleshot.console import remarks, results, stages
    from singleshot.lab.reproduce.command import reproduce as run
    from singleshot.lab.reproduce.page import as_text, differences_as_text

    console, people = results(), remarks()
    with stages(people) as on_stage:
        done = run(table, options, say=people.print, stage=on_stage)
    for note in done.notes:
        people.print(note)
    compared = differences_as_text(done.differences)
    for line in (*as_text(done.outcomes), *done.claims, *compared, str(options.out / f"{table.name}.html")):
        console.print(line)
    return done.to_json()
