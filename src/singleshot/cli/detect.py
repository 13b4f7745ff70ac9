"""`ssd detect`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from singleshot.commands.detect import DetectOptions, DetectResult, detect_files

INTERRUPTED = 130


def detect(
    *source: str,
    options: Annotated[DetectOptions, Parameter(name="*")] = DetectOptions(),  # noqa: B008
) -> int:
    """Find objects in images.

    Args:
        source: files, folders or patterns.
    """
    from rich.progress import Progress

    from singleshot.console import remarks, results

    stdout, stderr = results(), remarks()
    progress = Progress(console=stderr, disable=not stderr.is_terminal)
    task = progress.add_task("detecting")

    def show(so_far: DetectResult) -> None:
        if so_far.files >= 20:
            progress.start()
            progress.update(task, total=so_far.files, completed=so_far.done)

    try:
        result = detect_files(source, options, say=lambda line: stderr.print(f"ssd: {line}"), on_file=show)
    finally:
        progress.stop()
    for image in result.images:
        stdout.print(f"{image.path}: {image.summary}")
    for line in result.failed:
        stderr.print(f"ssd: {line}")
    if result.copies:
        stdout.print(f"{len(result.copies)} annotated in {options.out}")
    if result.interrupted:
        stderr.print(f"ssd: interrupted after {result.done} of {result.files} images")
        return INTERRUPTED
    return 1 if result.failed else 0
