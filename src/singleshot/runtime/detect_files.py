"""Detect in files and folders, and write what was found: annotated copies and one JSON."""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from singleshot.errors import PictureError, RequestError
from singleshot.report.draw import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from singleshot.runtime.detector import Detector
    from singleshot.types import Detections

PICTURE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


@dataclass
class FilesFound:
    """What a run over files gave.

    Attributes:
        model: the model's name.
        images: one entry a picture in the form of DESIGN's contract.
        failed: a line for each file that could not be used.
        copies: the annotated copies that were written.
    """

    model: str
    images: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)

    def write_json(self, path: Path) -> None:
        """Write `{"model", "images"}`, whole or not at all."""
        text = json.dumps({"model": self.model, "images": self.images}, indent=1, allow_nan=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.writing")
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(path)


def picture_files(sources: Sequence[str]) -> list[Path]:
    """The picture files that the sources name: files, folders (recursively) and glob patterns, in order, each once.

    A file given by name is taken whatever its ending; folders give what ends like a picture.

    Raises:
        RequestError: nothing was named, or a source names nothing.
    """
    if not sources:
        raise RequestError("which pictures? Give files, folders or patterns: ssd detect photo.jpg")
    found: dict[Path, None] = {}
    for source in sources:
        if "://" in source:
            raise RequestError(f"{source}: addresses are not fetched; give a file")
        path = Path(source)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_ENDINGS and p.is_file())
        elif path.is_file():
            inside = [path]
        else:
            inside = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())  # noqa: PTH207 (absolute patterns)
        if not inside:
            reason = "has no pictures" if path.is_dir() else "does not exist"
            raise RequestError(f"{source} {reason}")
        found.update(dict.fromkeys(inside))
    return list(found)


def detect_files(
    detector: Detector,
    files: Sequence[Path],
    *,
    score: float,
    out: Path | None,
    on_picture: Callable[[int], None] = lambda _done: None,
) -> FilesFound:
    """Detect in each file; bad files are listed, and the run goes on.

    Args:
        detector: the model.
        files: see `picture_files`.
        score: detections below this are left out.
        out: folder for annotated copies (names are made unique), None for none.
        on_picture: called with the number of files done.

    Raises:
        RequestError: `out` is a file, or the folder of a source, which a copy might replace.
    """
    if out is not None:
        _require_own_folder(out, files)
    result = FilesFound(detector.name)
    for done, item in enumerate(detector.stream(files), 1):
        if isinstance(item, PictureError):
            result.failed.append(str(item))
        else:
            path, picture, detections = item
            kept = detections.above(score)
            height, width = picture.shape[:2]
            result.images.append({"file": str(path), "width": width, "height": height, "detections": kept.to_dicts()})
            if out is not None:
                result.copies.append(_write_copy(picture, kept, path, out, {p.name for p in result.copies}))
        on_picture(done)
    return result


def _require_own_folder(out: Path, files: Sequence[Path]) -> None:
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out is a folder for annotated copies; {out} is a file")
    place = out.resolve()
    for file in files:
        if place in {file.resolve().parent, file.parent.resolve()}:
            raise RequestError(f"{out} holds {file.name} itself, which its copy might replace: give another folder")


def _write_copy(picture: np.ndarray, detections: Detections, source: Path, out: Path, taken: set[str]) -> Path:
    """An annotated copy as JPEG, named after its source; a number is added where two sources share a name."""
    out.mkdir(parents=True, exist_ok=True)
    name, number = f"{source.stem}.jpg", 1
    while name in taken:
        number += 1
        name = f"{source.stem}-{number}.jpg"
    Image.fromarray(draw(picture, detections)).save(out / name, quality=92)
    return out / name
