"""`ssd detect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from singleshot.commands.detect import DetectOptions, DetectResult, Listeners, detect_files
from singleshot.commands.detect_part import PartListeners, PartOptions, detect_part
from singleshot.commands.detect_video import DetectedVideo
from singleshot.console import progress, remarks, results

INTERRUPTED = 130


def detect(
    *source: str,
    options: Annotated[DetectOptions, Parameter(name="*")] = DetectOptions(),  # noqa: B008
    part: Annotated[PartOptions, Parameter(name="*")] = PartOptions(),  # noqa: B008
) -> int:
    """Find objects in images and videos.

    Args:
        source: files, folders or patterns; the number of a camera, such as 0.
    """
    if part.part is not None:
        return _detect_part(source, options, part)
    from rich.progress import Progress

    from singleshot.cli.video_progress import VideoProgress

    stdout, stderr = results(), remarks()
    bar, video_progress = Progress(console=stderr, disable=not stderr.is_terminal), VideoProgress(stderr)
    task = bar.add_task("detecting")

    def show(so_far: DetectResult) -> None:
        if so_far.files >= 20:
            bar.start()
            bar.update(task, total=so_far.files, completed=so_far.done)

    def show_frame(video: DetectedVideo) -> None:
        bar.stop()
        video_progress(video)

    listeners = Listeners(say=lambda line: stderr.print(f"ssd: {line}"), on_file=show, on_frame=show_frame)
    try:
        result = detect_files(source, options, listeners=listeners)
    finally:
        bar.stop()
        video_progress.close()
    _print_results(result, stdout)
    for line in result.failed:
        stderr.print(f"ssd: {line}")
    if result.copies:
        stdout.print(f"{len(result.copies)} annotated in {options.out}")
    if result.interrupted:
        stderr.print(f"ssd: interrupted {_progress_when_interrupted(result)}")
        return INTERRUPTED
    return 1 if result.failed else 0


def _detect_part(source: Sequence[str], options: DetectOptions, part: PartOptions) -> int:
    """`ssd detect --part`: a line for each bad file, and one for the whole."""
    stderr = remarks()
    with progress(stderr, "detecting") as report:
        listeners = PartListeners(say=lambda line: stderr.print(f"ssd: {line}"), progress=report)
        result = detect_part(source, options, part, listeners=listeners)
    if result.interrupted:
        stderr.print(f"ssd: interrupted: {result.done:,} of {result.files:,} images are done; the same command goes on")
        return INTERRUPTED
    failed = f", {result.failed:,} of them could not be used" if result.failed else ""
    names = " and ".join(map(str, result.outputs))
    results().print(f"{result.files:,} images of part {part.part} in {names}{failed}")
    return 1 if result.failed else 0


def _print_results(result: DetectResult, stdout: Console) -> None:
    for image in result.images:
        stdout.print(f"{image.path}: {image.summary}")
    for video in result.videos:
        stdout.print(f"{video.name}: {video.summary}")


def _progress_when_interrupted(result: DetectResult) -> str:
    """How far a run came: files, or frames where a video was interrupted."""
    if result.videos:
        video = result.videos[-1]
        of = f" of {video.claimed_frames:,}" if (video.claimed_frames or 0) >= video.frames else ""
        return f"after {video.frames:,}{of} frames of {video.name}"
    return f"after {result.done} of {result.files} images"
