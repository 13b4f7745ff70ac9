"""docs/paper-map.md names live code only: files that exist, names defined in them, each used somewhere in src."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "singleshot"


def entries() -> list[tuple[str, str]]:
    """File and name (or "") of every mention in the last column of the tables."""
    found = []
    for line in (ROOT / "docs" / "paper-map.md").read_text().splitlines():
        if not line.startswith("|"):
            continue
        file = ""
        for token in re.findall(r"`([^`]+)`", line.rstrip("| ").rpartition("|")[2]):
            file, name = (token, "") if token.endswith(".py") else (file, token)
            found.append((file, name))
    return found


@cache
def defined(path: Path) -> set[str]:
    """Functions, classes, constants and parameters of a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@cache
def words_of_src() -> dict[str, int]:
    """How often each identifier occurs in the code of src, its definitions included; text in quotes does not count."""
    counts: dict[str, int] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Name):
                names = [node.id]
            elif isinstance(node, ast.Attribute):
                names = [node.attr]
            elif isinstance(node, ast.keyword) and node.arg:
                names = [node.arg]
            for name in names:
                counts[name] = counts.get(name, 0) + 1
    return counts


@pytest.mark.parametrize(("file", "name"), entries())
def test_what_the_map_names_is_live_code(file: str, name: str) -> None:
    path = ROOT / file if file.startswith("tests/") else SOURCE / file
    assert path.is_file(), file
    if name:
        assert name in defined(path), f"{name} is not defined in {file}"
    if name and not file.startswith("tests/"):
        stored = name.isupper()  # the assignment itself is one occurrence
        assert words_of_src().get(name, 0) > stored, f"nothing in src uses {name}"


def test_every_equation_is_in_the_map() -> None:
    text = (ROOT / "docs" / "paper-map.md").read_text()
    assert all(f"eq. {number}" in text for number in (1, 2, 3, 4))
