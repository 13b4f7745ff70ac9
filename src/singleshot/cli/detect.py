"""`ssd detect`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from singleshot.commands.detect import DetectOptions, DetectResult, Listeners, detect_files
from singleshot.commands.detect_video import DetectedVideo

INTERRUPTED = 130


def detect(
    *source: str,
    options: Annotated[DetectOptions, Parameter(name="*")] = DetectOptions(),  # noqa: B008
) -> int:
    """Find objects in images and videos.

    Args:
        source: files, folders or patterns; the number of a camera, such as 0.
    """
    from rich.progress import Progress

    from singleshot.cli.video_progress import VideoProgress
    from singleshot.console import remarks, results

    stdout, stderr = results(), remarks()
    progress, video_progress = Progress(console=stderr, disable=not stderr.is_terminal), VideoProgress(stderr)
    task = progress.add_task("detecting")

    def show(so_far: DetectResult) -> None:
        if so_far.files >= 20:
            progress.start()
            progress.update(task, total=so_far.files, completed=so_far.done)

    def show_frame(video: DetectedVideo) -> None:
        progress.stop()
        video_progress(video)

    listeners = Listeners(say=lambda line: stderr.print(f"ssd: {line}"), on_file=show, on_frame=show_frame)
    try:
        result = detect_files(source, options, listeners=listeners)
    finally:
        progress.stop()
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
