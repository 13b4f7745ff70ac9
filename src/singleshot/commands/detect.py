"""`ssd detect`: detections of files and folders, annotated copies and one JSON."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter
from PIL import Image

from singleshot.data.images import IMAGE_SUFFIXES
from singleshot.errors import ImageError, RequestError
from singleshot.files import require_output, write_json, write_whole
from singleshot.image_formats import UNREAD_SUFFIXES
from singleshot.runtime.detector import Detector
from singleshot.tiles import OVERLAP, tiling_of
from singleshot.types import Detections

MARK = b"annotated by singleshot"
"""JPEG comment of an annotated copy, by which a later run knows that it may replace it."""


@dataclass(frozen=True)
class DetectOptions:
    """How to detect.

    Attributes:
        model: a model folder, an exported model or the name of a shipped model; left out, the shipped default.
        score: leave out detections below this, 0 to 1.
        out: folder for copies with the boxes drawn, in sub-folders as the images are; an earlier run's copies are
            replaced, nothing else is.
        json: file for the detections.
        device: `auto`, `cpu` or `cuda`.
        precision: run the model folder itself in torch, in `fp32` or `bf16`, also where an export lies in it; left out,
            an export has its own, and a model folder without one runs in fp32.
        compiled: run the model folder itself in torch, compiled first: a minute, then faster, most of all on CUDA.
        backbone: `PACKAGE.MODULE:FUNCTION`, the code of a model that was trained on a backbone of your own.
        max_megapixels: decode images up to this size; left out, 50.
        tile: side of tiles in pixels: images that are larger are searched in tiles, too, for their small objects.
        overlap: share of a tile that its neighbour has, too.

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

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise RequestError(f"--score is between 0 and 1, got {self.score}")
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
        files: how many there were.
        images: those that could be used.
        failed: a line for each file that could not be used.
        copies: the annotated copies that were written.
        interrupted: whether Ctrl-C ended it before all files were seen.
    """

    model: str
    files: int
    images: list[DetectedImage] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)
    interrupted: bool = False

    @property
    def done(self) -> int:
        """How many files were seen."""
        return len(self.images) + len(self.failed)

    def to_dict(self) -> dict[str, Any]:
        """The content of `ssd detect --json`."""
        return {"model": self.model, "images": [image.to_dict() for image in self.images]}


def detect_files(
    sources: Sequence[str | Path],
    options: DetectOptions = DetectOptions(),
    *,
    detector: Detector | None = None,
    say: Callable[[str], None] = lambda _line: None,
    on_file: Callable[[DetectResult], None] = lambda _result: None,
) -> DetectResult:
    """Detect in each file; bad files are listed, and the run goes on. Ctrl-C ends it with what was detected so far.

    Args:
        sources: files, folders and glob patterns.
        options: how to detect.
        detector: a loaded model; None loads that of the options.
        say: takes a line on how the model runs, where that may surprise.
        on_file: called after each file with the result so far.

    Raises:
        RequestError: no such source or model; a place to write to that is wrong or would replace what is read.
        ModelError, HashError: the model's folder is not whole.
    """
    files = image_files(sources, say=say)
    require_output(options.json, "--json", files)
    folders: dict[Path, Path] = {}
    if options.out is not None:
        folders = _copy_folders(options.out, sources, files)
    detector = detector or _load(options)
    if detector.note:
        say(detector.note)
    result = DetectResult(detector.name, len(files))
    taken: set[Path] = set()
    try:
        for item in detector.stream(files):
            if isinstance(item, ImageError):
                result.failed.append(str(item))
            else:
                path, pixels, detections = item
                detections = detections.above(options.score)
                result.images.append(DetectedImage(path, (pixels.shape[1], pixels.shape[0]), detections))
                if options.out is not None:
                    result.copies.append(_write_copy(pixels, detections, path, folders[path], taken))
            on_file(result)
    except KeyboardInterrupt:
        result.interrupted = True
    write_json(options.json, result.to_dict())
    return result


def _load(options: DetectOptions) -> Detector:
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


def image_files(sources: Sequence[str | Path], *, say: Callable[[str], None] = lambda _line: None) -> list[Path]:
    """The image files that the sources name: files, folders (recursively) and glob patterns, in order, each once.

    A file given by name is taken whatever its ending; folders give what ends like an image. `say` takes a line on the
    images and videos of a folder that are of kinds that are not read.

    Raises:
        RequestError: nothing was named, or a source names nothing.
    """
    if not sources:
        raise RequestError("which images? Give files, folders or patterns: ssd detect photo.jpg")
    files: dict[Path, None] = {}
    for source in map(str, sources):
        if "://" in source:
            raise RequestError(f"{source}: addresses are not fetched; give a file")
        path = Path(source)
        if path.is_dir():
            everything = sorted(p for p in path.rglob("*") if p.is_file())
            inside = [p for p in everything if p.suffix.lower() in IMAGE_SUFFIXES]
            unread = _unread(everything)
            if unread and not inside:
                raise RequestError(f"{source}: {unread}")
            if unread:
                say(f"{source}: {unread}; left out")
        elif path.is_file():
            inside = [path]
        else:
            inside = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())  # noqa: PTH207 (absolute patterns)
        if not inside:
            reason = "has no images" if path.is_dir() else "does not exist"
            raise RequestError(f"{source} {reason}")
        files.update(dict.fromkeys(inside))
    return list(files)


def _unread(files: Sequence[Path]) -> str:
    """How many files are images or videos of kinds that are not read, and which kinds; empty for none."""
    suffixes = [suffix for file in files if (suffix := file.suffix.lower()) in UNREAD_SUFFIXES - IMAGE_SUFFIXES]
    kinds = ", ".join(dict.fromkeys(suffixes))
    return (
        f"{len(suffixes)} file{'s' if len(suffixes) > 1 else ''}, none of a kind that is read: {kinds}" if kinds else ""
    )


def _copy_folders(out: Path, sources: Sequence[str | Path], files: Sequence[Path]) -> dict[Path, Path]:
    """Where each file's annotated copy goes: a folder's sub-folders are mirrored under `out`.

    Raises:
        RequestError: `out` is a file, or a copy would lie among the files that are read.
    """
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out is a folder for annotated copies; {out} is a file")
    roots = [path for path in map(Path, sources) if path.is_dir()]
    folders: dict[Path, Path] = {}
    for file in files:
        root = next((root for root in roots if file.is_relative_to(root)), file.parent)
        folders[file] = out / file.parent.relative_to(root)
    read = {place: file for file in files for place in (file.resolve().parent, file.parent.resolve())}
    written = {out, *folders.values()}
    inside = any(out.resolve().is_relative_to(root.resolve()) for root in roots)  # of what is read
    for place in (place.resolve() for place in written):
        held = next((file for folder, file in read.items() if inside and folder.is_relative_to(place)), read.get(place))
        if held is not None:
            raise RequestError(f"{out} holds {held.name} itself, which its copy might replace: give another folder")
    return folders


def _write_copy(image: np.ndarray, detections: Detections, source: Path, out: Path, taken: set[Path]) -> Path:
    """An annotated copy as JPEG, named after its source.

    A number is added where two sources share a name, or where a file that is no copy of ours has it.
    """
    place, number = out / f"{source.stem}.jpg", 1
    while place in taken or not _may_replace(place):
        number += 1
        place = out / f"{source.stem}-{number}.jpg"
    taken.add(place)
    buffer = io.BytesIO()
    Image.fromarray(detections.draw(image)).save(buffer, "JPEG", quality=92, comment=MARK)
    write_whole(place, buffer.getvalue())
    return place


def _may_replace(place: Path) -> bool:
    """Whether nothing is there, or an earlier copy of ours, known by the comment in its first bytes."""
    if not os.path.lexists(place):
        return True
    if place.is_symlink() or not place.is_file():
        return False
    with place.open("rb") as file:
        return MARK in file.read(1024)
