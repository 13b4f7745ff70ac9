"""Flags of before still work, and say what they are called now."""

from __future__ import annotations

import pytest

from singleshot.cli.main import run
from singleshot.cli.renamed_flags import with_new_names


def test_an_old_flag_is_the_new_one_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "nowhere", "--clip-norm", "5", "--backbone-rate=0.1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[-1] for line in lines[:2]] == ["--grad-clip-norm", "--backbone-lr-factor"]
    assert "nowhere" in lines[2]


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("train set --lr 0.1", "train set --learning-rate 0.1"),
        ("train --data set --imgsz=640", "train set --input-size=640"),
        ("train --data=set --freeze --seed 3", "train set --backbone-lr-factor 0 --seed 3"),
        ("train set --freeze 10 --seed 3", "train set --backbone-lr-factor 0 --seed 3"),
        ("detect --source a.jpg --conf 0.3", "detect a.jpg --score 0.3"),
        ("evaluate set --weights best", "evaluate set --model best"),
        ("export --data set", "export --data set"),
    ],
)
def test_flags_of_other_programs_are_ours(given: str, ours: str) -> None:
    arguments, notes = with_new_names(given.split())
    assert arguments == ours.split()
    changed = [word for word in given.split() if word.startswith("--") and word not in ours.split()]
    assert [note.split()[0] for note in notes] == [word.partition("=")[0] for word in changed]


def test_a_flag_of_another_program_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detect", "--source", "nowhere.jpg", "--conf", "0.3"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "--source" in lines[0]
    assert lines[1].split()[-2:] == ["--score", "here"]
    assert "nowhere.jpg" in lines[2]
