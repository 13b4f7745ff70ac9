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
    latency: float | None = None,
    out: Path = Path("boxes.html"),
    json: Path | None = None,
) -> int:
    """Tell how well default boxes cover a data set, and design better ones within a budget.

    `ssd boxes DATA --json FILE`, then `ssd train DATA --boxes FILE` trains with the designed ones.

    Args:
        data: one or more data sets; several are joined.
        model: an architecture's name or a model folder; left out, the default architecture.
        split: which split; left out, the one that training learns from.
        input_size: `WxH` of the network input.
        most: default boxes there may be; left out, as many as there are, and more only where that would leave a class
            covered to less than a third. More cost time, and may cost accuracy.
        latency: milliseconds that the network may take here, for one image in OpenVINO's fp32; it is measured.
        out: the page to write.
        json: file for the figures and the boxes.
    """
    from singleshot.commands.boxes import boxes_for
    from singleshot.console import results
    from singleshot.files import require_page, write_whole

    require_page(out, json, [*data, *([] if model is None else [model])])
    found = boxes_for(data, model=model, split=split, input_size=input_size, most=most, latency=latency, page=out)
    console = results()
    for line in (*found.given.coverage.lines(), *found.remarks):
        console.print(line)
    for line in [] if found.designed is None else found.designed.coverage.lines():
        console.print(line)
    console.print(str(out))
    if json is not None:
        write_whole(json, json_format.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    return 0
