"""Table 7, images a second of SSD300 and SSD512 here beside a Titan X, and milliseconds of the rows of other tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from singleshot.lab.bench.ours import PRECISIONS, ours, untrained
from singleshot.lab.bench.timing import Case, run_benchmark
from singleshot.lab.reproduce.page import aligned
from singleshot.lab.reproduce.paper import printed
from singleshot.report import template
from singleshot.spec import ModelSpec

PARTS = ("network", "whole")


def milliseconds(
    specs: Mapping[str, ModelSpec], *, threads: int, rounds: int, on_round: Callable[[int], None]
) -> dict[str, dict[str, float]]:
    """Median milliseconds by key and part, batch 1, fp32 on OpenVINO, seeded weights as sure as trained ones.

    Args:
        specs: the rows' networks, at the paper's width.
        threads: cores.
        rounds: measurements of each.
        on_round: called with the number of rounds done.
    """
    cases = []
    for key, spec in specs.items():
        whole = untrained(spec, name=key, threads=threads)
        works = {part: whole.works[part] for part in PARTS}
        cases.append(Case(key, key, works))
    rows = run_benchmark(cases, rounds, on_round)
    return {row.case.name: {part: row.median(part) or 0.0 for part in PARTS} for row in rows}


NETWORKS = {"SSD300": "ssd300-vgg16", "SSD512": "ssd512-vgg16"}
BATCHES = {1: "whole", 8: "batch8"}


def speed_table(
    page: Path | None, *, threads: int, rounds: int, on_stage: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The paper's rows with ours, and a page of them; without a page only what the paper says."""
    rows: list[dict[str, Any]] = [dict(row) | {"ours": {}} for row in printed("table7_speed_titan_x")]
    if page is None:
        return rows
    _add_ours(rows, threads=threads, rounds=rounds, on_stage=on_stage)
    head, cells = _columns(rows)
    note = "The paper measured on a Titan X with Caffe; ours is this machine, OpenVINO, seeded weights."
    text = template.render_page("speed.html", title="Speed (table 7)", head=head, rows=cells, notes=[note])
    template.write_page(page, text)
    return rows


def _add_ours(rows: Sequence[dict[str, Any]], *, threads: int, rounds: int, on_stage: Callable[[str], None]) -> None:
    """Images a second behind each SSD: whole detections, post-processing included, by precision and batch."""
    cases = []
    for name in NETWORKS.values():
        on_stage(f"preparing {name}")
        cases += [case for case, _ in ours(name, threads=threads)]
    for case in cases:
        for part in set(case.works) - set(BATCHES.values()):
            del case.works[part]
    times = run_benchmark(cases, rounds, lambda done: on_stage(f"timing: round {done} of {rounds}"))
    for row in rows:
        network = NETWORKS.get(row["method"])
        for timed in times:
            name, _, precision = timed.case.name.rpartition(", ")
            took = timed.median(BATCHES[row["batch"]])
            if took is not None and name == f"ours {network}":
                row["ours"][precision] = 1e3 * row["batch"] / took


def speed_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table for the terminal."""
    return aligned(*_columns(rows))


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    head = ["method", "input", "boxes", "batch", "paper mAP", "paper FPS", *(f"ours {name}" for name in PRECISIONS)]
    cells = []
    for row in rows:
        ours_here = [f"{row['ours'][name]:.1f}" if name in row["ours"] else "-" for name in PRECISIONS]
        cells.append(
            [
                row["method"],
                row["input"],
                f"{row['boxes']:,}",
                str(row["batch"]),
                f"{row['mAP']:.1f}",
                str(row["FPS"]),
                *ours_here,
            ]
        )
    return head, cells
