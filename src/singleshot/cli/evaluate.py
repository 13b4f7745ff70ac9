"""`ssd evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from singleshot.commands.options import FLAT, EvaluateOptions


def evaluate(options: Annotated[EvaluateOptions, FLAT], *, json: Path | None = None) -> int:
    """Measure how good a model, or a file of detections or tracks, is on a labelled set.

    Args:
        json: file for the figures.
    """
    from singleshot.commands.evaluate import evaluate_set
    from singleshot.commands.evaluate_tracks import are_tracks, evaluate_track_file
    from singleshot.console import progress, remarks, results
    from singleshot.decode import limited_to
    from singleshot.files import require_page, write_json

    require_page(options.report, json, options.inputs, flag="--report")
    people, console = remarks(), results()
    if are_tracks(options):
        tracks = evaluate_track_file(options, on_note=people.print)
        for line in tracks.lines():
            console.print(line)
        write_json(json, tracks.to_json())
        return 0
    with limited_to(options.max_megapixels), progress(people, "detecting") as on_image:
        result = evaluate_set(options, on_note=people.print, on_image=on_image)
    for line in result.lines():
        console.print(line)
    if result.pre_annotation is not None:
        console.print(str(result.pre_annotation))
    if result.comparison is not None:
        evaluated = options.source.detections or options.source.model or "the shipped model"
        console.print(f"{evaluated} against {options.against}: {result.comparison}")
    write_json(json, result.to_json())
    return 0
