"""`ssd compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from singleshot.commands.options import FLAT, CompareOptions


def compare(options: Annotated[CompareOptions, FLAT], *, json: Path | None = None) -> int:
    """Set runs or models side by side: figures, curves, settings, and the images on which they differ.

    Args:
        json: file for the figures.
    """
    from singleshot.commands.compare import compare_runs
    from singleshot.console import progress, remarks, results
    from singleshot.files import require_page, write_json

    require_page(options.report, json, options.inputs, flag="--report")
    people, stdout = remarks(), results()
    with progress(people, "detecting") as on_image:
        result = compare_runs(options, on_note=people.print, on_image=on_image)
    for line in result.lines():
        stdout.print(line)
    write_json(json, result.to_dict())
    return 0
