"""`ssd analyze`."""

from __future__ import annotations

from pathlib import Path


def analyze(
    data: str,
    *,
    model: str | None = None,
    detections: Path | None = None,
    split: str | None = None,
    similar: str | None = None,
    report: Path = Path("analysis.html"),
    json: Path | None = None,
    device: str = "auto",
    backbone: str | None = None,
) -> int:
    """Show why a model is as good as it is: error types, sizes and shapes, confusions, scores, with images.

    After Hoiem et al. 2012, as the SSD paper's figures 3 and 4.

    Args:
        data: the data set.
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        detections: a file to analyse instead: COCO results, our JSON, or VOC devkit text.
        split: which split; left out, the test split, else the validation split. `held-out` as for ssd evaluate.
        similar: classes that are easily confused, as `car,bus;cat,dog`; left out, the groups that are known for VOC's
            and COCO's classes.
        report: the page to write.
        json: file for the figures.
        device: `auto`, `cpu` or `cuda`.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
    """
    from singleshot.commands.analyze import AnalyzeOptions, analyze_set
    from singleshot.commands.evaluate import DetectionSource
    from singleshot.console import progress, remarks, results
    from singleshot.files import require_page, write_json

    source = DetectionSource(data, model, detections, split, device, backbone)
    require_page(report, json, source.inputs, flag="--report")
    people, console = remarks(), results()
    with progress(people, "detecting") as on_image:
        result = analyze_set(AnalyzeOptions(source, similar, report), on_note=people.print, on_image=on_image)
    for kind, gain in result.error_types.gains.items():
        if kind == "similar" and not result.groups:
            continue
        name = f"{kind} class" if kind in {"similar", "other"} else kind
        console.print(f"{name:>16}  {100 * gain:+5.1f} points of mAP without such errors")
    for labelled, detected, count in result.confusion.most(3):
        console.print(f"{count} x {labelled} detected as {detected}")
    console.print(str(report))
    write_json(json, result.to_json())
    return 0
