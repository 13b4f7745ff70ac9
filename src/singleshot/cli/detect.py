"""`ssd detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

INTERRUPTED = 130


def detect(
    *source: str,
    model: str | None = None,
    score: float = 0.5,
    out: Path | None = None,
    json: Path | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] | None = None,
    compiled: Annotated[bool, Parameter(name="--compile", negative=())] = False,
    backbone: str | None = None,
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
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
    """
    from rich.progress import Progress

    from singleshot.commands.detect import DetectOptions, DetectResult, detect_files
    from singleshot.console import remarks, results

    options = DetectOptions(
        sources=source,
        model=model,
        score=score,
        out=out,
        json=json,
        device=device,
        precision=precision,
        compiled=compiled,
        backbone=backbone,
    )
    stdout, stderr = results(), remarks()
    progress = Progress(console=stderr, disable=not stderr.is_terminal)
    task = progress.add_task("detecting")

    def show(so_far: DetectResult) -> None:
        if so_far.files >= 20:
            progress.start()
            progress.update(task, total=so_far.files, completed=so_far.done)

    try:
        result = detect_files(options, say=lambda line: stderr.print(f"ssd: {line}"), on_file=show)
    finally:
        progress.stop()
    for image in result.images:
        stdout.print(f"{image.path}: {image.summary}")
    for line in result.failed:
        stderr.print(f"ssd: {line}")
    if result.copies:
        stdout.print(f"{len(result.copies)} annotated in {out}")
    if result.interrupted:
        stderr.print(f"ssd: interrupted after {result.done} of {result.files} images")
        return INTERRUPTED
    return 1 if result.failed else 0
