"""`ssd detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from singleshot.errors import RequestError

INTERRUPTED = 130


def summary(detections: list[dict[str, Any]]) -> str:
    """What was found, by class, the surest first: `3 x car 98% 91% 60%, person 77%`."""
    scores: dict[str, list[float]] = {}
    for found in detections:
        scores.setdefault(found["label"], []).append(found["score"])
    parts = []
    for label, of_label in scores.items():
        shown = " ".join(f"{score:.0%}" for score in of_label[:3]) + (" ..." if len(of_label) > 3 else "")
        parts.append(f"{len(of_label)} x {label} {shown}" if len(of_label) > 1 else f"{label} {shown}")
    return ", ".join(parts) or "nothing"


def detect(
    *source: str,
    model: str | None = None,
    score: float = 0.5,
    out: Path | None = None,
    json: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    compiled: Annotated[bool, Parameter(name="--compile", negative=())] = False,
) -> int:
    """Find objects in images.

    Args:
        source: files, folders or patterns.
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        score: leave out detections below this, 0 to 1.
        out: folder for copies with the boxes drawn.
        json: file for the detections.
        device: `auto`, `cpu` or `cuda`.
        precision: run the model folder itself in torch, in `fp32` or `bf16`, also where an export lies in it; left out,
            an export has its own, and a model folder without one runs in fp32.
        compiled: run the model folder itself in torch, compiled first: a minute, then faster, most of all on CUDA.
    """
    from rich.progress import Progress

    from singleshot.commands.detect import detect_files, image_files
    from singleshot.console import remarks, results
    from singleshot.files import require_output
    from singleshot.runtime.detector import Detector

    if not 0 <= score <= 1:
        raise RequestError(f"--score is between 0 and 1, got {score}")
    files = image_files(source)
    require_output(json, "--json", files)
    console, people = results(), remarks()
    detector = Detector.load(model, device=device, score=score, precision=precision, compiled=compiled)
    with Progress(console=people, disable=len(files) < 20 or not people.is_terminal) as progress:
        task = progress.add_task("detecting", total=len(files))
        result = detect_files(
            detector, files, score=score, out=out, on_image=lambda done: progress.update(task, completed=done)
        )
    if json is not None:
        result.write_json(json)
    for image in result.images:
        console.print(f"{image['file']}: {summary(image['detections'])}")
    for line in result.failed:
        people.print(f"ssd: {line}")
    if result.copies:
        console.print(f"{len(result.copies)} annotated in {out}")
    if result.interrupted:
        people.print(f"ssd: interrupted after {len(result.images) + len(result.failed)} of {len(files)} images")
        return INTERRUPTED
    return 1 if result.failed else 0
