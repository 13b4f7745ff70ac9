"""The page of `ssd reproduce`: a table of the paper, ours beside theirs, and the configuration of every row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib import metadata
from pathlib import Path

from singleshot.files import write_whole
from singleshot.lab.reproduce.outcome import Outcome
from singleshot.report.page import HEAD, section
from singleshot.report.sections import lines
from singleshot.report.style import STYLE

TIMED = {"network": "network, ms", "whole": "detection, ms"}


def write_table(
    path: Path, title: str, outcomes: Sequence[Outcome], *, notes: Sequence[str], claims: Sequence[str]
) -> None:
    """Write the page.

    Args:
        path: where.
        title: its heading.
        outcomes: the rows, in the paper's order.
        notes: what people should know of the comparison.
        claims: the orderings that the intervals bear out, a line each.

    Raises:
        MachineError: no space left on the disk.
    """
    body = [
        section("What this is", lines(notes)),
        section("Ours beside the paper's", _table(outcomes)),
        section("What the intervals bear out", lines(claims)),
        section("AP of each class, mean over the seeds", _classes(outcomes)),
        section("Configuration of every row", _configurations(outcomes)),
    ]
    write_page(path, title, body)


def write_page(path: Path, title: str, body: Iterable[str]) -> None:
    """Sections under a heading, as a whole page."""
    parts = [HEAD.format(title=escape(title), style=STYLE), f"<h1>{escape(title)}</h1>", *body]
    parts.append(f"<footer>singleshot {escape(metadata.version('singleshot'))}</footer></main></body></html>\n")
    write_whole(path, "\n".join(part for part in parts if part).encode("utf-8", errors="replace"))


def matrix(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells; the heads are plain text."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="card scroll"><table class="matrix"><tr>{top}</tr>{body}</table></div>'


def points(value: float | None) -> str:
    """A fraction as percent with one digit; a dash for none."""
    return "-" if value is None else f"{100 * value:.1f}"


def columns(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Head and plain cells of the table that people read, in percent; the paper's figures as it prints them."""
    names = list(dict.fromkeys(name for one in outcomes for name in one.row.paper)) or ["mAP"]
    timed = [part for part in TIMED if any(part in one.milliseconds for one in outcomes)]
    data = [] if data_of_all(outcomes) else ["learnt", "judged on"]
    head = ["row", *data, "boxes", *(f"paper {name}" for name in names), *(f"ours {name}" for name in names)]
    head += ["each seed", "95% of means", *(TIMED[part] for part in timed)]
    rows = []
    for one in outcomes:
        told = one.row.paper or names  # the paper says nothing of some relatives
        cells = [one.row.label, *(_data_of(one) if data else ()), f"{one.boxes:,}"]
        cells += [f"{one.row.paper[name]:.1f}" if name in one.row.paper else "-" for name in names]
        cells += [points(one.mean(name)) if name in told else "-" for name in names]
        cells.append("given" if one.given else " ".join(points(value) for value in one.values()))
        cells.append("-" if one.interval is None else " to ".join(points(end) for end in one.interval))
        cells += [f"{one.milliseconds[part]:.1f}" if part in one.milliseconds else "-" for part in timed]
        rows.append(cells)
    return head, rows


def data_of_all(outcomes: Sequence[Outcome]) -> str | None:
    """What every row learnt and is judged on, in words; None where they differ, which the table then tells."""
    found = {_data_of(one) for one in outcomes}
    return "every row learnt {}, and is judged on {}".format(*found.pop()) if len(found) == 1 else None


def _data_of(outcome: Outcome) -> tuple[str, str]:
    learnt = "given" if outcome.given else ", ".join(map(str, outcome.learnt))
    return learnt + (", after COCO" if outcome.row.before is not None else ""), str(outcome.judged)


def _table(outcomes: Sequence[Outcome]) -> str:
    head, rows = columns(outcomes)
    drawn = []
    for cells, one in zip(rows, outcomes, strict=True):
        bar = f'<div><i style="width:{100 * (one.mean() or 0):.1f}%"></i></div>'
        drawn.append([*(escape(cell) for cell in cells), bar])
    table = matrix([*head, "ours, 0 to 100"], drawn)
    return table.replace("<td><div><i", '<td class="bar" style="width:16%"><div><i')


def _classes(outcomes: Sequence[Outcome]) -> str:
    """AP of each class: of each row ours and, where it prints them, the paper's below."""
    names = list(dict.fromkeys(name for one in outcomes for name in _per_class(one)))
    if not names:
        return ""
    rows = []
    for one in outcomes:
        means = _per_class(one)
        rows.append([escape(one.row.label), "ours", *(points(means.get(name)) for name in names)])
        if one.row.per_class:
            theirs = one.row.per_class
            rows.append(["", "paper", *(f"{theirs[name]:.1f}" if name in theirs else "-" for name in names)])
    return matrix(["row", "", *names], rows)


def _per_class(outcome: Outcome) -> dict[str, float]:
    """Mean AP over the seeds, of the classes that have ground-truth boxes."""
    found: dict[str, list[float]] = {}
    for result in outcome.results:
        for name, ap in result.figures["per_class"].items():
            if ap is not None:
                found.setdefault(name, []).append(ap)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _configurations(outcomes: Sequence[Outcome]) -> str:
    """As each row was trained; a given model's card says how it was."""
    parts = []
    for one in outcomes:
        learnt = ", ".join(str(source) for source in one.learnt)
        how = f"given: {one.results[0].model}" if one.given else f"learnt {learnt}"
        text = json.dumps(one.trained, indent=1)
        parts.append(
            f"<details><summary>{escape(one.row.label)}: {escape(how)}; judged on {escape(str(one.judged))}"
            f"</summary><pre>{escape(text)}</pre></details>"
        )
    return f'<div class="card">{"".join(parts)}</div>'
