"""The lists of mutants are up to date, and the harness tells a killed mutant from one that survives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mutate
import pytest

MUTANTS = mutate.read_mutants(mutate.ROOT / "tests" / "mutants")

ENTRY = """
[[mutant]]
file = "src/least.py"
find = "{find}"
replace = "{replace}"
test = "tests/test_least.py::{test}"
why = "{why}"
"""


def test_there_are_mutants() -> None:
    assert MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.room}-{mutant.why}")
def test_every_mutant_can_be_applied(mutant: mutate.Mutant) -> None:
    assert mutant.fault(mutate.ROOT) is None


def test_no_mutant_is_listed_twice() -> None:
    counts = Counter((mutant.file, mutant.find, mutant.replace) for mutant in MUTANTS)
    assert [key for key, count in counts.items() if count > 1] == []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take seconds to load
    root = tmp_path / "project"
    for folder in ("src", "tests/mutants"):
        (root / folder).mkdir(parents=True)
    (root / "src/least.py").write_text("def least(a, b):\n    return a if a < b else b\n")
    (root / "tests/test_least.py").write_text(
        "import pytest\nfrom least import least\n\n"
        "def test_strict():\n    assert least(1, 2) == 1\n\n"
        "def test_equal():\n    assert least(2, 2) == 2\n\n"
        "@pytest.mark.skip(reason='no data')\ndef test_skipped():\n    assert least(1, 2) == 1\n"
    )
    return root


@pytest.mark.parametrize(
    ("test", "find", "replace", "outcome"),
    [
        ("test_strict", "a < b", "a > b", "killed"),
        ("test_equal", "a < b", "a <= b", "survived"),
        ("test_skipped", "a < b", "a > b", "skipped"),
        ("test_strict", "a <= b", "a > b", "stale"),
        ("test_gone", "a < b", "a > b", "stale"),
        ("test_strict", "return a if", "return a iff", "broken"),
    ],
)
def test_outcomes(
    project: Path, capsys: pytest.CaptureFixture[str], test: str, find: str, replace: str, outcome: str
) -> None:
    source = (project / "src/least.py").read_text()
    entry = ENTRY.format(test=test, find=find, replace=replace, why="the least number")
    (project / "tests/mutants/numbers.toml").write_text(entry)
    assert mutate.main(["--jobs", "1"], root=project) == (0 if outcome == "killed" else 1)
    assert f"[1/1] {outcome}" in capsys.readouterr().out
    assert (project / "src/least.py").read_text() == source


def test_a_test_that_never_ends_is_stopped_and_its_mutant_killed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = ENTRY.format(test="test_strict", find="return a if", replace="while True: a if", why="it ends")
    (project / "tests/mutants/numbers.toml").write_text(entry)
    assert mutate.main(["--timeout", "3"], root=project) == 0
    assert "killed" in capsys.readouterr().out


def test_one_room_or_file_can_be_chosen(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = ENTRY.format(test="test_strict", find="a < b", replace="a > b", why="the least number")
    for room in ("first", "second"):
        (project / f"tests/mutants/{room}.toml").write_text(entry)
    assert mutate.main(["--only", "second"], root=project) == 0
    assert "1 mutants: 1 killed" in capsys.readouterr().out
    assert mutate.main(["--only", "src/other.py"], root=project) == 2
