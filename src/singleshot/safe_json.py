"""Parse JSON that strangers wrote: NaN, Infinity and deep nesting are refused, with the place."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_CONSTANT = re.compile(rb"[\[:,\s](-?Infinity|NaN)\b")


def parse_json(content: bytes, *, each_object: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The value.

    Args:
        content: UTF-8 (with or without a byte order mark), UTF-16 or UTF-32.
        each_object: called with every object as soon as it is complete; what it returns takes its place.

    Raises:
        ValueError: one line: not JSON, not finite or nested too deep, with line and column.
    """
    try:
        return json.loads(content, object_hook=each_object, parse_constant=_refuse)
    except _NotFiniteError as error:
        place = _CONSTANT.search(content)
        line = content.count(b"\n", 0, place.start(1)) + 1 if place else 0
        raise ValueError(f"{error} is no JSON number (line {line})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not JSON: {error.reason} at byte {error.start}") from None
    except ValueError as error:  # a whole number of thousands of digits
        raise ValueError(f"not JSON: {str(error).partition(';')[0]}") from None
    except RecursionError:
        raise ValueError(f"nested too deep (first at {_deepest(content)})") from None


class _NotFiniteError(Exception):
    pass


def _refuse(name: str) -> Any:
    raise _NotFiniteError(name)


def _deepest(content: bytes, limit: int = 500) -> str:
    """Line and column where the nesting passes the limit; brackets inside text count, which is good enough here."""
    depth = 0
    for bracket in re.finditer(rb"[\[\]{}]", content):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > limit:
            line = content.count(b"\n", 0, bracket.start()) + 1
            column = bracket.start() - content.rfind(b"\n", 0, bracket.start())
            return f"line {line}, column {column}"
    return "an unknown place"
