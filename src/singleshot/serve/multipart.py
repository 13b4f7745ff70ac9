"""The files of a multipart/form-data body (RFC 7578), which was read whole: nothing is written to the disk."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from singleshot.serve.problems import Problem


def files_of(content_type: str, body: bytes, *, most: int) -> list[tuple[str, bytes]]:
    """Name and content of each file; a name is text of the client's and never a path.

    Raises:
        Problem: 400 for what is no such body or holds anything but files; 413 for more files than `most`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Problem(400, "the Content-Type of a multipart body needs a boundary")
    parts = _Parts(most)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_name,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_end,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Problem(400, f"not a multipart body: {' '.join(str(error).split())[:200]}") from None
    if not parts.files or parts.inside:
        raise Problem(
            400, "the multipart body ends within a part" if parts.inside else "the multipart body holds no file"
        )
    return parts.files


class _Parts:
    """What the parser has met so far."""

    def __init__(self, most: int) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.inside = False
        self._most = most
        self._name = ""
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._content: list[bytes] = []

    def begin(self) -> None:
        if len(self.files) == self._most:
            raise Problem(413, f"more than {self._most} images in one request")
        self.inside, self._disposition, self._content = True, b"", []

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            field = options.get(b"name", b"").decode(errors="replace")[:100]
            raise Problem(400, f"the part {field!r} is no file; score and classes belong into the address: ?score=0.5")
        self._name = options[b"filename"].decode(errors="replace")

    def data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def end(self) -> None:
        self.files.append((self._name, b"".join(self._content)))
        self.inside = False
