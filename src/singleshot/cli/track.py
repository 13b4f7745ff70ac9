"""`ssd track`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from singleshot.commands.track import TrackOptions, track_video

INTERRUPTED = 130


def track(
    video: str,
    options: Annotated[TrackOptions, Parameter(name="*")] = TrackOptions(),  # noqa: B008
) -> int:
    """Follow the objects of a video: numbers that stay, and counts.

    Args:
        video: a file; the number of a camera, such as 0; a folder of frames, with --fps.
    """
    from singleshot.cli.video_progress import VideoProgress
    from singleshot.console import remarks, results

    stdout, stderr = results(), remarks()
    progress = VideoProgress(stderr)
    try:
        tracked = track_video(video, options, say=lambda line: stderr.print(f"ssd: {line}"), on_frame=progress)
    finally:
        progress.close()
    for line in tracked.summary():
        stdout.print(line)
    if tracked.copy is not None and tracked.frames:
        stdout.print(f"tracks drawn: {tracked.copy}")
    if tracked.fault is not None:
        stderr.print(f"ssd: {tracked.fault}")
    if tracked.interrupted:
        stderr.print(f"ssd: interrupted after {tracked.frames:,} frames")
        return INTERRUPTED
    return 1 if tracked.fault is not None else 0
