"""`ssd analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from singleshot.commands.options import FLAT, AnalyzeOptions


def analyze(options: Annotated[AnalyzeOptions, FLAT], *, json: Path | None = None) -> int:
    """Show why a model is as good as it is: error types, sizes and shapes, confusions, scores, with images.

    After Hoiem et al. 2012, as the SSD paper's figures 3 and 4.

    Args:
        json: file for the figures.
    """
    from singleshot.commands.analyze import analyze_set
    from singleshot.console import progress, remarks, results
    from singleshot.files import require_page, write_json

    require_page(options.report, json, options.inputs, flag="--report")
    people, console = remarks(), results()
    with progress(people, "detecting") as on_image:
        result = analyze_set(options, on_note=people.print, on_image=on_image)
    for kind, gain in result.error_types.gains.items():
        if kind == "similar" and not result.groups:
            continue
        name = f"{kind} class" if kind in {"similar", "other"} else kind
        console.print(f"{name:>16}  {100 * gain:+5.1f} points of mAP without such errors")
    for labelled, detected, count in result.confusion.most(3):
        console.print(f"{count} x {labelled} detected as {detected}")
    console.print(str(options.report))
    write_json(json, result.to_json())
    return 0
