"""The report: one HTML file that holds all it needs, opens anywhere and runs nothing.

No script, no link, no request (a content security policy forbids them); every name is escaped; images are small JPEGs
inside the page, which stays below 5 MB.
"""

from __future__ import annotations

from html import escape
from importlib import metadata
from pathlib import Path

from singleshot.files import write_whole
from singleshot.report import sections
from singleshot.report.content import ReportContent
from singleshot.report.gallery import gallery_of
from singleshot.report.style import STYLE

__all__ = ["ReportContent", "render", "write_report"]

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head><body><main>
"""


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page to `path`: beside it first, then renamed, so that there is never half a page.

    Raises:
        MachineError: no space left on the disk.
    """
    write_whole(path, render(content).encode("utf-8", errors="replace"))


def render(content: ReportContent) -> str:
    """The page as text."""
    parts = [HEAD.format(title=escape(content.title), style=STYLE), f"<h1>{escape(content.title)}</h1>"]
    parts.append(sections.headline(content))
    parts.append(section("Notes", sections.lines(content.notes)))
    parts.append(section("Detections in photographs", sections.showcase(content.showcase)))
    parts.append(section("Training", sections.training(content.history)))
    if content.rate_search is not None:
        parts.append(section("Search for the learning rate", sections.rate_search(content.rate_search)))
    if content.evaluation is not None:
        parts.append(section("Proposals", sections.proposals(content.evaluation)))
        parts.append(section("Average precision by class", sections.classes(content.evaluation, content.before)))
        parts.append(section("COCO's numbers", sections.numbers(content.evaluation, content.before)))
        parts.append(section("Precision and recall", sections.curves(content.evaluation, content.before)))
    parts.append(section("Default boxes and objects", sections.lines(content.box_recall)))
    gallery = gallery_of(content)
    if gallery is not None:
        best, worst = gallery.best_and_worst(content.images_shown)
        parts.append(section("Images that went best", sections.images(gallery, best)))
        parts.append(section("Images that went worst", sections.images(gallery, worst)))
    parts.append(section("Configuration", sections.configuration(content.configuration)))
    if content.command:
        parts.append(section("Command", f'<div class="card"><pre>{escape(content.command)}</pre></div>'))
    parts.append(f"<footer>singleshot {escape(metadata.version('singleshot'))}</footer></main></body></html>\n")
    return "\n".join(part for part in parts if part)


def section(title: str, body: str) -> str:
    """A section with its heading; nothing where it has no body."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""
