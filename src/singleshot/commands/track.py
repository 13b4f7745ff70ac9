"""`ssd track`: which objects of a video are the same, how many there are, and which lines and zones they pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from singleshot.commands.annotated_copies import MARK, copy_folders, free_place
from singleshot.commands.detect_video import AnnotatedFrames, JpegFrames
from singleshot.commands.sources import Sources, VideoSource, find_sources
from singleshot.commands.tracks_output import TracksOutput
from singleshot.errors import RequestError, UnknownNameError
from singleshot.files import require_output
from singleshot.runtime.detector import Detector
from singleshot.tiles import OVERLAP, tiling_of
from singleshot.tracking.byte_track import Tracker, TrackerSettings
from singleshot.tracking.counting import ClassCounter, LineCounter, ZoneCounter, points_of
from singleshot.tracking.drawing import TrackPainter
from singleshot.tracking.tracks import Tracks
from singleshot.types import Detections
from singleshot.video.frames import Frame, VideoReader, open_video
from singleshot.video.webm import WebmWriter, can_write_webm

LOW = 0.4
"""Of `--score`: detections from here on go on with a track."""
LONGEST_LOST = 3600.0


@dataclass(frozen=True)
class TrackOptions:
    """What to track, and what to write of it.

    Attributes:
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        out: folder for the video with tracks drawn, a WebM.
        json: file for the tracks of each frame and the counts; its name ending in .jsonl: a line for each frame.
        csv: CSV file for the tracks, a row for each in each frame.
        mot: file for the tracks in MOTChallenge's format, which `ssd evaluate` reads.
        classes: track these alone, as `car,bus`.
        line: `x1,y1,x2,y2` in pixels: count who crosses it, to its right and to its left; may be given several times.
        zone: `x1,y1,x2,y2,x3,y3,...`: count who is inside, and for how long; may be given several times.
        score: a track begins with a detection of this score, 0 to 1; less likely ones, from two fifths of it on, go
            on with it.
        lost: seconds for which an object may be hidden and keep its number.
        confirm: a track counts when it is seen in so many frames on end.
        frames: write drawn frames as JPEGs in a folder, instead of a WebM.
        fps: take a folder, or a pattern such as `frame_%05d.jpg`, for a video of so many frames a second.
        stream: open an RTSP address that is given as the video; else no address is opened.
        device: `auto`, `cpu` or `cuda`.
        max_megapixels: frames up to this size; left out, 50.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
        tile: side of tiles in pixels: frames that are larger are searched in tiles, too, for their small objects.
        overlap: share of a tile that its neighbour has, too.

    Raises:
        RequestError: a score, a time, a line, a zone or tiles that are none.
    """

    _: KW_ONLY
    model: str | None = None
    out: Path | None = None
    json: Path | None = None
    csv: Path | None = None
    mot: Path | None = None
    classes: str | None = None
    line: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    zone: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    score: float = 0.5
    lost: float = 1.0
    confirm: int = 2
    frames: bool = False
    fps: float | None = None
    stream: bool = False
    device: str = "auto"
    max_megapixels: float | None = None
    backbone: str | None = None
    tile: int | None = None
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        if self.frames and self.out is None:
            raise RequestError("--frames writes into the folder of --out: give one")
        tiling_of(self.tile, self.overlap)
        self.settings  # noqa: B018 (refuses what is wrong)
        self.counters()

    @property
    def settings(self) -> TrackerSettings:
        """When a track begins, goes on and ends."""
        if not 0 <= self.score <= 1:
            raise RequestError(f"--score is between 0 and 1, got {self.score:g}")
        if not 0 <= self.lost <= LONGEST_LOST:
            raise RequestError(f"--lost is 0 to {LONGEST_LOST:g} seconds, got {self.lost:g}")
        if not self.confirm >= 1:
            raise RequestError(f"--confirm is 1 or more frames, got {self.confirm}")
        return TrackerSettings(
            begin_score=self.score,
            high_score=self.score,
            low_score=LOW * self.score,
            lost_seconds=self.lost,
            confirm_frames=self.confirm,
        )

    def counters(self) -> tuple[list[LineCounter], list[ZoneCounter]]:
        """New counters of the lines and zones."""
        lines = [points_of(text, "--line", least=2) for text in self.line]
        for text, points in zip(self.line, lines, strict=True):
            if len(points) != 2:
                raise RequestError(f"--line is x1,y1,x2,y2, got {len(points)} points: {text}")
        zones = [points_of(text, "--zone", least=3) for text in self.zone]
        return [LineCounter(start, end) for start, end in lines], [ZoneCounter(points) for points in zones]


@dataclass(eq=False)
class TrackedVideo:
    """What was tracked in a video.

    Attributes:
        name: the file, camera or stream.
        size_wh: of the frames as displayed.
        fps: nominal frames a second.
        claimed_frames: how many frames it says it has; None where it does not.
        lines: what was counted at each line.
        zones: what was counted in each zone.
        classes: how many tracks there were of each class.
        frames: how many were searched.
        seconds: the time of the last.
        copy: the annotated video, or the folder of the annotated frames.
        unusable: detections that were left out, since they were not finite or had no area.
        fault: what is wrong with a video that is cut or damaged.
        interrupted: whether Ctrl-C ended it.
    """

    name: str
    size_wh: tuple[int, int]
    fps: float
    claimed_frames: int | None
    lines: Sequence[LineCounter] = ()
    zones: Sequence[ZoneCounter] = ()
    classes: ClassCounter = field(default_factory=ClassCounter)
    frames: int = 0
    seconds: float = 0.0
    copy: Path | None = None
    unusable: int = 0
    fault: str | None = None
    interrupted: bool = False

    def add(self, frame: Frame, tracks: Tracks, alive: frozenset[int]) -> None:
        """Count a frame; `alive` are the tracks that may come again."""
        self.frames, self.seconds = frame.index + 1, frame.seconds
        self.classes.add(tracks)
        for line in self.lines:
            line.add(tracks, alive)
        for zone in self.zones:
            zone.add(tracks, alive, frame.seconds)

    def counts(self) -> dict[str, Any]:
        """What was counted, as in JSON."""
        return {
            "counts": dict(sorted(self.classes.counts.items())),
            "lines": [line.to_dict() for line in self.lines],
            "zones": [zone.to_dict() for zone in self.zones],
        }

    def summary(self) -> list[str]:
        """Lines for people."""
        counted = _in_words(self.classes.counts) or "nothing"
        text = [f"{self.name}: {self.frames:,} frames, {self.seconds:.1f} s: {counted}"]
        for line in self.lines:
            ends = ",".join(f"{value:g}" for value in (*line.start, *line.end))
            text.append(f"line {ends}: right {_in_words(line.right) or 0}; left {_in_words(line.left) or 0}")
        for zone in self.zones:
            corners = ",".join(f"{value:g}" for corner in zone.corners for value in corner)
            inside = f"{sum(zone.seconds.values()):.1f} s inside in all"
            text.append(f"zone {corners}: entered {_in_words(zone.entered) or 0}, {inside}; now {zone.now.total()}")
        return text


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def track_video(
    source: str | Path,
    options: TrackOptions = TrackOptions(),
    *,
    detector: Detector | None = None,
    say: Callable[[str], None] = lambda _line: None,
    on_frame: Callable[[TrackedVideo], None] = lambda _video: None,
) -> TrackedVideo:
    """Track the objects of a video. Ctrl-C ends it, and all outputs are whole up to there.

    Args:
        source: a video file; a camera's number; an RTSP address; a folder of frames or their pattern.
        options: what to track, and what to write.
        detector: a loaded model; None loads that of the options.
        say: takes a line on what may surprise.
        on_frame: called after each frame with what was tracked so far.

    Raises:
        RequestError: no video, model or class of this name; a place to write to that is wrong or would replace what
            is read.
        VideoError: nothing of the video can be decoded.
        MachineError: no space left on the disk.
    """
    found = find_sources([source], stream=options.stream, sequences=options.fps is not None)
    if len(found.videos) != 1 or found.images:
        count = len(found.videos) + len(found.images)
        raise RequestError(f"{source} is {'no' if count == 1 else 'not one'} video: ssd track takes one")
    _require_outputs(options, found)
    detector = detector or _load(options)
    if detector.note:
        say(detector.note)
    wanted = _labels(options.classes, detector.spec.class_names)
    limit = detector.max_pixels
    with open_video(found.videos[0], fps=options.fps, allow_network=options.stream, max_pixels=limit) as video:
        lines, zones = options.counters()
        tracked = TrackedVideo(video.name, video.size_wh, video.fps, video.claimed_frames, lines, zones)
        tracked.copy = _place_of_copy(options, found.videos[0], say)
        run = _Run(video, detector, options, wanted, tracked, on_frame)
        run.all_frames()
        for line in video.remarks:
            say(line)
        if tracked.unusable:
            say(f"detections left out, since they were not finite or had no area: {tracked.unusable:,}")
        tracked.fault = video.fault
    return tracked


@dataclass(frozen=True, eq=False)
class _Run:
    """What the steps of one run share."""

    video: VideoReader
    detector: Detector
    options: TrackOptions
    wanted: frozenset[int] | None
    tracked: TrackedVideo
    on_frame: Callable[[TrackedVideo], None]

    def all_frames(self) -> None:
        """Track, count, write and draw each frame, while the next are read and those before are encoded."""
        tracked, options = self.tracked, self.options
        width, height = tracked.size_wh
        head = {"model": self.detector.name, "file": tracked.name, "width": width, "height": height, "fps": tracked.fps}
        tracker = Tracker(options.settings)
        painter = TrackPainter(tracked.lines, tracked.zones)
        with ExitStack() as stack:
            output = stack.enter_context(TracksOutput(head, json=options.json, csv=options.csv, mot=options.mot))
            copy = self._copy(stack)
            try:
                for frame, detections in self.detector.stream_frames(self.video):
                    tracks = tracker(_of_classes(detections, self.wanted), frame.seconds)
                    tracked.add(frame, tracks, tracker.ids)
                    output.frame(frame, tracks)
                    if copy is not None:
                        painter.follow(tracks, tracker.ids, frame.seconds)
                        copy.write(frame.seconds, painter.draw(frame.pixels, tracks))
                    self.on_frame(tracked)
            except KeyboardInterrupt:
                tracked.interrupted = True
            tracked.unusable = tracker.unusable
            output.end(tracked.counts())

    def _copy(self, stack: ExitStack) -> AnnotatedFrames | None:
        place = self.tracked.copy
        if place is None:
            return None
        if place.suffix == ".webm":
            return stack.enter_context(WebmWriter(place, self.tracked.size_wh, fps=self.tracked.fps, comment=MARK))
        return JpegFrames(place)


def _load(options: TrackOptions) -> Detector:
    return Detector.load(
        options.model,
        device=options.device,
        score=LOW * options.score,
        backbone=options.backbone,
        max_megapixels=options.max_megapixels,
        tile=options.tile,
        overlap=options.overlap,
    )


def _of_classes(detections: Detections, wanted: frozenset[int] | None) -> Detections:
    return detections if wanted is None else detections[[label in wanted for label in detections.labels]]


def _labels(classes: str | None, class_names: Sequence[str]) -> frozenset[int] | None:
    """The labels of the classes that are asked for; None for all."""
    if classes is None:
        return None
    names = [name.strip() for name in classes.split(",") if name.strip()]
    if not names:
        raise RequestError(f"--classes names classes of the model, such as {class_names[0]}; got {classes!r}")
    for name in names:
        if name not in class_names:
            raise UnknownNameError("class", name, class_names)
    return frozenset(class_names.index(name) for name in names)


def _require_outputs(options: TrackOptions, found: Sources) -> None:
    """Refuse what cannot be written, or would replace what is read, before any work."""
    outputs = {"--json": options.json, "--csv": options.csv, "--mot": options.mot}
    for flag, place in outputs.items():
        require_output(place, flag, found.files)
    places = [place.resolve() for place in outputs.values() if place is not None]
    if len(set(places)) < len(places):
        raise RequestError(f"{', '.join(outputs)} are different files, got {places[0]} twice")
    if options.out is not None:
        copy_folders(options.out, found.files, found.files)


def _place_of_copy(options: TrackOptions, source: VideoSource, say: Callable[[str], None]) -> Path | None:
    """Where the video with tracks goes: a file .webm, or a folder for its frames."""
    if options.out is None:
        return None
    as_frames = options.frames
    if not as_frames and not can_write_webm():
        say("a copy as a video needs PyAV: pip install 'singleshot[video]'; frames are written")
        as_frames = True
    if isinstance(source, Path):
        name = source.name if source.is_dir() else source.stem.partition("%")[0].rstrip("_-")
    else:
        name = f"camera-{source}" if isinstance(source, int) else "stream"
    return free_place(options.out / f"{name or 'frames'}{'' if as_frames else '.webm'}", set())
