"""`ssd explain`."""

from __future__ import annotations

from pathlib import Path


def explain(
    image: Path,
    *,
    model: str | None = None,
    data: str | None = None,
    score: float = 0.5,
    report: Path = Path("explained.html"),
    json: Path | None = None,
    backbone: str | None = None,
) -> int:
    """Show which map and default box found each object and, with --data, which ones would learn the labelled objects.

    The paper's figure 1, for an image of your own.

    Args:
        image: an image file.
        model: a model folder or the name of a shipped model; left out, the shipped default.
        data: the labelled set that the image belongs to.
        score: detections from this score on.
        report: the page to write.
        json: file for the same as figures.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
    """
    from singleshot.commands.explain import ExplainOptions, explain_image
    from singleshot.console import results
    from singleshot.files import require_page, write_json

    require_page(report, json, [image, *(path for path in (data, model) if path is not None)], flag="--report")
    explanation = explain_image(ExplainOptions(image, model, data, score, report, backbone))
    console = results()
    detections = explanation.detections
    for name, sure, origin in zip(detections.names, detections.scores, explanation.origins, strict=True):
        console.print(f"{name} {100 * sure:.0f}%: {origin.default_box}, IoU {origin.iou:.2f}")
    for labelled in explanation.objects:
        count = f"{len(labelled.default_boxes)} default box{'es' * (len(labelled.default_boxes) != 1)}"
        console.print(f"labelled {labelled.label}: learnt by {count}, best IoU {labelled.iou:.2f}")
    console.print(str(report))
    write_json(json, explanation.to_json())
    return 0
