"""Flags of before still work, and say what they are called now."""

from __future__ import annotations

import pytest

from singleshot.cli.main import run


def test_an_old_flag_is_the_new_one_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "nowhere", "--clip-norm", "5", "--backbone-rate=0.1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[-1] for line in lines[:2]] == ["--grad-clip-norm", "--backbone-lr-factor"]
    assert "nowhere" in lines[2]
