"""`make soak`: its rows name what exists, a stopped run goes on, and the page's table is written in its place."""

from __future__ import annotations

from pathlib import Path

import input_drills
import pytest
import serve_drills
import soak


@pytest.mark.parametrize("command", [text for row in soak.ROWS for text in (row.command, row.quick) if text])
def test_every_command_names_what_exists(command: str) -> None:
    _, (_, *words) = soak.arguments_of(command)
    files = [word for word in words if word.endswith(".py")]
    assert files
    assert all((soak.ROOT / file).is_file() for file in files)
    for drills in (input_drills, serve_drills):
        if files[0] == f"benchmarks/{drills.__name__}.py":
            assert words[1] in drills.DRILLS


def test_every_drill_has_a_row() -> None:
    commands = "\n".join(row.command for row in soak.ROWS)
    for file, drills in ((soak.INPUTS, input_drills.DRILLS), (soak.SERVING, serve_drills.DRILLS)):
        assert [name for name in drills if f"{file} {name}" not in commands] == []


def script(folder: Path, code: str) -> str:
    (folder / "drill.py").write_text(f"open({str(folder / 'runs')!r}, 'a').write('x')\n{code}")
    return str(folder / "drill.py")


def test_only_what_this_revision_has_not_shown_is_run(tmp_path: Path) -> None:
    row = soak.Row("f", "1", script(tmp_path, "print('3 of 3')"))
    for code, runs in (("a", 1), ("a", 1), ("b", 2)):
        results = soak.soak([(row, row.command)], tmp_path / "results.json", code=code)
        assert results[row.command].kept
        assert results[row.command].figure == "3 of 3"
        assert len((tmp_path / "runs").read_text()) == runs
    script(tmp_path, "raise SystemExit('bad | luck')")
    for runs in (3, 4):  # a broken promise is tried again
        results = soak.soak([(row, row.command)], tmp_path / "results.json", code="c")
        assert not results[row.command].kept
        assert len((tmp_path / "runs").read_text()) == runs
    assert "| f | 1 | **broken**: bad / luck |" in soak.table([(row, row.command)], results)


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    command = script(tmp_path, "import subprocess; subprocess.run(['sleep', '100'])")
    result = soak.execute(command, most_seconds=0.5, code="")
    assert not result.kept
    assert "more than" in result.figure
    assert result.seconds < 60


def test_skipped_tests_show_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("import pytest\ndef test_a():\n    pytest.skip('absent')\n")
    result = soak.execute(f"pytest --noconftest -c /dev/null {tmp_path / 'test_a.py'}", most_seconds=100, code="")
    assert not result.kept
    assert "1 skipped" in result.figure


@pytest.mark.parametrize(("said", "kept"), [("  FAULT memory grew by 300 MB", True), ("Traceback", False)])
def test_a_drill_that_must_notice_has_to_say_so(tmp_path: Path, said: str, kept: bool) -> None:
    file = script(tmp_path, f"import sys; print({said!r}); sys.exit(1)")
    assert soak.execute(f"{file} leak --leaking", most_seconds=100, code="").kept is kept
    assert not soak.execute(file, most_seconds=100, code="").kept


def test_the_table_is_written_in_its_place() -> None:
    page = f"a\n{soak.BEGIN}\nold\n{soak.END}\nb\n"
    assert soak.with_table(page, "new") == page.replace("old", "new")
    assert soak.BEGIN in soak.PAGE.read_text(encoding="utf-8")
