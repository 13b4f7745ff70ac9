from __future__ import annotations

import subprocess
import sys

import pytest

import singleshot
from singleshot import errors
from singleshot.cli.verbs import VERBS

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None; "


def run_without_torch(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT_TORCH + code], capture_output=True, text=True, check=False)


def test_every_public_name_is_there_and_documented() -> None:
    for name in singleshot.__all__:
        assert getattr(singleshot, name).__doc__, name
    assert sorted(singleshot.__all__) == sorted(singleshot._HOMES)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="Detectr"):
        _ = singleshot.Detectr  # type: ignore[attr-defined]


def test_old_names_still_work() -> None:
    assert singleshot.Truths is singleshot.GroundTruth  # type: ignore[attr-defined]
    assert errors.PictureError is errors.ImageError


def test_public_names_need_no_torch() -> None:
    done = run_without_torch("import singleshot; [getattr(singleshot, name) for name in singleshot.__all__]")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_needs_no_torch(verb: str | None) -> None:
    arguments = [verb, "--help"] if verb else ["--help"]
    done = run_without_torch(f"from singleshot.cli.main import run; sys.exit(run({arguments!r}))")
    assert done.returncode == 0, done.stderr
    assert "Usage: ssd" in done.stdout


def test_training_without_torch_names_the_extra_to_install() -> None:
    done = run_without_torch("from singleshot.cli.main import run; sys.exit(run(['train', 'data']))")
    assert done.returncode == 2
    assert "singleshot[train]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_shipped_model_detects_without_torch() -> None:
    done = run_without_torch(
        "from singleshot.cli.main import run; from singleshot.photographs import CHELSEA; "
        "sys.exit(run(['detect', str(CHELSEA.path)]))"
    )
    assert done.returncode == 0, done.stderr
    assert "cat" in done.stdout.partition(": ")[2]
