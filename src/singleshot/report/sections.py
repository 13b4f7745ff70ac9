"""Parts for pages that are not made from a template yet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from singleshot.console import percent

__all__ = ["lines", "percent"]


def lines(texts: Sequence[str]) -> str:
    """A list of lines."""
    return f'<div class="card"><ul>{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul></div>' if texts else ""
