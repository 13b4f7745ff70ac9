"""Every page of docs/ is in the site's navigation, its pictures exist, and new pages' blocks of Python run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from method_pictures import draw_pictures

DOCS = Path(__file__).parents[1] / "docs"
SITE = yaml.safe_load((DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"))


def pages(items: list[Any]) -> list[str]:
    return [
        page
        for item in items
        for value in item.values()
        for page in (pages(value) if isinstance(value, list) else [value])
    ]


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(pages(SITE["nav"])) == sorted(file.name for file in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", ["index.md", "how-ssd-works.md"])
def test_blocks_of_python_run(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert blocks
    namespace: dict[str, object] = {"__name__": "docs"}
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block.group(1), str(DOCS / page), "exec"), namespace)  # noqa: S102 (our own page)


@pytest.mark.parametrize("page", ["index.md", "how-ssd-works.md", "troubleshooting.md", "coming-from.md"])
def test_links_and_pictures_exist(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (DOCS / target).is_file(), target


def test_nothing_is_loaded_from_another_host() -> None:
    assert SITE["theme"]["highlightjs"] is False
    assert SITE["extra_css"] == ["site.css"]
    assert "url(" not in (DOCS / "site.css").read_text(encoding="utf-8")
    assert "extra_javascript" not in SITE


def test_the_pictures_of_the_method_can_be_drawn() -> None:
    pictures = draw_pictures()
    assert {f"ssd-{name}.jpg" for name in pictures} == {file.name for file in (DOCS / "images").glob("ssd-*.jpg")}
    for picture in pictures.values():
        assert picture.shape[1] > 2 * picture.shape[0] or picture.shape[0] > 400
        assert picture.std() > 20
