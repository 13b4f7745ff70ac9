"""Every command and flag that a message, a help text, the README or a page of docs names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from singleshot.cli.main import app
from singleshot.cli.renamed_flags import FOREIGN, RENAMED, with_new_names
from singleshot.cli.verbs import VERBS

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"(?:^|[`(\s;:])ssd ((?:data|weights) [a-z]+|[a-z]+)\b([^`\n;)]*)", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])(?<!var\()--[a-z][a-z-]*(?![a-z-]*:)")  # CSS has variables of that form
GROUPS = ("data", "weights")
OTHER_PROGRAMS = {
    "--standalone", "--nproc-per-node", "--no-python", "--data-binary", "--max-restarts", "--signal", "--requeue",
    "--preload", "--shm-size",
}  # fmt: skip
"""Flags of torchrun, SLURM, gunicorn and docker that messages name."""


def words_of_source() -> dict[str, str]:
    """File -> all of its string constants; an f-string's holes are left out."""
    texts = {}
    for file in sorted((ROOT / "src").rglob("*.py")):
        constants = [
            node.value
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        texts[str(file.relative_to(ROOT))] = "\n".join(constants)
    return texts


SOURCE = words_of_source()
PAGES = {
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8").replace("\\\n", " ")
    for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if file.name != "measurements.md"  # commands of their day
}


@cache
def flags(verb: str) -> set[str]:
    command = app
    for word in verb.split():
        command = command[word]
    renamed = RENAMED.get(verb, {}) | FOREIGN.get(verb, {})
    return {name for argument in command.assemble_argument_collection() for name in argument.names} | set(renamed)


def test_the_image_of_explain_answers_to_its_earlier_name() -> None:
    arguments, _ = with_new_names(["explain", "--picture", "photo.jpg"])
    assert arguments == ["explain", "--image", "photo.jpg"]
    assert "--image" in flags("explain")


@cache
def every_flag() -> set[str]:
    verbs = [verb for verb in VERBS if verb not in GROUPS]
    verbs += [f"{group} {name}" for group in GROUPS for name in app[group] if not name.startswith("-")]
    return {flag for verb in verbs for flag in flags(verb)} | {"--help", "--version"}


@pytest.mark.parametrize("file", [*SOURCE, *PAGES])
def test_commands_that_are_named_exist(file: str) -> None:
    for verb, rest in COMMAND.findall((SOURCE | PAGES)[file]):
        first, _, second = verb.partition(" ")
        assert first in VERBS, f"ssd {verb}"
        if second:
            assert second in set(app[first]), f"ssd {verb}"
        elif first in GROUPS:
            continue
        unknown = set(FLAG.findall(rest.split("#")[0])) - flags(verb) - {"--help"}
        assert not unknown, f"ssd {verb}{rest}"


@pytest.mark.parametrize("file", SOURCE)
def test_flags_that_are_named_exist(file: str) -> None:
    assert not set(FLAG.findall(SOURCE[file])) - every_flag() - OTHER_PROGRAMS


FILE = re.compile(r"`((?:[\w.*-]+/)+[\w*-]+\.(?:py|c|toml|md))\b")


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    for name in FILE.findall(PAGES[page]):
        places = [ROOT, ROOT / "src/singleshot", ROOT / "docs", ROOT / "tests"]
        assert any(list(place.glob(name)) for place in places), f"{page}: {name}"
