"""Read a VOC folder: `Annotations/ID.xml`, `JPEGImages/ID.jpg`, `ImageSets/Main/SPLIT.txt`.

Coordinates stay as the file states them, as floats: VOC counts pixels from 1, and Caffe divides them by the size with
no -1. All annotations are read whatever the split is, so that every split has the same class names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import defusedxml.ElementTree as GuardedTree
from defusedxml import DefusedXmlException

from singleshot.data.builder import AnnotationBuilder, ReadResult
from singleshot.data.classes import class_order
from singleshot.data.faults import Fault
from singleshot.data.images import images_by_stem
from singleshot.errors import DataError, UnknownNameError
from singleshot.files import read_list, read_regular

LIMIT_BYTES = 16 * 2**20  # an annotation of one image is a few kilobytes
ANNOTATIONS, IMAGES, SPLITS = "Annotations", "JPEGImages", "ImageSets/Main"
_CLASS_LINE = re.compile(r"^\S+\s+(-1|0|1)$")  # car_train.txt: an id and whether the class is in it


def voc_splits(root: Path) -> dict[str, int]:
    """Split -> number of images, for each list in `ImageSets/Main` but the devkit's lists of single classes."""
    counts = {}
    for path in sorted((root / SPLITS).glob("*.txt")):
        lines = read_list(path)
        if not ("_" in path.stem and lines and all(_CLASS_LINE.match(line) for line in lines)):
            counts[path.stem] = len(lines)
    return counts


def read_voc(root: Path, *, split: str | None = None) -> ReadResult:
    """The ground truth of a VOC folder, or of one of its splits, and the faults of its files.

    Classes are those of all annotations of the folder, in VOC's order where all are VOC's, else the alphabet's.

    Raises:
        DataError: no annotations.
        UnknownNameError: no such split.
    """
    known = voc_splits(root)
    if split is not None and split not in known:
        if known:
            raise UnknownNameError("split", split, known)
        raise DataError(f"no split {split!r}: {root / SPLITS} has no lists; without a split all images are used")
    whole = _read_all(root)
    return whole if split is None else _select(whole, read_list(root / SPLITS / f"{split}.txt"), split)


def read_voc_splits(root: Path) -> dict[str, ReadResult]:
    """Every split; the annotations that no list names are under the name ""."""
    whole = _read_all(root)
    splits = {name: _select(whole, read_list(root / SPLITS / f"{name}.txt"), name) for name in voc_splits(root)}
    listed = {identity for result in splits.values() for identity in result.annotations.ids}
    unlisted = [identity for identity in whole.annotations.ids if identity not in listed]
    if unlisted:
        splits[""] = _select(whole, unlisted, "")
    return splits


def _read_all(root: Path) -> ReadResult:
    paths = sorted((root / ANNOTATIONS).rglob("[!.]*.xml"))  # macOS leaves "._000012.xml" beside the real ones
    if not paths:
        raise DataError(f"{root / ANNOTATIONS} holds no .xml file")
    images: dict[Path, dict[str, tuple[str, ...]]] = {}
    builder, faults = AnnotationBuilder(), list[Fault]()
    for path in paths:
        name = path.relative_to(root).as_posix()
        folder = path.parent.relative_to(root / ANNOTATIONS)  # images lie in sub-folders of the same names
        if folder not in images:
            images[folder] = images_by_stem(root / IMAGES / folder)
        try:
            annotation = read_voc_xml(read_regular(path, LIMIT_BYTES), name)
        except (ValueError, OSError) as error:
            faults.append(Fault("malformed", name, str(error)))
            annotation = VocImage("", 0, 0, (), ())
        candidates = images[folder].get(path.stem, ())
        file = next((name for name in candidates if name == annotation.filename), (*candidates, f"{path.stem}.jpg")[0])
        identity = (folder / path.stem).as_posix()
        if not candidates:
            faults.append(Fault("missing image", name, f"no image {IMAGES}/{identity}.* of a known kind"))
        place = (folder / file).as_posix()
        builder.add_image(f"{IMAGES}/{place}", identity, width=annotation.width, height=annotation.height)
        for number, box, class_name, difficult in annotation.objects:
            builder.add_box(box, class_name, number=number, difficult=difficult)
        faults += annotation.faults
    return builder.finish(faults, format_name="voc", root=root, class_names=class_order(builder.class_numbers))


@dataclass(frozen=True)
class VocImage:
    """One annotation file: the stated size (0: none), and the objects as (number, box, class name, difficult)."""

    filename: str
    width: int
    height: int
    objects: tuple[tuple[int, tuple[float, ...], str, bool], ...]
    faults: tuple[Fault, ...]


def read_voc_xml(content: bytes, name: str) -> VocImage:
    """Parse one annotation; a malformed object becomes a fault.

    Raises:
        ValueError: not a VOC annotation.
    """
    element = parse_xml(content)
    if element.tag != "annotation":
        raise ValueError(f"expected <annotation>, got <{element.tag[:40]}>")
    objects, faults = [], []
    for number, item in enumerate(element.iterfind("object"), 1):
        try:
            objects.append((number, *_read_object(item)))
        except ValueError as error:
            faults.append(Fault("malformed", name, str(error), number))
    width, height = (_size(element, side) for side in ("width", "height"))
    filename = (element.findtext("filename") or "").strip()
    return VocImage(filename, width, height, tuple(objects), tuple(faults))


def parse_xml(content: bytes) -> Element:
    """The root element. Entity definitions, external entities and document types are refused.

    A file without the bytes `<!` and without zero bytes cannot define an entity, so the fast parser takes it: expat
    reads only encodings that contain ASCII, and UTF-16, whose markup holds zero bytes. All others go through
    defusedxml, which is about ten times slower.

    Raises:
        ValueError: not XML, too large, or it defines entities or a document type; one line.
    """
    if len(content) > LIMIT_BYTES:
        raise ValueError(f"at most {LIMIT_BYTES} bytes of XML for one image, got {len(content)}")
    try:
        if b"<!" not in content and b"\0" not in content:
            return ET.fromstring(content)  # noqa: S314  (it cannot define entities)
        return GuardedTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise ValueError("XML that defines entities or a document type is refused") from None
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"not XML: {error}") from None


def _size(element: Element, side: str) -> int:
    text = (element.findtext(f"size/{side}") or "0").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


def _read_object(item: Element) -> tuple[tuple[float, ...], str, bool]:
    name = (item.findtext("name") or "").strip()
    if not name:
        raise ValueError("the object has no <name>")
    box = []
    for side in ("xmin", "ymin", "xmax", "ymax"):
        text = item.findtext(f"bndbox/{side}")
        if text is None:
            raise ValueError(f"the object has no <bndbox><{side}>")
        try:
            box.append(float(text))
        except ValueError:
            raise ValueError(f"<{side}> must be a number, got {text[:40]!r}") from None
    return tuple(box), name, (item.findtext("difficult") or "").strip() == "1"


def _select(whole: ReadResult, lines: list[str], split: str) -> ReadResult:
    """The images that a list names, in its order, each once."""
    position = {identity: row for row, identity in enumerate(whole.annotations.ids)}
    rows, faults = dict[int, None](), list[Fault]()
    list_name = f"{SPLITS}/{split}.txt"
    for line in lines:
        identity = line if line in position else line.split()[0]
        row = position.get(identity)
        if row is None:
            faults.append(Fault("missing annotation", list_name, f"{line!r} has no {ANNOTATIONS}/{line}.xml"))
        elif row in rows:
            faults.append(Fault("duplicate id", list_name, f"{identity!r} is listed twice"))
        else:
            rows[row] = None
    chosen = {f"{ANNOTATIONS}/{whole.annotations.ids[row]}.xml" for row in rows}
    faults += [fault for fault in whole.faults if fault.file in chosen]
    return whole.select(list(rows), faults)
