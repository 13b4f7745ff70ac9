"""Every block of docs/python.md runs, one after the other, as a reader would run them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from singleshot.photographs import CHELSEA

DOCS = Path(__file__).parents[1] / "docs" / "python.md"


def test_every_block_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(data, tmp_path / "blood")
    shutil.copy(CHELSEA.path, tmp_path / "slide.jpg")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    text = DOCS.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert len(blocks) >= 6
    namespace: dict[str, object] = {"__name__": "docs"}
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block.group(1), str(DOCS), "exec"), namespace)  # noqa: S102 (our own page)
    assert (tmp_path / "runs/loss/last").is_dir()
