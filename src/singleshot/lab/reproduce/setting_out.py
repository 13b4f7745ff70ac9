"""From the user's words to a workshop, and from outcomes to lines for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from singleshot.data.recognise import recognise
from singleshot.errors import RequestError, UnknownNameError
from singleshot.lab.reproduce.budget import budget as budget_named
from singleshot.lab.reproduce.outcome import Outcome
from singleshot.lab.reproduce.page import columns
from singleshot.lab.reproduce.rows import Row, Table
from singleshot.lab.reproduce.sources import Given
from singleshot.lab.reproduce.training import Workshop
from singleshot.runtime.torch_backend import choose_device


def workshop_for(
    data: Sequence[str],
    *,
    coco: str | None,
    budget: str | None,
    width: float | None,
    epochs: float | None,
    init: str,
    train_split: str | None,
    test_split: str | None,
    device: str,
    workers: int | None,
    threads: int | None,
    out: Path,
    say: Callable[[str], None],
) -> Workshop:
    """The workshop of what the user said; left out, the budget is the paper's own only where there is a GPU.

    Raises:
        RequestError: no data; a budget, width or length that cannot be.
    """
    if not data and coco is None:
        raise RequestError("which data? Give a set behind --data, or one in COCO's format behind --coco")
    if coco is not None and (layout := recognise(Path(coco))) != "coco":
        raise RequestError(f"--coco takes a set in COCO's format; {coco} is in that of {layout}")
    name = budget
    if name is None:
        name = "full" if choose_device(device).type == "cuda" else "small"
        say(f"budget {name}" + ("" if name == "full" else ", for want of a GPU; --budget full trains as the paper"))
    found = budget_named(name, width=width, epochs=epochs)
    return Workshop(out, found, Given(tuple(data), coco, train_split, test_split), init, device, workers, threads)


def wanted_rows(table: Table, keys: str | None) -> list[Row]:
    """The rows that were asked for by key, separated by commas; all where none was.

    Raises:
        UnknownNameError: no such row; the nearest are offered.
    """
    known = {row.key: row for row in table.rows}
    wanted = known if keys is None else dict.fromkeys(key.strip() for key in keys.split(","))
    for key in wanted:
        if key not in known:
            raise UnknownNameError(f"row of {table.name}", key, known)
    return [row for key, row in known.items() if key in wanted]


def plan_of(rows: Sequence[Row]) -> list[str]:
    """What each row learns and how long, by the paper, as aligned lines."""
    cells = [
        [
            row.key,
            row.label,
            "COCO" if row.on_coco else ("COCO, then " if row.before else "") + row.schooling.sets,
            f"{row.schooling.updates:,}",
            ", ".join(f"{name} {value:g}" for name, value in row.paper.items()) or "-",
        ]
        for row in rows
    ]
    return aligned(["row", "what", "sets learnt", "updates", "paper"], cells)


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
