"""Detect in the frames of a video: what was found, an annotated video or annotated frames, a contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from singleshot.commands.annotated_copies import MARK, write_jpeg
from singleshot.commands.detections_output import DetectionsOutput
from singleshot.runtime.detector import Detector
from singleshot.shapes import UInt8
from singleshot.types import Detections
from singleshot.video.contact_sheet import ContactSheet
from singleshot.video.frames import Frame, VideoReader
from singleshot.video.webm import WebmWriter


@dataclass(eq=False)
class DetectedVideo:
    """What was detected in a video.

    Attributes:
        name: the file, camera or stream.
        size_wh: of the frames as displayed.
        fps: nominal frames a second.
        claimed_frames: how many frames it says it has; None where it does not.
        frames: how many were searched.
        seconds: the time of the last.
        frames_with: of each class, the number of frames that show it.
        most: of each class, the most objects in one frame.
        copy: the annotated video, or the folder of the annotated frames.
        fault: what is wrong with a video that is cut or damaged.
    """

    name: str
    size_wh: tuple[int, int]
    fps: float
    claimed_frames: int | None
    frames: int = 0
    seconds: float = 0.0
    frames_with: Counter[str] = field(default_factory=Counter)
    most: Counter[str] = field(default_factory=Counter)
    copy: Path | None = None
    fault: str | None = None

    @property
    def summary(self) -> str:
        """What was detected: `377 frames, 30.1 s: car in 298 frames, up to 3 at once`."""
        parts = [
            f"{name} in {frames:,} frame{'s' if frames > 1 else ''}"
            + (f", up to {self.most[name]} at once" if self.most[name] > 1 else "")
            for name, frames in self.frames_with.most_common()
        ]
        return f"{self.frames:,} frames, {self.seconds:.1f} s: " + ("; ".join(parts) or "nothing")

    def add(self, frame: Frame, detections: Detections) -> None:
        """Count a frame."""
        self.frames, self.seconds = frame.index + 1, frame.seconds
        for name, count in Counter(detections.names).items():
            self.frames_with[name] += 1
            self.most[name] = max(self.most[name], count)


class AnnotatedFrames(Protocol):
    """Where frames with drawn boxes go."""

    def write(self, seconds: float, pixels: UInt8[np.ndarray, "H W 3"]) -> None:
        """Add a frame and the time at which it is shown."""


class JpegFrames:
    """Annotated frames as files 000000.jpg, 000001.jpg and so on in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def write(self, seconds: float, pixels: UInt8[np.ndarray, "H W 3"]) -> None:  # noqa: ARG002 (of the protocol)
        """Write a frame."""
        write_jpeg(self._folder / f"{self._count:06}.jpg", pixels)
        self._count += 1


@dataclass(frozen=True)
class VideoOutputs:
    """What to write of a video.

    Attributes:
        detections: takes the detections of each frame.
        copy: a place for an annotated video ending in .webm, or for a folder of annotated frames; None: neither.
        sheet: takes frames for a contact sheet; None: there is none.
    """

    detections: DetectionsOutput
    copy: Path | None = None
    sheet: ContactSheet | None = None


def detect_in_video(
    video: VideoReader,
    detector: Detector,
    outputs: VideoOutputs,
    *,
    score: float,
    on_frame: Callable[[DetectedVideo], None] = lambda _video: None,
) -> tuple[DetectedVideo, bool]:
    """Detect in each frame, while the next are read and those before are encoded.

    Ctrl-C ends it with what was detected so far, and all outputs are whole up to there.

    Returns:
        What was detected, and whether Ctrl-C ended it.

    Raises:
        MachineError: no space left on the disk.
    """
    detected = DetectedVideo(video.name, video.size_wh, video.fps, video.claimed_frames, copy=outputs.copy)
    width, height = video.size_wh
    entry = {"file": video.name, "width": width, "height": height, "fps": video.fps}
    outputs.detections.begin_video(entry)
    interrupted = False
    try:
        with ExitStack() as stack:
            copy: AnnotatedFrames | None = None
            if outputs.copy is not None and outputs.copy.suffix == ".webm":
                copy = stack.enter_context(WebmWriter(outputs.copy, video.size_wh, fps=video.fps, comment=MARK))
            elif outputs.copy is not None:
                copy = JpegFrames(outputs.copy)
            for frame, all_detections in detector.stream_frames(video):
                detections = all_detections.above(score)
                _show(frame, detections, copy, outputs.sheet)  # first, as Ctrl-C most often comes while it waits
                outputs.detections.frame(frame.index, frame.seconds, detections)
                detected.add(frame, detections)
                on_frame(detected)
    except KeyboardInterrupt:
        interrupted = True
    outputs.detections.end_video()
    detected.fault = video.fault
    return detected, interrupted


def _show(frame: Frame, detections: Detections, copy: AnnotatedFrames | None, sheet: ContactSheet | None) -> None:
    """Draw a frame where somebody will see it."""
    interest = float(detections.scores.sum())
    on_sheet = sheet is not None and sheet.wants(frame.index, interest)
    if copy is None and not on_sheet:
        return
    drawn = detections.draw(frame.pixels)
    if copy is not None:
        copy.write(frame.seconds, drawn)
    if sheet is not None and on_sheet:
        sheet.add(frame, interest, drawn)
