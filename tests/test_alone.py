"""Every test file stands alone: it imports what it needs itself, and order and threads are nobody's to inherit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

IMPORT_EACH = """
import importlib.util, os, sys, traceback, warnings
import cv2, hypothesis, numpy, openvino, PIL.Image, pydantic, pytest, torch, torchvision
failed = []
for path in sys.argv[1:]:
    child = os.fork()  # what one file imports, the next has not
    if child == 0:
        try:
            specification = importlib.util.spec_from_file_location("alone", path)
            module = importlib.util.module_from_spec(specification)
            sys.modules["alone"] = module
            specification.loader.exec_module(module)
        except pytest.skip.Exception:
            pass
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(path)
sys.exit(f"cannot be imported alone: {', '.join(failed)}" if failed else 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_every_file_can_be_imported_alone() -> None:
    paths = [str(path) for path in sorted(TESTS.rglob("test_*.py"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent / "scripts"), *sys.path))}
    result = subprocess.run(
        (sys.executable, "-W", "ignore", "-c", IMPORT_EACH, *paths),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("left_behind", [1, 3])
def test_no_test_inherits_a_number_of_threads(left_behind: int) -> None:
    """Whichever of the two comes first, the other starts with one thread."""
    import torch

    assert torch.get_num_threads() == 1
    torch.set_num_threads(left_behind)


def test_an_order_is_repeated_by_its_seed(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"test_{name}.py").write_text("".join(f"def test_{i}():\n    pass\n" for i in range(6)))
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text().replace("pytest_plugins", "unused"))

    def order(*options: str) -> list[str]:
        command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options, ".")
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return [line for line in result.stdout.splitlines() if "::" in line]

    as_written, first, again = order(), order("--order-seed=5"), order("--order-seed=5")
    assert first == again
    assert first != as_written
    assert sorted(first) == sorted(as_written)
    files = [name.partition("::")[0] for name in first]
    assert files == sorted(files, key=files.index), "the tests of a file stay together"
