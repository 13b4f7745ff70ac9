"""Detect in files and folders, and write what was found: annotated copies and one JSON."""

from __future__ import annotations

import glob
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from singleshot.errors import ImageError, RequestError
from singleshot.files import write_whole
from singleshot.runtime.detector import Detector
from singleshot.types import Detections

MARK = b"annotated by singleshot"
IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


@dataclass
class FilesFound:
    """What a run over files gave.

    Attributes:
        model: the model's name.
        images: one entry an image in the form of DESIGN's contract.
        failed: a line for each file that could not be used.
        copies: the annotated copies that were written.
        interrupted: whether Ctrl-C ended it before all files were seen.
    """

    model: str
    images: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)
    interrupted: bool = False

    def write_json(self, path: Path) -> None:
        """Write `{"model", "images"}`, whole or not at all."""
        text = json.dumps({"model": self.model, "images": self.images}, indent=1, allow_nan=False)
        write_whole(path, text + "\n")


def image_files(sources: Sequence[str]) -> list[Path]:
    """The image files that the sources name: files, folders (recursively) and glob patterns, in order, each once.

    A file given by name is taken whatever its ending; folders give what ends like an image.

    Raises:
        RequestError: nothing was named, or a source names nothing.
    """
    if not sources:
        raise RequestError("which images? Give files, folders or patterns: ssd detect photo.jpg")
    found: dict[Path, None] = {}
    for source in sources:
        if "://" in source:
            raise RequestError(f"{source}: addresses are not fetched; give a file")
        path = Path(source)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS and p.is_file())
        elif path.is_file():
            inside = [path]
        else:
            inside = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())  # noqa: PTH207 (absolute patterns)
        if not inside:
            reason = "has no images" if path.is_dir() else "does not exist"
            raise RequestError(f"{source} {reason}")
        found.update(dict.fromkeys(inside))
    return list(found)


def detect_files(
    detector: Detector,
    files: Sequence[Path],
    *,
    score: float,
    out: Path | None,
    on_image: Callable[[int], None] = lambda _done: None,
) -> FilesFound:
    """Detect in each file; bad files are listed, and the run goes on. Ctrl-C ends it with what was found so far.

    Args:
        detector: the model.
        files: see `image_files`.
        score: detections below this are left out.
        out: folder for annotated copies (an earlier run's copies are replaced, nothing else is), None for none.
        on_image: called with the number of files done.

    Raises:
        RequestError: `out` is a file, or the folder of a source, which a copy might replace.
    """
    taken: set[Path] = set()
    if out is not None:
        _require_own_folder(out, files)
    result = FilesFound(detector.name)
    try:
        for done, item in enumerate(detector.stream(files), 1):
            if isinstance(item, ImageError):
                result.failed.append(str(item))
            else:
                path, image, detections = item
                kept = detections.above(score)
                height, width = image.shape[:2]
                result.images.append(
                    {"file": str(path), "width": width, "height": height, "detections": kept.to_dicts()}
                )
                if out is not None:
                    result.copies.append(_write_copy(image, kept, path, out, taken))
            on_image(done)
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _require_own_folder(out: Path, files: Sequence[Path]) -> None:
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out is a folder for annotated copies; {out} is a file")
    place = out.resolve()
    for file in files:
        if place in {file.resolve().parent, file.parent.resolve()}:
            raise RequestError(f"{out} holds {file.name} itself, which its copy might replace: give another folder")


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
