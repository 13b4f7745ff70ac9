"""Parse XML that strangers wrote: entity definitions, external entities and document types are refused.

A file without any `<!` in a plain encoding cannot define an entity, so the fast parser takes it; all others go through
defusedxml, which is about ten times slower.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import defusedxml.ElementTree as GuardedTree
from defusedxml import DefusedXmlException

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LIMIT_BYTES = 16 * 2**20  # an annotation of one picture is a few kilobytes
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_PLAIN = {b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1", b"windows-1252"}  # where `<!` is always these two bytes


def parse_xml(content: bytes) -> Element:
    """The root element.

    Raises:
        ValueError: not XML, too large, or it defines entities or a document type; one line.
    """
    if len(content) > LIMIT_BYTES:
        raise ValueError(f"at most {LIMIT_BYTES} bytes of XML for one picture, got {len(content)}")
    declared = _ENCODING.match(content.removeprefix(b"\xef\xbb\xbf"))
    plain = declared is None or declared[1].lower() in _PLAIN
    try:
        if plain and b"<!" not in content and b"\0" not in content:
            return ET.fromstring(content)  # noqa: S314  (it cannot define entities)
        return GuardedTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise ValueError("XML that defines entities or a document type is refused") from None
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"not XML: {error}") from None
