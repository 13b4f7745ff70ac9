"""`ssd analyze`."""

from __future__ import annotations

import json as json_format
from pathlib import Path


def analyze(
    data: str,
    *,
    model: str | None = None,
    detections: Path | None = None,
    split: str | None = None,
    similar: str | None = None,
    out: Path = Path("analysis.html"),
    json: Path | None = None,
    device: str = "auto",
) -> int:
    """Tell why a model is as good as it is: error types, sizes and shapes, confusions, scores, with images.

    After Hoiem et al. 2012, as the SSD paper's figures 3 and 4.

    Args:
        data: the data set.
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        detections: a file to analyse instead: COCO results, our JSON, or VOC devkit text.
        split: which split; left out, the test split, else the validation split. `held-out` as for ssd evaluate.
        similar: classes that are easily taken for each other, as `car,bus;cat,dog`; left out, the groups that are
            known for VOC's and COCO's classes.
        out: the page to write.
        json: file for the figures.
        device: `auto`, `cpu` or `cuda`.
    """
    from singleshot.commands.analyze import analyse_set
    from singleshot.console import remarks, results
    from singleshot.files import require_page, write_whole

    require_page(out, json, [data, *(one for one in (detections, model) if one is not None)])
    found = analyse_set(
        data, model=model, detections_file=detections, split=split, similar=similar, device=device,
        console=remarks(), page=out,
    )  # fmt: skip
    console = results()
    for kind, gain in found.error_types.gains.items():
        if kind == "similar" and not found.groups:
            continue
        name = f"{kind} class" if kind in {"similar", "other"} else kind
        console.print(f"{name:>16}  {100 * gain:+5.1f} points of mAP without such errors")
    for there, taken, count in found.confusion.most(3):
        console.print(f"{count} x {there} taken for {taken}")
    console.print(str(out))
    if json is not None:
        write_whole(json, json_format.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    return 0
