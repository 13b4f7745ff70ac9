"""`ssd explain`."""

from __future__ import annotations

import json as json_format
from pathlib import Path


def explain(
    image: Path,
    *,
    model: str | None = None,
    data: str | None = None,
    score: float = 0.5,
    out: Path = Path("explained.html"),
    json: Path | None = None,
) -> int:
    """Show which map and default box found each object and, with --data, which ones would learn the labelled objects.

    The paper's figure 1, for an image of your own.

    Args:
        image: an image file.
        model: a model folder or the name of a shipped model; left out, the shipped default.
        data: the labelled set that the image belongs to.
        score: detections from this score on.
        out: the page to write.
        json: file for the same as figures.
    """
    from singleshot.commands.explain import explain_image
    from singleshot.console import results
    from singleshot.files import require_page, write_whole

    require_page(out, json, [image, *(one for one in (data, model) if one is not None)])
    found = explain_image(image, model=model, data=data, score=score, page=out)
    console = results()
    for name, one, source in zip(found.detections.names, found.detections.scores, found.sources, strict=True):
        console.print(f"{name} {100 * one:.0f}%: {source.place}, overlap {source.overlap:.2f}")
    for ground_truth in found.learnt:
        count = f"{len(ground_truth.places)} default box{'es' * (len(ground_truth.places) != 1)}"
        console.print(f"labelled {ground_truth.label}: learnt by {count}, best overlap {ground_truth.overlap:.2f}")
    console.print(str(out))
    if json is not None:
        write_whole(json, json_format.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    return 0
