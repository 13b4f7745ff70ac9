"""The page of `ssd reproduce`: a table of the paper, ours beside theirs, and the configuration of every row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from singleshot.lab.reproduce.differences import Difference
from singleshot.lab.reproduce.outcome import Outcome
from singleshot.report import template

TIMED = {"network": "network, ms", "whole": "detection, ms"}


def write_table(
    path: Path,
    title: str,
    outcomes: Sequence[Outcome],
    *,
    notes: Sequence[str],
    claims: Sequence[str],
    compared: Sequence[Difference],
) -> None:
    """Write the page.

    Args:
        path: where.
        title: its heading.
        outcomes: the rows, in the paper's order.
        notes: what people should know of the comparison.
        claims: the orderings that the intervals bear out, a line each.
        compared: the differences that the paper speaks of.

    Raises:
        MachineError: no space left on the disk.
    """
    head, rows = columns(outcomes)
    page = template.render_page(
        "table.html",
        title=title,
        notes=notes,
        head=head,
        rows=[(cells, outcome.mean() or 0) for cells, outcome in zip(rows, outcomes, strict=True)],
        claims=claims,
        compared=difference_columns(compared),
        classes=_classes(outcomes),
        configurations=[_configuration(outcome) for outcome in outcomes],
    )
    template.write_page(path, page)


def points(value: float | None) -> str:
    """A fraction as percent with one digit; a dash for none."""
    return "-" if value is None else f"{100 * value:.1f}"


def columns(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Head and plain cells of the table that people read, in percent; the paper's figures as it prints them."""
    names = list(dict.fromkeys(name for outcome in outcomes for name in outcome.row.paper)) or ["mAP"]
    timed = [part for part in TIMED if any(part in outcome.milliseconds for outcome in outcomes)]
    data = [] if data_of_all(outcomes) else ["trained on", "evaluated on"]
    head = ["row", *data, "boxes", *(f"paper {name}" for name in names), *(f"ours {name}" for name in names)]
    head += ["each seed", "95% of means", *(TIMED[part] for part in timed)]
    rows = []
    for outcome in outcomes:
        told = outcome.row.paper or names  # the paper says nothing of some relatives
        cells = [outcome.row.label, *(_data_of(outcome) if data else ()), f"{outcome.boxes:,}"]
        cells += [f"{outcome.row.paper[name]:.1f}" if name in outcome.row.paper else "-" for name in names]
        cells += [points(outcome.mean(name)) if name in told else "-" for name in names]
        cells.append("given" if outcome.given else " ".join(points(value) for value in outcome.values()))
        cells.append("-" if outcome.interval is None else " to ".join(points(end) for end in outcome.interval))
        cells += [f"{outcome.milliseconds[part]:.1f}" if part in outcome.milliseconds else "-" for part in timed]
        rows.append(cells)
    return head, rows


def as_text(outcomes: Sequence[Outcome]) -> list[str]:
    """The table as lines of aligned columns."""
    return aligned(*columns(outcomes))


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they must be, the first to the left, the others to the right."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]


def difference_columns(compared: Sequence[Difference]) -> tuple[list[str], list[list[str]]]:
    """Head and plain cells of the differences, in points."""
    head = ["the paper's orderings", "rows", "paper", "ours", "95%", "of images", "of seeds", "verdict"]
    cells = []
    for difference in compared:
        low, high, ours = (f"{100 * value:+.1f}" for value in (difference.low, difference.high, difference.ours))
        cells.append(
            [
                difference.pair.statement,
                f"{difference.pair.first} - {difference.pair.second}",
                "-" if difference.paper is None else f"{100 * difference.paper:+.1f}",
                ours,
                f"{low} to {high}",
                f"±{100 * difference.of_images:.1f}",
                "-" if difference.of_seeds is None else f"±{100 * difference.of_seeds:.1f}",
                difference.verdict,
            ]
        )
    return head, cells


def differences_as_text(compared: Sequence[Difference]) -> list[str]:
    """The differences as lines of aligned columns; none where there are none."""
    return aligned(*difference_columns(compared)) if compared else []


def data_of_all(outcomes: Sequence[Outcome]) -> str | None:
    """What every row learnt and is evaluated on, in words; None where they differ, which the table then tells."""
    told = {_data_of(outcome) for outcome in outcomes}
    return "every row is trained on {} and evaluated on {}".format(*told.pop()) if len(told) == 1 else None


def _data_of(outcome: Outcome) -> tuple[str, str]:
    learnt = "given" if outcome.given else ", ".join(map(str, outcome.learnt))
    return learnt + (", after COCO" if outcome.row.before is not None else ""), str(outcome.evaluated_on)


def _classes(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the AP of each class: of each row ours and, where it prints them, the paper's below."""
    names = list(dict.fromkeys(name for outcome in outcomes for name in _per_class(outcome)))
    rows = []
    for outcome in outcomes if names else ():
        means, printed = _per_class(outcome), outcome.row.per_class
        rows.append([outcome.row.label, "ours", *(points(means.get(name)) for name in names)])
        if printed:
            rows.append(["", "paper", *(f"{printed[name]:.1f}" if name in printed else "-" for name in names)])
    return ["row", "", *names], rows


def _per_class(outcome: Outcome) -> dict[str, float]:
    """Mean AP over the seeds, of the classes that have ground-truth boxes."""
    aps: dict[str, list[float]] = {}
    for result in outcome.results:
        for name, ap in result.figures["per_class"].items():
            if ap is not None:
                aps.setdefault(name, []).append(ap)
    return {name: sum(values) / len(values) for name, values in aps.items()}


def _configuration(outcome: Outcome) -> tuple[str, str]:
    """A line on a row, and how it was trained as JSON; a given model's card says how it was."""
    learnt = ", ".join(str(source) for source in outcome.learnt)
    how = f"given: {outcome.results[0].model}" if outcome.given else f"trained on {learnt}"
    return f"{outcome.row.label}: {how}; evaluated on {outcome.evaluated_on}", json.dumps(outcome.trained, indent=1)
