"""`benchmarks/gpu_paper.py` on the CPU: it measures, stops in time, goes on and evaluates."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import gpu_paper
import pytest

from data_fixtures import voc
from singleshot.train.signals import Stopped

if TYPE_CHECKING:
    from pathlib import Path


def test_pieces_end_in_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images: dict[str, Any] = {f"p{i}": [("cat", (2 + i, 3, 20 + i, 22))] for i in range(4)}
    data = voc(tmp_path / "voc", images, {"trainval": list(images), "test": list(images)[:2]})
    words = ["--init", "none", "--width", "0.02", "--batch-size", "2", "--steps", "2", "--workers", "0"]
    command = ["gpu_paper.py", str(data), *words, "--device", "cpu", "--out", str(tmp_path / "out")]
    train = gpu_paper.train_command

    def stopped(*_arguments: Any, **_options: Any) -> int:
        raise Stopped(signal.SIGTERM, 1)

    monkeypatch.setattr("sys.argv", command)
    monkeypatch.setattr(gpu_paper, "train_command", stopped)
    gpu_paper.main()
    shown = capsys.readouterr().out
    assert "loader alone" in shown
    assert "step 1 of 2 is saved: call again to go on" in shown
    assert not (tmp_path / "out/figures.json").exists()
    monkeypatch.setattr(gpu_paper, "train_command", train)
    gpu_paper.main()
    figures = json.loads((tmp_path / "out/figures.json").read_text())
    assert figures["paper_percent"] == 68.0
    assert set(figures["images_per_second"]) == {"loader", "steps", "together"}
    assert 0 <= figures["mAP"] <= 1


def test_who_waits_for_whom_is_said() -> None:
    assert "works 50% of the time; it waits for images" in gpu_paper.told({"loader": 60, "steps": 100, "together": 50})
    assert "the loader keeps it busy" in gpu_paper.told({"loader": 300, "steps": 100, "together": 97})
