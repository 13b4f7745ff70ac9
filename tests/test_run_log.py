"""A run's log where there is no terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from singleshot.train import run_log
from singleshot.train.run_log import RunLog

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_without_a_terminal_steps_and_validations_are_told_in_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = io.StringIO()
    with RunLog(tmp_path, steps=9, console=Console(file=told, width=200)) as log:
        log.advance(1, "loss 3")
        assert told.getvalue() == ""  # not yet half a minute
        monkeypatch.setattr(run_log, "LINE_EVERY", 0.0)
        log.advance(2, "loss 2")
        log.counter("validating", 30)(12)
    lines = told.getvalue().split("\n")
    assert [line for line in lines if line] == ["step 2/9  loss 2", "validating: 12 of 30 images"]
