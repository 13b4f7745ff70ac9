"""Pages from the templates beside this file: one HTML file that holds all it needs, opens anywhere and runs nothing.

No script, no link, no request (a content security policy forbids them). Whatever a template is given is escaped, unless
it is `Markup` of ours.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from singleshot.console import percent
from singleshot.files import write_whole


def render_page(template: str, **content: Any) -> str:
    """The page as text; `content` is what its template names, and the `title`."""
    return _environment().get_template(template).render(version=metadata.version("singleshot"), **content)


def write_page(path: Path, page: str) -> None:
    """Write the page whole or not at all.

    Raises:
        MachineError: no space left on the disk.
    """
    write_whole(path, page.encode("utf-8", errors="replace"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("singleshot.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "points": lambda fraction: f"{100 * fraction:+.1f}",
        "thousands": lambda count: f"{count:,}",
    }
    return environment
