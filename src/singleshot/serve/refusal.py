"""A refusal that costs next to nothing, so that under overload the processor is left to those who are answered.

It is for plain requests alone: a POST whose whole head has come at once, with one Content-Length. Of these the body is
thrown away and the connection goes on. All others take the long way, and get the same answer from the application.
"""

from __future__ import annotations

import functools
import re
from http import HTTPStatus
from typing import NamedTuple

from singleshot.serve.gate import SECURITY_HEADERS
from singleshot.serve.problems import Problem

MOST_HEAD_BYTES = 16_384
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*\r\n")
SPECIAL = (b"transfer-encoding", b"expect", b"connection:", b"upgrade", b"\r\n ", b"\r\n\t", b"\0")
"""What makes the end of a request, or of a connection, depend on more than its length."""


class PlainPost(NamedTuple):
    """A POST request: its path, without the query, and how many bytes of its body are still to come."""

    path: str
    missing: int


def plain_post(data: bytes, *, max_body_bytes: int) -> PlainPost | None:
    """The request that these bytes begin with; None: it is no plain one, or there is more than one."""
    end = data.find(b"\r\n\r\n", 0, MOST_HEAD_BYTES)
    if end < 0 or not data.startswith(b"POST /"):
        return None
    head = data[: end + 2].lower()
    first = head[: head.index(b"\r\n")]
    lines = head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r")
    length = LENGTH.search(head)
    if (
        length is None
        or not lines
        or first.count(b" ") != 2
        or not first.endswith(b" http/1.1")
        or head.count(b"content-length") != 1
        or any(word in head for word in SPECIAL)
    ):
        return None
    missing = int(length[1]) - (len(data) - end - 4)
    if missing < 0 or int(length[1]) > max_body_bytes:
        return None
    return PlainPost(data.split(b" ", 2)[1].partition(b"?")[0].decode("latin-1"), missing)


def refusal(problem: Problem, path: str) -> bytes:
    """The response that tells this problem, as it is sent."""
    return _response(problem.status, problem.detail, tuple(problem.headers.items()), path[:3])


@functools.lru_cache(maxsize=1000)
def _response(status: int, detail: str, headers: tuple[tuple[str, str], ...], root: str) -> bytes:
    """Made once for each number of images that wait and of seconds to wait, which are few."""
    response = Problem(status, detail, dict(headers)).response(root)
    response.headers.update(SECURITY_HEADERS)
    lines = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return first + lines + b"\r\n" + bytes(response.body)
