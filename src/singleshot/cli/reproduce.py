"""`ssd reproduce`."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from singleshot.lab.reproduce.rows import Table


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
        given: `ROW=FOLDER`: judge this model instead of training one.
        init: weights of a VGG-16 classifier to start from, as `ssd train --init`; `none` for fresh ones.
        train_split: instead of trainval, or of the set's own training split.
        test_split: instead of test, or of the set's own validation split where it has no test.
        plan: only list the rows, what each learns and how long by the paper (with --json, all of its configuration).
        rounds: how often each row is timed; 0 for never.
        device: `auto`, `cpu` or `cuda`.
        workers: processes that prepare images; left out: the cores less one.
        threads: of torch on the CPU; left out: all cores.
        out: folder of the runs and pages; a table that was cut short goes on there.
        json: file for the figures.
    """
    from singleshot.console import remarks, results
    from singleshot.files import require_output, write_whole
    from singleshot.lab.reproduce.tables import SPEED
    from singleshot.lab.reproduce.tables import table as table_named

    require_output(json, "--json", [*data, *([coco] if coco else [])])
    console, people = results(), remarks()
    wanted = None if table == SPEED else table_named(table)
    if wanted is None:
        from singleshot.lab.reproduce.speed import speed_lines, speed_table

        page = None if plan else out / f"{table}.html"
        with people.status("") as status:
            timed = speed_table(page, threads=threads or 2, rounds=rounds, on_stage=status.update)
        content: dict[str, object] = {"table": table, "rows": timed}
        for line in (*speed_lines(timed), *([] if page is None else [str(page)])):
            console.print(line)
    elif plan:
        content = _listed(wanted, rows)
    else:
        from singleshot.lab.reproduce.command import Wish, parse_given, parse_seeds
        from singleshot.lab.reproduce.command import reproduce as run
        from singleshot.lab.reproduce.setting_out import as_text, wanted_rows, workshop_for

        workshop = workshop_for(
            data, coco=coco, budget=budget, width=width, epochs=epochs, init=init, train_split=train_split,
            test_split=test_split, device=device, workers=workers, threads=threads, out=out, say=people.print,
        )  # fmt: skip
        keys = [row.key for row in wanted_rows(wanted, rows)]
        wish = Wish(keys, parse_seeds(seeds), parse_given(given), rounds, threads or 2)
        with people.status("") as status:
            done = run(wanted, workshop, wish, say=people.print, stage=status.update)
        content = done.to_json()
        for note in done.notes:
            people.print(note)
        for line in (*as_text(done.outcomes), *done.claims, str(out / f"{table}.html")):
            console.print(line)
    if json is not None:
        write_whole(json, json_format.dumps(content, indent=1, allow_nan=False) + "\n")
    return 0


def _listed(table: Table, rows: str | None) -> dict[str, object]:
    """The plan for people, and all of it as plain values."""
    from singleshot.console import results
    from singleshot.lab.reproduce.setting_out import plan_of, wanted_rows

    wanted = wanted_rows(table, rows)
    for line in plan_of(wanted):
        results().print(line)
    listed = [
        {"key": row.key, "label": row.label, "paper_percent": dict(row.paper), **row.configuration()} for row in wanted
    ]
    return {"table": table.name, "title": table.title, "rows": listed}
