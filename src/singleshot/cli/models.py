"""`ssd models`."""

from __future__ import annotations

from pathlib import Path


def models(name: str | None = None, *, json: Path | None = None) -> int:
    """List the models there are, or the layers of one.

    Args:
        name: an architecture, a shipped model or a model folder.
        json: file for the same as data.
    """
    from singleshot.commands.models import list_layers, list_models
    from singleshot.console import results
    from singleshot.files import require_output, write_json

    require_output(json, "--json", [])
    rows = list_models() if name is None else list_layers(name)
    lines = [[*rows[0]], *(["" if value is None else str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:  # as wide as it is: a table would cut names to the terminal
        results().print("  ".join(map(str.ljust, line, widths)).rstrip())
    if name is None:
        rows = [row | {"base": row["backbone"]} for row in rows]  # the key's old name
    write_json(json, rows)
    return 0
