"""`ssd evaluate`."""

from __future__ import annotations

import json as json_format
from pathlib import Path

MOST_ABSENT = 10
"""Classes without ground-truth boxes that are listed one by one."""


def evaluate(
    data: str,
    *,
    model: str | None = None,
    detections: Path | None = None,
    split: str | None = None,
    protocol: str | None = None,
    json: Path | None = None,
    report: Path | None = None,
    device: str = "auto",
    against: str | None = None,
) -> int:
    """Measure how good a model, or a file of detections, is on a labelled set.

    Args:
        data: the data set.
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        detections: a file to evaluate instead: COCO results, our JSON, or VOC devkit text.
        split: which split; left out, the test split, else the validation split (by which `best/` was chosen: its
            figure there is too good). `held-out`: of a set without validation split the fifth that training
            without --seed held out.
        protocol: `voc07`, `voc12`, `coco`, `ilsvrc`, or `proposals`: recall of the best 1, 2, 5 ... boxes, whatever
            their class; left out, `proposals` for a class-agnostic model, that of COCO and ILSVRC data, else voc07.
        json: file for the figures.
        report: file for a page with curves and images.
        device: `auto`, `cpu` or `cuda`.
        against: another such model of the same classes, evaluated on the same images: the difference in mAP, and
            whether it could be chance.
    """
    from singleshot.commands.evaluate import evaluate_set
    from singleshot.console import remarks, results
    from singleshot.files import require_page, write_whole

    inputs = [data, *(one for one in (detections, model, against) if one is not None)]
    require_page(report, json, inputs, flag="--report")
    result = evaluate_set(
        data, model=model, detections_file=detections, split=split, protocol=protocol, device=device,
        console=remarks(), report=report, against=against,
    )  # fmt: skip
    console = results()
    name, figure = result.figure
    aps = {**result.per_class, f"{name} {result.protocol}": figure or 0.0}
    other = result.comparison
    theirs = {} if other is None else {**other.per_class, f"mAP {result.protocol}": other.against}
    for line in result.proposals.lines() if result.proposals is not None else ():
        console.print(line)
    absent = [name for name, ap in aps.items() if ap is None]
    for name, ap in aps.items():
        if ap is None and len(absent) > MOST_ABSENT:
            continue
        line = f"{name:>16}  {'no ground-truth boxes' if ap is None else f'{100 * ap:5.1f}%'}"
        beside = theirs.get(name)
        console.print(line if beside is None else f"{line}  against {100 * beside:5.1f}%")
    if len(absent) > MOST_ABSENT:
        console.print(f"{len(absent)} more classes have no ground-truth boxes")
    if other is not None:
        console.print(f"{detections or model or 'the shipped model'} against {against}: {other}")
    if json is not None:
        write_whole(json, json_format.dumps(result.to_json(), indent=1, allow_nan=False) + "\n")
    return 0
