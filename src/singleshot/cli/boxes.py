"""`ssd boxes`."""

from __future__ import annotations

import json as json_format
from pathlib import Path


def boxes(
    *data: str,
    model: str | None = None,
    split: str | None = None,
    input_size: str | None = None,
    most: int | None = None,
    out: Path = Path("boxes.html"),
    json: Path | None = None,
) -> int:
    """Tell how well default boxes cover a data set, and design some that cover it better.

    `ssd train --boxes adapt` trains with the designed ones.

    Args:
        data: one or more data sets; several are joined.
        model: an architecture's name or a model folder; left out, the default architecture.
        split: which split; left out, the one that training learns from.
        input_size: `WxH` of the network input.
        most: default boxes there may be; left out, five times as many as there are. More cost time, and may cost
            accuracy.
        out: the page to write.
        json: file for the figures.
    """
    from singleshot.console import results
    from singleshot.design.command import boxes_for
    from singleshot.files import require_page, write_whole

    require_page(out, json, [*data, *([] if model is None else [model])])
    tilings, remarks = boxes_for(data, model=model, split=split, input_size=input_size, most=most, page=out)
    console = results()
    for line in (*tilings[0].coverage.lines(), *remarks):
        console.print(line)
    for line in tilings[-1].coverage.lines() if len(tilings) > 1 else []:
        console.print(line)
    console.print(str(out))
    if json is not None:
        names = ("given", "designed")
        content = {name: tiling.to_json() for name, tiling in zip(names, tilings, strict=False)}
        write_whole(json, json_format.dumps(content, indent=1, allow_nan=False) + "\n")
    return 0
