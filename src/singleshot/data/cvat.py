"""Read CVAT for images: one XML with an `<image>` for each image, and shapes inside it; and for video: `<track>`s.

Boxes may be turned about their centre. Polygons, masks, ellipses and cuboids become their upright boxes; lines, points,
skeletons and tags have no extent and are left out. An image's `subset` is its split.
"""

from __future__ import annotations

import html
import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import defusedxml.ElementTree as GuardedTree
from defusedxml import DefusedXmlException

from singleshot.data.builder import ReadResult
from singleshot.data.cvat_video import VideoTracks, add_frames
from singleshot.data.listing import files_in
from singleshot.data.outlines import (
    ELLIPSES,
    MASKS,
    POLYGONS,
    TURNED,
    Box,
    box_of_ellipse,
    box_of_points,
    box_of_rotated,
)
from singleshot.data.tool_labels import (
    LIMIT_BYTES,
    LabelFile,
    LabelledImage,
    LabelledObject,
    files_by_split,
    read_label_files,
)
from singleshot.errors import DataError
from singleshot.files import read_regular

HEAD_BYTES = 4096
MOST_FILES = 50
CUBOIDS = "cuboids became their upright boxes"
LEFT_OUT = "lines, points, skeletons and tags have no box: left out"
_SHAPES = {"box", "polygon", "mask", "ellipse", "cuboid"}
_NO_BOX = {"polyline", "points", "skeleton", "tag"}
_SUBSET = re.compile(rb'<image\b[^<>]*\bsubset="([^"]*)"')


def cvat_files(path: Path) -> dict[str, Path]:
    """Split -> XML of CVAT; "" for the only one."""
    return files_by_split(path, _cvat_in)


def _cvat_in(folder: Path) -> list[Path]:
    """XML of CVAT in a folder; none where there are more than `MOST_FILES`: those are one an image."""
    files = files_in(folder, ".xml")
    return [file for file in files if is_cvat(file)] if len(files) <= MOST_FILES else []


def is_cvat(file: Path) -> bool:
    """Whether an XML's first element is `<annotations>`; VOC's is `<annotation>`."""
    try:
        if not file.is_file():
            return False
        with file.open("rb") as content:
            return re.search(rb"<annotations[\s>]", content.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def cvat_splits(path: Path) -> list[str]:
    """Names of the subsets, or of the files where there are several."""
    files = cvat_files(path)
    subsets: dict[str, None] = {}
    for name, file in files.items():
        found = [html.unescape(text.decode("utf-8", "replace")) for text in set(_SUBSET.findall(_content(file)))]
        subsets |= dict.fromkeys(sorted(found) or [name])
    return [name for name in subsets if name]


def read_cvat(path: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of an XML of CVAT, or of a folder with one.

    Raises:
        DataError: not XML, or not CVAT's.
        UnknownNameError: no such split.
    """
    return read_label_files(path, cvat_files(path), _parse, split=split, format_name="cvat")


def _content(file: Path) -> bytes:
    try:
        return read_regular(file, LIMIT_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {error}") from None


def _parse(file: Path) -> LabelFile:
    content = LabelFile()
    names: list[str] = []
    tracks = VideoTracks()
    first = True
    for element in _elements(file):
        if first and element.tag != "annotations":
            raise DataError(f"{file}: expected CVAT's <annotations>, got <{element.tag[:40]}>")
        first = False
        if element.tag == "label" and not element.findtext("parent"):
            names.append((element.findtext("name") or "").strip())
        elif element.tag == "meta":
            tracks.describe(element)
        elif element.tag == "track":
            _add_track(element, tracks, content.notes)
        elif element.tag == "image" and element.get("name"):
            content.images.append(_image(element, content.notes))
    if tracks.count:
        add_frames(content, tracks, file)
    content.class_names = tuple(name for name in dict.fromkeys(names) if name)
    return content


def _elements(file: Path) -> Iterator[Element]:
    """The root as it begins, then `meta` and each label, track and image as it ends; each is emptied behind it.

    A file without the bytes `<!` cannot define an entity, so the fast parser takes it (see `voc_xml.parse_xml`).
    """
    raw = _content(file)
    try:
        plain = b"<!" not in raw and b"\0" not in raw
        stream = io.BytesIO(raw)
        events = (
            ET.iterparse(stream, ("start", "end"))  # noqa: S314  (it cannot define entities)
            if plain
            else GuardedTree.iterparse(stream, ("start", "end"), forbid_dtd=True)
        )
        root: Element | None = None
        for event, element in events:
            if root is None:
                root = element
                yield root
            elif event == "end" and element.tag in {"meta", "label", "track", "image"}:
                yield element
                element.clear()
            if event == "end" and element.tag == "image":
                root.clear()
    except DefusedXmlException:
        raise DataError(f"{file}: XML that defines entities or a document type is refused") from None
    except (ET.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{file}: not XML: {error}") from None


def _add_track(track: Element, tracks: VideoTracks, notes: Counter[str]) -> None:
    """Add the shapes of a track to their frames; CVAT writes one for each frame, and where it is outside."""
    tracks.count += 1
    tracks.tasks.add(track.get("task_id", ""))
    for shape in track:
        if shape.tag in _NO_BOX:
            notes[LEFT_OUT] += 1
        elif shape.tag in _SHAPES and shape.get("outside") != "1":
            frame = shape.get("frame", "")
            item = _object(shape, notes, label=track.get("label", ""))
            if not (frame.isascii() and frame.isdigit() and len(frame) < 10):
                item = LabelledObject(item.label, None, f"expected the number of a frame, got {frame[:40]!r}")
                frame = "0"
            tracks.objects.setdefault(int(frame), []).append(item)


def _image(element: Element, notes: Counter[str]) -> LabelledImage:
    objects = []
    for shape in element:
        if shape.tag in _NO_BOX:
            notes[LEFT_OUT] += 1
        elif shape.tag in _SHAPES:
            objects.append(_object(shape, notes))
    width, height = (_side(element, side) for side in ("width", "height"))
    return LabelledImage(element.get("name", ""), width, height, objects, element.get("subset", ""))


def _side(element: Element, side: str) -> int:
    text = element.get(side, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


def _object(shape: Element, notes: Counter[str], *, label: str = "") -> LabelledObject:
    label = (label or shape.get("label", "")).strip()
    try:
        if not label:
            raise ValueError(f"the {shape.tag} has no label")
        return LabelledObject(label, _box(shape, notes))
    except ValueError as error:
        return LabelledObject(label, None, str(error))


def _box(shape: Element, notes: Counter[str]) -> Box:
    degrees = _number(shape, "rotation") if shape.get("rotation") else 0.0
    if shape.tag == "polygon":
        notes[POLYGONS] += 1
        return box_of_points(_points(shape))
    if shape.tag == "ellipse":
        notes[ELLIPSES] += 1
        cx, cy, rx, ry = (_number(shape, name) for name in ("cx", "cy", "rx", "ry"))
        return box_of_ellipse((cx, cy), (rx, ry), degrees)
    if shape.tag == "mask":
        notes[MASKS] += 1
        left, top, width, height = (_number(shape, name) for name in ("left", "top", "width", "height"))
        return left, top, left + width, top + height
    if shape.tag == "cuboid":
        notes[CUBOIDS] += 1
        names = [f"{corner}{face}" for corner in ("tl", "bl", "tr", "br") for face in (1, 2)]
        return box_of_points([(_number(shape, f"x{name}"), _number(shape, f"y{name}")) for name in names])
    left, top, right, bottom = (_number(shape, name) for name in ("xtl", "ytl", "xbr", "ybr"))
    notes[TURNED] += bool(degrees % 360)
    return box_of_rotated((left, top, right, bottom), degrees, about=((left + right) / 2, (top + bottom) / 2))


def _number(shape: Element, name: str) -> float:
    text = shape.get(name)
    if text is None:
        raise ValueError(f"the {shape.tag} has no {name}")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text[:40]!r}") from None


def _points(shape: Element) -> list[list[float]]:
    text = shape.get("points", "")
    try:
        return [[float(number) for number in pair.split(",")] for pair in text.split(";") if pair.strip()]
    except ValueError:
        raise ValueError(f"points must be x,y;x,y ..., got {text[:40]!r}") from None
