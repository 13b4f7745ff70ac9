"""`ssd boxes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from singleshot.commands.options import FLAT, BoxesOptions


def boxes(options: Annotated[BoxesOptions, FLAT] = BoxesOptions(), *, json: Path | None = None) -> int:  # noqa: B008
    """Tell how well default boxes (anchors) fit the objects of a data set, and search better ones within a budget.

    `ssd boxes DATA --json FILE`, then `ssd train DATA --boxes FILE` trains with the better ones.

    Args:
        json: file for the figures and the boxes.
    """
    from singleshot.commands.boxes import search_boxes
    from singleshot.console import progress, remarks, results
    from singleshot.files import require_page, write_json

    require_page(options.report, json, options.inputs, flag="--report")
    with progress(remarks(), "timing networks", every=10) as timed:
        study = search_boxes(options, timed)
    console = results()
    for line in study.lines():
        console.print(line)
    console.print(str(options.report))
    write_json(json, study.to_json())
    return 0
