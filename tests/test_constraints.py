"""The pinned set-up: versions without addresses, and the hashes of the same versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"^([\w.-]+)==([\w.+]+)(?: ; [^\n\\]*)?", re.MULTILINE)
HASHED = re.compile(
    r"^([\w.-]+)==([\w.+]+)(?: ; [^\n\\]*)? *\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_version_of_the_set_up_has_its_hashes() -> None:
    hashed = {canonicalize_name(name): version for name, version, _ in HASHED.findall(text("hashes.txt"))}
    pinned = {canonicalize_name(name): version for name, version in PINNED.findall(text("constraints.txt"))}
    assert len(pinned) > 100
    assert {name: hashed.get(name) for name in pinned} == pinned, "run `make hashes`"


@pytest.mark.parametrize("name", ["hashes.txt", "release-tools.txt"])
def test_every_line_is_a_pin_or_a_hash(name: str) -> None:
    assert HASHED.sub("", text(name)) == ""


@pytest.mark.parametrize("name", ["constraints.txt", "hashes.txt", "release-tools.txt"])
def test_no_address_is_in_them(name: str) -> None:
    assert not re.search(
        r"://|^\s*-(?:i|f)\b|--(?:index|extra-index|find-links|trusted-host)", text(name), re.MULTILINE
    )
