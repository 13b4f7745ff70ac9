"""`ssd compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def compare(
    *run: Annotated[str, Parameter(required=True)],
    data: str | None = None,
    split: str | None = None,
    protocol: Literal["voc07", "voc12", "coco", "ilsvrc"] | None = None,
    report: Path | None = None,
    device: str = "auto",
    backbone: str | None = None,
    json: Path | None = None,
) -> int:
    """Set runs or models side by side: figures, curves, settings, and the images on which they differ.

    Args:
        run: two or more: folders that `ssd train` wrote, model folders, exported models or names of shipped models. The
            others are compared with the first.
        data: a labelled set: all are evaluated on it. Left out, only what each recorded of itself is compared.
        split: which split; left out, the test split, else the validation split.
        protocol: `voc07`, `voc12`, `coco` or `ilsvrc`; left out, that of COCO and ILSVRC data, else voc07.
        report: file for a page with curves and images.
        device: `auto`, `cpu` or `cuda`.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of models that were trained on a backbone of your own.
        json: file for the figures.
    """
    from singleshot.commands.compare import CompareOptions, compare_runs
    from singleshot.console import progress, remarks, results
    from singleshot.files import require_page, write_json

    options = CompareOptions(
        run, data=data, split=split, protocol=protocol, report=report, device=device, backbone=backbone
    )
    require_page(report, json, options.inputs, flag="--report")
    people, stdout = remarks(), results()
    with progress(people, "detecting") as on_image:
        result = compare_runs(options, on_note=people.print, on_image=on_image)
    for line in result.lines():
        stdout.print(line)
    write_json(json, result.to_dict())
    return 0
