"""`ssd evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def evaluate(
    data: str,
    *,
    model: str | None = None,
    detections: Path | None = None,
    split: str | None = None,
    protocol: Literal["voc07", "voc12", "coco", "ilsvrc", "proposals"] | None = None,
    json: Path | None = None,
    report: Path | None = None,
    device: str = "auto",
    against: str | None = None,
    backbone: str | None = None,
    max_megapixels: float | None = None,
    tile: int | None = None,
    overlap: float = 0.2,
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
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
        max_megapixels: decode images up to this size; left out, 50.
        tile: side of tiles in pixels: images that are larger are searched in tiles, too, for their small objects.
        overlap: share of a tile that its neighbour has, too.
    """
    from singleshot.commands.evaluate import DetectionSource, EvaluateOptions, evaluate_set
    from singleshot.console import progress, remarks, results
    from singleshot.decode import limited_to
    from singleshot.files import require_page, write_json

    source = DetectionSource(data, model, detections, split, device, backbone, tile, overlap)
    require_page(report, json, [*source.inputs, *([] if against is None else [against])], flag="--report")
    people, console = remarks(), results()
    with limited_to(max_megapixels), progress(people, "detecting") as on_image:
        options = EvaluateOptions(source, protocol, report, against)
        result = evaluate_set(options, on_note=people.print, on_image=on_image)
    for line in result.lines():
        console.print(line)
    if result.comparison is not None:
        console.print(f"{detections or model or 'the shipped model'} against {against}: {result.comparison}")
    write_json(json, result.to_json())
    return 0
