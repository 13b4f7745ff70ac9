"""Parse VOC's annotation of one image, an untrusted XML file."""

from __future__ import annotations

import codecs
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import defusedxml.ElementTree as GuardedTree
from defusedxml import DefusedXmlException, DTDForbidden

from singleshot.data.faults import Fault
from singleshot.data.outlines import POLYGONS, TURNED, Box, box_of_points, box_of_rotated

LIMIT_BYTES = 16 * 2**20  # an annotation of one image is a few kilobytes
LONGEST_DECLARATION = 1000  # bytes
_NOT_DECODED = {"utf-8", "ascii", "idna", "punycode"}
"""What expat reads by itself, and codes of host names, whose decoding takes the square of the length."""
_DECLARATION = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*[\"'](?P<encoding>[A-Za-z0-9._-]{1,40})[\"'][^>]*\?>"
)


@dataclass(frozen=True)
class VocImage:
    """One annotation file: the stated size (0: none), and the objects as (number, box, class name, difficult).

    `notes` count what was converted, by a text that follows the number.
    """

    filename: str
    width: int
    height: int
    objects: tuple[tuple[int, tuple[float, ...], str, bool], ...]
    faults: tuple[Fault, ...]
    notes: Counter[str] = field(default_factory=Counter)


def read_voc_xml(content: bytes, name: str) -> VocImage:
    """Parse one annotation; a malformed object becomes a fault.

    Raises:
        ValueError: not a VOC annotation.
    """
    element = parse_xml(content)
    if element.tag != "annotation":
        raise ValueError(f"expected <annotation>, got <{element.tag[:40]}>")
    objects, faults, notes = [], [], Counter[str]()
    for number, item in enumerate(element.iterfind("object"), 1):
        try:
            objects.append((number, *_read_object(item, notes)))
        except ValueError as error:
            faults.append(Fault("malformed", name, str(error), number))
    width, height = (_size(element, side) for side in ("width", "height"))
    filename = (element.findtext("filename") or "").strip()
    return VocImage(filename, width, height, tuple(objects), tuple(faults), notes)


def parse_xml(content: bytes) -> Element:
    """The root element. Entity definitions and external references are refused; a plain `<!DOCTYPE name>` is not.

    A file without the bytes `<!` and without zero bytes cannot define an entity, so the fast parser takes it: expat
    reads only encodings that contain ASCII, and UTF-16, whose markup holds zero bytes. All others go through
    defusedxml, which is about ten times slower. A declared encoding that expat lacks (GBK, Shift JIS) is decoded by
    Python first; the text then goes through the same checks.

    Raises:
        ValueError: not XML, too large, or it defines entities or names another document; one line.
    """
    if len(content) > LIMIT_BYTES:
        raise ValueError(f"at most {LIMIT_BYTES} bytes of XML for one image, got {len(content)}")
    try:
        return _parse(content)
    except DefusedXmlException:
        raise ValueError("XML that defines entities or names another document is refused") from None
    except (ET.ParseError, LookupError, ValueError) as error:
        if (decoded := _decoded(content)) is None:
            raise ValueError(f"not XML: {error}{_advice(content)}") from None
    try:
        return _parse(decoded)
    except DefusedXmlException:
        raise ValueError("XML that defines entities or names another document is refused") from None
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"not XML: {error}") from None


def _parse(content: bytes) -> Element:
    if b"<!" not in content and b"\0" not in content:
        return ET.fromstring(content)  # noqa: S314  (it cannot define entities)
    return _parse_guarded(content)


def _parse_guarded(content: bytes) -> Element:
    try:
        return GuardedTree.fromstring(content, forbid_dtd=True)
    except DTDForbidden as error:
        if error.sysid is not None or error.pubid is not None:
            raise
        return GuardedTree.fromstring(content)  # entities stay forbidden


def _decoded(content: bytes) -> bytes | None:
    """The file in UTF-8, without its declaration, where it declares an encoding that Python knows; else None."""
    declared = _DECLARATION.match(content, 0, LONGEST_DECLARATION)
    if declared is None:
        return None
    try:
        codec = codecs.lookup(declared["encoding"].decode("ascii"))
        if codec.name in _NOT_DECODED:
            return None
        return content[declared.end() :].decode(codec.name).encode()
    except (LookupError, ValueError):
        return None


def _advice(content: bytes) -> str:
    """What to do about letters that are not in the encoding that the file declares."""
    try:
        content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return '; its letters are not UTF-8: declare their encoding in the first line, as encoding="gbk"'
    return ""


def _size(element: Element, side: str) -> int:
    text = (element.findtext(f"size/{side}") or "0").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


def _read_object(item: Element, notes: Counter[str]) -> tuple[tuple[float, ...], str, bool]:
    name = (item.findtext("name") or "").strip()
    if not name:
        raise ValueError("the object has no <name>")
    box: tuple[float, ...]
    if item.find("bndbox") is None and item.find("robndbox") is not None:
        box = _box_of_oriented(item)
        notes[TURNED] += 1
    elif item.find("bndbox") is None and item.find("polygon") is not None:
        box = _box_of_polygon(item)
        notes[POLYGONS] += 1
    else:
        box = tuple(_number(item, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    return box, name, (item.findtext("difficult") or "").strip() == "1"


def _box_of_oriented(item: Element) -> Box:
    """The upright box of roLabelImg's `<robndbox>`: centre, sides, and an angle in radians."""
    x, y, width, height, angle = (_number(item, f"robndbox/{side}") for side in ("cx", "cy", "w", "h", "angle"))
    upright = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return box_of_rotated(upright, math.degrees(angle), about=(x, y))


def _box_of_polygon(item: Element) -> Box:
    """The upright box of `<polygon>`: its corners are `<x1>`, `<y1>`, `<x2>` ..., or elements `<pt>` with x and y."""
    points = [(_number(point, "x"), _number(point, "y")) for point in item.iterfind("polygon/pt")]
    while item.find(f"polygon/x{len(points) + 1}") is not None:
        number = len(points) + 1
        points.append((_number(item, f"polygon/x{number}"), _number(item, f"polygon/y{number}")))
    if not points:
        raise ValueError("the <polygon> has no corners <x1>, <y1>, <x2> ...")
    return box_of_points(points)


def _number(item: Element, place: str) -> float:
    """The number in the element at a place, such as `bndbox/xmin`."""
    *above, side = place.split("/")
    text = item.findtext(place)
    if text is None:
        raise ValueError(f"the object has no {''.join(f'<{name}>' for name in above)}<{side}>")
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"<{side}> must be a number, got {text[:40]!r}") from None
