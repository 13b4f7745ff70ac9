"""`ssd detect`: detections of images and videos, annotated copies, JSON and CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from singleshot.commands.annotated_copies import copy_folders, free_place, write_jpeg
from singleshot.commands.detect_video import DetectedVideo, VideoOutputs, detect_in_video
from singleshot.commands.detections_output import DetectionsOutput
from singleshot.commands.sources import Sources, VideoSource, find_sources
from singleshot.errors import ImageError, RequestError, VideoError
from singleshot.files import require_output
from singleshot.runtime.detector import Detector
from singleshot.tiles import OVERLAP, tiling_of
from singleshot.types import Detections
from singleshot.video.contact_sheet import ContactSheet
from singleshot.video.frames import open_video
from singleshot.video.sequence import is_pattern
from singleshot.video.webm import can_write_webm


@dataclass(frozen=True)
class DetectOptions:
    """How to detect.

    Attributes:
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        score: leave out detections below this, 0 to 1.
        out: folder for copies with the boxes drawn, in sub-folders as the images are; an earlier run's copies are
            replaced, nothing else is. A video's copy is a WebM.
        json: file for the detections; its name ending in .jsonl: a line for each image or frame.
        device: `auto`, `cpu` or `cuda`.
        precision: run the model folder itself in torch, in `fp32` or `bf16`, also where an export lies in it; left out,
            an export has its own, and a model folder without one runs in fp32.
        compiled: run the model folder itself in torch, compiled first: a minute, then faster, most of all on CUDA.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
        max_megapixels: decode images up to this size; left out, 50.
        tile: side of tiles in pixels: images that are larger are searched in tiles, too, for their small objects.
        overlap: share of a tile that its neighbour has, too.
        csv: CSV file for the detections, a row each.
        frames: copy a video frame by frame, as JPEGs in a folder, instead of as a WebM.
        contact_sheet: JPEG file for twelve frames of a video, of each twelfth the one that shows most, boxes drawn.
        fps: take a folder, or a pattern such as `frame_%05d.jpg`, for a video of so many frames a second.
        stream: open RTSP addresses that are given as a source; else no address is opened.

    Raises:
        RequestError: a score, or tiles, that are none.
    """

    model: str | None = None
    score: float = 0.5
    out: Path | None = None
    json: Path | None = None
    device: str = "auto"
    precision: Literal["fp32", "bf16"] | None = None
    compiled: Annotated[bool, Parameter(name="--compile", negative=())] = False
    backbone: str | None = None
    max_megapixels: float | None = None
    tile: int | None = None
    overlap: float = OVERLAP
    csv: Path | None = None
    frames: bool = False
    contact_sheet: Path | None = None
    fps: float | None = None
    stream: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise RequestError(f"--score is between 0 and 1, got {self.score}")
        if self.frames and self.out is None:
            raise RequestError("--frames writes into the folder of --out: give one")
        tiling_of(self.tile, self.overlap)


@dataclass(frozen=True, eq=False)
class DetectedImage:
    """An image file and what was detected in it; `size_wh` is that of the image as displayed."""

    path: Path
    size_wh: tuple[int, int]
    detections: Detections

    @property
    def summary(self) -> str:
        """What was detected, by class, the surest first: `3 x car 98% 91% 60%, person 77%`."""
        scores: dict[str, list[float]] = {}
        for detection in self.detections:
            scores.setdefault(detection.name, []).append(detection.score)
        parts = []
        for name, of_class in scores.items():
            shown = " ".join(f"{score:.0%}" for score in of_class[:3]) + (" ..." if len(of_class) > 3 else "")
            parts.append(f"{len(of_class)} x {name} {shown}" if len(of_class) > 1 else f"{name} {shown}")
        return ", ".join(parts) or "nothing"

    def to_dict(self) -> dict[str, Any]:
        """The entry of `ssd detect --json`."""
        width, height = self.size_wh
        return {"file": str(self.path), "width": width, "height": height, "detections": self.detections.to_dicts()}


@dataclass(eq=False)
class DetectResult:
    """What a run over files gave.

    Attributes:
        model: the model's name.
        files: how many there were, images and videos.
        images: those that could be used.
        videos: those that could be used, at least in part.
        failed: a line for each file that could not be used, or not whole.
        copies: the annotated copies of images and videos that were written.
        interrupted: whether Ctrl-C ended it before all files were seen.
    """

    model: str
    files: int
    images: list[DetectedImage] = field(default_factory=list)
    videos: list[DetectedVideo] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)
    interrupted: bool = False

    @property
    def done(self) -> int:
        """How many files were seen."""
        whole = sum(video.fault is None for video in self.videos)  # others are among those that failed
        return len(self.images) + whole + len(self.failed)


@dataclass(frozen=True)
class Listeners:
    """Who hears of a run while it goes on.

    Attributes:
        say: takes a line on how the model runs, or on what a source holds, where that may surprise.
        on_file: called after each image with the result so far.
        on_frame: called after each frame of a video with what was detected in it so far.
    """

    say: Callable[[str], None] = lambda _line: None
    on_file: Callable[[DetectResult], None] = lambda _result: None
    on_frame: Callable[[DetectedVideo], None] = lambda _video: None


def detect_files(
    sources: Sequence[str | Path],
    options: DetectOptions = DetectOptions(),
    *,
    detector: Detector | None = None,
    listeners: Listeners = Listeners(),
) -> DetectResult:
    """Detect in each image, then in each video; bad files are listed, and the run goes on.

    Ctrl-C ends it with what was detected so far.

    Args:
        sources: files, folders, glob patterns, numbers of cameras, RTSP addresses.
        options: how to detect.
        detector: a loaded model; None loads that of the options.
        listeners: hear of the run while it goes on.

    Raises:
        RequestError: no such source or model; a place to write to that is wrong or would replace what is read.
        ModelError, HashError: the model's folder is not whole.
    """
    found = find_sources(sources, stream=options.stream, sequences=options.fps is not None, say=listeners.say)
    _require_outputs(options, found)
    folders = (
        {}
        if options.out is None
        else copy_folders(options.out, sources, [file for file in found.files if file.is_file()])
    )
    detector = detector or load_detector(options)
    if detector.note:
        listeners.say(detector.note)
    result = DetectResult(detector.name, len(found.images) + len(found.videos))
    with DetectionsOutput(detector.name, json=options.json, csv=options.csv) as output:
        run = _Run(options, detector, folders, output, listeners, result)
        try:
            run.images(found.images)
            for video in found.videos:
                if not result.interrupted:
                    run.video(video)
        except KeyboardInterrupt:
            result.interrupted = True
    return result


def _require_outputs(options: DetectOptions, found: Sources) -> None:
    """Refuse what cannot be written, or would replace what is read, before any work."""
    outputs = {"--json": options.json, "--csv": options.csv, "--contact-sheet": options.contact_sheet}
    for flag, place in outputs.items():
        require_output(place, flag, found.files)
    places = [place.resolve() for place in outputs.values() if place is not None]
    if len(set(places)) < len(places):
        raise RequestError(f"{' and '.join(outputs)} are different files, got {places[0]} twice")
    if options.contact_sheet is not None:
        if options.contact_sheet.suffix.lower() not in {".jpg", ".jpeg"}:
            raise RequestError(f"--contact-sheet is a JPEG file, such as sheet.jpg; got {options.contact_sheet}")
        if len(found.videos) != 1:
            raise RequestError(f"--contact-sheet shows one video; the sources have {len(found.videos)}")


@dataclass(eq=False)
class _Run:
    """One run of `detect_files`: what its steps share."""

    options: DetectOptions
    detector: Detector
    folders: Mapping[Path, Path]
    output: DetectionsOutput
    listeners: Listeners
    result: DetectResult
    taken: set[Path] = field(default_factory=set)

    def images(self, files: Sequence[Path]) -> None:
        """Detect in image files."""
        result, options = self.result, self.options
        for item in self.detector.stream(files):
            if isinstance(item, ImageError):
                result.failed.append(str(item))
            else:
                path, pixels, detections = item
                detections = detections.above(options.score)
                image = DetectedImage(path, (pixels.shape[1], pixels.shape[0]), detections)
                result.images.append(image)
                self.output.image(image.to_dict())
                if options.out is not None:
                    place = free_place(self.folders[path] / f"{path.stem}.jpg", self.taken)
                    write_jpeg(place, detections.draw(pixels))
                    result.copies.append(place)
            self.listeners.on_file(result)

    def video(self, source: VideoSource) -> None:
        """Detect in the frames of one video."""
        result, options = self.result, self.options
        try:
            video = open_video(
                source, fps=options.fps, allow_network=options.stream, max_pixels=self.detector.max_pixels
            )
        except VideoError as error:
            result.failed.append(str(error))
            return
        with video:
            sheet = None if options.contact_sheet is None else ContactSheet()
            outputs = VideoOutputs(self.output, self._copy_of(source), sheet)
            detected, result.interrupted = detect_in_video(
                video, self.detector, outputs, score=options.score, on_frame=self.listeners.on_frame
            )
        result.videos.append(detected)
        if detected.copy is not None and detected.frames:
            result.copies.append(detected.copy)
        if sheet is not None and options.contact_sheet is not None and detected.frames:
            write_jpeg(options.contact_sheet, sheet.image())
        for line in video.remarks:
            self.listeners.say(line)
        if detected.fault is not None:
            result.failed.append(detected.fault)

    def _copy_of(self, source: VideoSource) -> Path | None:
        """Where the annotated copy of a video goes: a file .webm, or a folder for its frames."""
        if self.options.out is None:
            return None
        as_frames = self.options.frames
        if not as_frames and not can_write_webm():
            self.listeners.say("a copy as a video needs PyAV: pip install 'singleshot[video]'; frames are written")
            as_frames = True
        if isinstance(source, Path):
            folder = self.folders.get(source, self.options.out)
            name = source.name if source.is_dir() else source.stem
            if is_pattern(source):
                name = name.partition("%")[0].rstrip("_-")
        else:
            folder, name = self.options.out, f"camera-{source}" if isinstance(source, int) else "stream"
        return free_place(folder / f"{name or 'frames'}{'' if as_frames else '.webm'}", self.taken)


def load_detector(options: DetectOptions) -> Detector:
    """The model of some options. Raises as `Detector.load`."""
    return Detector.load(
        options.model,
        device=options.device,
        score=options.score,
        precision=options.precision,
        compiled=options.compiled,
        backbone=options.backbone,
        max_megapixels=options.max_megapixels,
        tile=options.tile,
        overlap=options.overlap,
    )
