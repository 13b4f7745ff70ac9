"""docs/licences.md is what the metadata of the installed packages say."""

from __future__ import annotations

import tomllib
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import licences
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HINT = "run `python scripts/licences.py`, and read what changes"


def rows(page: str) -> dict[str, dict[str, str]]:
    """Heading -> package -> licence."""
    sections: dict[str, dict[str, str]] = {}
    for line in page.splitlines():
        if line.startswith("## "):
            sections[line[3:]] = {}
        elif line.startswith("| ") and len(cells := line.strip("| ").split(" | ")) == 2:
            sections[list(sections)[-1]].update(dict.fromkeys(cells[1].split(", "), cells[0]))
    return sections


def test_the_page_is_current_for_what_is_installed() -> None:
    page, current = licences.PAGE.read_text(encoding="utf-8"), licences.page(licences.Installed())
    written = rows(page)
    for heading, packages in rows(current).items():
        for name, licence in packages.items():
            if licence != licences.UNKNOWN:  # another platform, or an extra that is not installed here
                assert written[heading].get(name) == licence, f"{heading}: {name}: {HINT}"
    codecs = page.partition("## GPL codecs")[2].partition("\n## ")[0]
    for line in current.partition("## GPL codecs")[2].partition("\n## ")[0].splitlines():
        assert line in codecs, HINT


def test_every_requirement_of_every_extra_has_its_row() -> None:
    project = tomllib.loads((licences.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set[str]().union(*rows(licences.PAGE.read_text(encoding="utf-8")).values())
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        for requirement in requirements:
            name = canonicalize_name(Requirement(requirement).name)
            assert name in named or name == "singleshot", f"{name}: {HINT}"


@pytest.mark.parametrize(
    ("fields", "text", "expected"),
    [
        ({"License-Expression": "MIT", "License": "BSD"}, "", "MIT"),
        ({"Classifier": "License :: OSI Approved :: Apache Software License"}, "", "Apache-2.0"),
        ({"License": "New BSD"}, "", "BSD-3-Clause"),
        (
            {"Classifier": "License :: OSI Approved :: BSD License"},
            "Redistributions\nNeither\nthe name",
            "BSD-3-Clause",
        ),
        ({"Classifier": "License :: OSI Approved :: BSD License"}, "Redistributions in", "BSD-2-Clause"),
        ({"License": "Copyright\nRedistribution and use"}, "", "BSD-2-Clause"),
        ({}, "", "none named"),
    ],
)
def test_the_licence_of_a_package(tmp_path: Path, fields: dict[str, str], text: str, expected: str) -> None:
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value
    (tmp_path / "LICENSE").write_text(text)
    file: Any = SimpleNamespace(name="LICENSE", locate=lambda: tmp_path / "LICENSE")
    assert licences.licence(SimpleNamespace(metadata=metadata, files=[file])) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "libraries"),
    [
        ("av.libs/libx264-d6533a8d.so.165,sha256=x,1", {"x264"}),
        ("a/b.py,,\nav.libs/x265.dll,sha256=x,1", {"x265"}),
        ("av.libs/libavcodec.so,,", set()),
        ("x264_notes.py,,\nlibx264/__init__.py,,", set()),
    ],
)
def test_gpl_libraries_are_known_by_their_files(record: str, libraries: set[str]) -> None:
    distribution: Any = SimpleNamespace(read_text=lambda _name: record)
    assert licences.gpl_libraries(distribution) == libraries
