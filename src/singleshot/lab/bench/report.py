"""What was measured, as tables for people, plain values for machines, and a plot of speed against accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from singleshot.lab.bench.machine import MOST_OTHER_LOAD
from singleshot.lab.bench.timing import PARTS, CaseTimes, Measured, ratio
from singleshot.report import charts


def values(rows: Sequence[CaseTimes]) -> list[dict[str, Any]]:
    """One dict a case: milliseconds by part, and ratios to its family's reference, where it takes part."""
    references = {row.case.family: row for row in rows if row.case.reference}
    found = []
    for row in rows:
        case = row.case
        peer = references.get(case.family)
        whole, network, eight = (row.median(part) for part in ("whole", "network", "batch8"))
        found.append(
            {
                "name": case.name,
                "family": case.family,
                "boxes": case.boxes,
                "input": case.input_size,
                **{f"{part}_ms": row.median(part) for part in PARTS},
                "p95_ms": row.p95("whole"),
                "outside": 1 - network / whole if network and whole else None,
                "batch8_rate": 8e3 / eight if eight else None,
                "ratio": ratio(row, peer, "whole") if peer else None,
                "post_ratio": ratio(row, peer, "post") if peer else None,
                "post_worst_ratio": ratio(row, peer, "post_worst") if peer else None,
            }
        )
    return found


def lines(measured: Measured) -> Iterator[str]:
    """All of it for people."""
    yield ", ".join(f"{key} {value}" for key, value in measured.machine.items())
    if measured.machine["other_load"] > MOST_OTHER_LOAD:
        yield "MEASURED ON A BUSY MACHINE: milliseconds and ratios are not to be quoted"
    yield f"\n{table(measured.rows)}\n\n{table_seven(measured.rows, measured.accuracy)}"
    for name, figure in measured.accuracy.items():
        yield f"{name}: mAP {figure:.1%}"
    for model, overlap in measured.learnt_images.items():
        yield from (f"{model}: {line}" for line in overlap.lines())
    for name, rate in measured.folders.items():
        yield f"{name}: {rate:.0f} files/s from the disk to boxes"
    for name, (seconds, megabytes) in measured.cold.items():
        yield f"{name}, fresh process: {seconds:.2f} s, {megabytes:.0f} MB"
    for name, rate in measured.limits.items():
        yield f"the machine's {name}: {rate / 1e9:.0f} G{'B' if name == 'copy' else ' operations'}/s"
    for row in measured.rows:
        if "of_limit" in row:
            yield f"{row['name']}: {row['of_limit']:.0%} of the machine's rate"
    for name, stages in measured.stages.items():
        total = sum(stages.values())
        shares = ", ".join(f"{stage} {spent:.1f} ms ({spent / total:.0%})" for stage, spent in stages.items())
        yield f"{name} in torch, fp32: {shares}"


COLUMNS: tuple[tuple[str, Callable[[Mapping[str, Any]], str]], ...] = (
    ("median, ms", lambda row: _number(row["whole_ms"], 2)),
    ("p95, ms", lambda row: _number(row["p95_ms"], 2)),
    ("network, ms", lambda row: _number(row["network_ms"], 2)),
    ("NMS etc., ms", lambda row: _number(row["post_ms"], 2)),
    ("NMS etc., worst case, ms", lambda row: _number(row["post_worst_ms"], 2)),
    ("time not in the network", lambda row: "" if row["outside"] is None else f"{row['outside']:.0%}"),
    ("images/s, batch 8", lambda row: _number(row["batch8_rate"], 0)),
    ("speed relative to torchvision", lambda row: _number(row["ratio"], 2)),
    ("NMS etc., relative", lambda row: _number(row["post_ratio"], 2)),
    ("NMS etc., worst case, relative", lambda row: _number(row["post_worst_ratio"], 2)),
)
"""Heading of each column of the table, and its cell for a row. In the worst case nearly all boxes score above the
threshold."""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown; ratios are to torchvision's eager code in the same run. Columns that no row has are left out."""
    columns = [(heading, cells) for heading, cell in COLUMNS if any(cells := [cell(row) for row in rows])]
    lines = [f"| | {' | '.join(heading for heading, _ in columns)} |", "|" + "---|" * (1 + len(columns))]
    for number, row in enumerate(rows):
        lines.append(f"| {' | '.join([row['name'], *(cells[number] for _, cells in columns)])} |")
    return "\n".join(lines)


def table_seven(rows: Sequence[Mapping[str, Any]], accuracy: Mapping[str, float]) -> str:
    """The paper's table 7 in its own form: frames a second with NMS, batch size 1 and 8."""
    lines = ["| method | mAP | FPS, batch 1 | FPS, batch 8 | boxes | input |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [
            row["name"],
            f"{100 * accuracy[row['name']]:.1f}" if row["name"] in accuracy else "",
            _number(1e3 / row["whole_ms"], 1),
            _number(row["batch8_rate"], 1),
            "" if row["boxes"] is None else str(row["boxes"]),
            row["input"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: Sequence[Mapping[str, Any]], accuracy: Mapping[str, float]) -> bytes:
    """A PNG file: images a second as bars; beside them speed against mAP, of those whose accuracy was measured."""
    ranked = sorted(rows, key=lambda row: -row["whole_ms"])
    figure = charts.figure(14 if accuracy else 9, 1.5 + 0.32 * len(rows))
    bars, *others = figure.subplots(1, 2 if accuracy else 1, squeeze=False)[0]
    rates = [1e3 / row["whole_ms"] for row in ranked]
    colours = ["tab:orange" if row["name"].startswith("ours") else "silver" for row in ranked]
    bars.set_xscale("log")
    drawn = bars.barh([row["name"] for row in ranked], rates, color=colours)
    bars.bar_label(drawn, [f"{rate:.1f}" for rate in rates], padding=3)
    bars.margins(x=0.15)
    bars.set_xlabel("images a second, one at a time, from decoded image to final boxes")
    for axes in others:
        for name, rate in zip([row["name"] for row in ranked], rates, strict=True):
            if name in accuracy:
                axes.scatter(rate, 100 * accuracy[name], label=f"{name}: {100 * accuracy[name]:.1f}%")
        axes.set_xscale("log")
        axes.set_xlim(bars.get_xlim())
        axes.set_ylim(0, 100)
        axes.legend(loc="lower left", fontsize="small")
        axes.set_xlabel("images a second")
        axes.set_ylabel("mAP, %")
    return charts.as_png(figure)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
