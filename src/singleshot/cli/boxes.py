"""`ssd boxes`."""

from __future__ import annotations

from pathlib import Path


def boxes(
    *data: str,
    model: str | None = None,
    split: str | None = None,
    input_size: str | None = None,
    most: int | None = None,
    latency: float | None = None,
    report: Path = Path("boxes.html"),
    json: Path | None = None,
) -> int:
    """Tell how well default boxes (anchors) fit the objects of a data set, and search better ones within a budget.

    `ssd boxes DATA --json FILE`, then `ssd train DATA --boxes FILE` trains with the better ones.

    Args:
        data: one or more data sets; several are joined.
        model: an architecture's name or a model folder; left out, the default architecture.
        split: which split; left out, the one that training learns from.
        input_size: `WxH` of the network input.
        most: limit on the number of default boxes; left out, as many as there are, and more only where a class would
            have a recall below a third. More boxes cost time, and may cost accuracy.
        latency: limit on the network's milliseconds here, for one image in OpenVINO's fp32; it is measured.
        report: the page to write.
        json: file for the figures and the boxes.
    """
    from singleshot.commands.boxes import BoxesOptions, search_boxes
    from singleshot.console import progress, remarks, results
    from singleshot.files import require_page, write_json

    require_page(report, json, [*data, *([] if model is None else [model])], flag="--report")
    options = BoxesOptions(data, model, split, input_size, most, latency, page=report)
    with progress(remarks(), "timing networks", every=10) as timed:
        study = search_boxes(options, timed)
    console = results()
    for line in study.lines():
        console.print(line)
    console.print(str(report))
    write_json(json, study.to_json())
    return 0
