"""Parse XML that strangers wrote: entity definitions, external entities and document types are refused.

A file without the bytes `<!` and without zero bytes cannot define an entity, so the fast parser takes it: expat reads
only encodings in which ASCII is itself, and UTF-16, whose markup holds zero bytes. All others go through defusedxml,
which is about ten times slower.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

import defusedxml.ElementTree as GuardedTree
from defusedxml import DefusedXmlException

LIMIT_BYTES = 16 * 2**20  # an annotation of one image is a few kilobytes


def parse_xml(content: bytes) -> Element:
    """The root element.

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
