"""`ssd explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from singleshot.commands.options import FLAT, ExplainOptions


def explain(options: Annotated[ExplainOptions, FLAT], *, json: Path | None = None) -> int:
    """Show which map and default box found each object and, with --data, which ones would learn the labelled objects.

    The paper's figure 1, for an image of your own.

    Args:
        json: file for the same as figures.
    """
    from singleshot.commands.explain import explain_image
    from singleshot.console import remarks, results
    from singleshot.files import require_page, write_json

    require_page(options.report, json, options.inputs, flag="--report")
    explanation = explain_image(options, on_note=remarks().print)
    console = results()
    detections = explanation.detections
    for name, sure, origin in zip(detections.names, detections.scores, explanation.origins, strict=True):
        console.print(f"{name} {100 * sure:.0f}%: {origin.default_box}, IoU {origin.iou:.2f}")
    for labelled in explanation.objects:
        count = f"{len(labelled.default_boxes)} default box{'es' * (len(labelled.default_boxes) != 1)}"
        console.print(f"labelled {labelled.label}: learnt by {count}, best IoU {labelled.iou:.2f}")
    console.print(str(options.report))
    write_json(json, explanation.to_json())
    return 0
