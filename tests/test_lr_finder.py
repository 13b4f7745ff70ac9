from __future__ import annotations

import json
import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from data_fixtures import voc
from singleshot.cli.main import run
from singleshot.errors import RequestError
from singleshot.train.lr_finder import RESULT, _search, read_rate_search
from singleshot.train.step import TrainStep

if TYPE_CHECKING:
    from pathlib import Path


def test_the_steepest_place_is_suggested() -> None:
    rates = np.geomspace(1e-6, 1, 100)
    falls_at_1e_3 = 8 - 5 / (1 + (1e-3 / rates) ** 2) + 60 * rates**2
    noise = np.random.default_rng(0).normal(0, 0.1, 100)
    found = _search(rates, falls_at_1e_3 + noise, recipe_rate=0.05)
    assert 4e-4 < found.suggested < 4e-3
    assert found.recipe == 0.05


def test_a_loss_that_is_not_finite_ends_the_curve() -> None:
    rates = np.geomspace(1e-6, 1, 60)
    losses = np.append(np.linspace(8, 4, 59), np.nan)
    assert len(_search(rates, losses, recipe_rate=1.0).losses) == 59


def test_a_loss_that_never_falls_is_said() -> None:
    with pytest.raises(RequestError, match="fell at no rate"):
        _search(np.geomspace(1e-6, 1, 60), np.linspace(4, 8, 60), recipe_rate=1.0)


def test_the_search_leaves_the_folder_free_for_a_run_whose_report_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images: dict[str, Any] = {f"p{i}": [("cell" if i % 2 else "dot", (2 + i, 3, 20 + i, 22))] for i in range(8)}
    data = voc(tmp_path / "voc", images, {"train": list(images)})
    settings = "--input-size 64x64 --init none --batch-size 4 --workers 0 --precision fp32 --threads 1 --val-split none"
    command = ["train", str(data), "--out", str(tmp_path / "run"), "--boxes", "keep", *settings.split()]
    assert run([*command, "--find-rate"]) == 0
    assert "suggested: --learning-rate" in " ".join(capsys.readouterr().err.split())
    assert "Search for the learning rate" in (tmp_path / "run/learning-rate.html").read_text()
    found = read_rate_search(tmp_path / "run")
    assert found is not None
    assert found.rates[0] < found.suggested < found.rates[-1]
    assert run([*command, "--iterations", "2"]) == 0
    assert "Search for the learning rate" in (tmp_path / "run/report.html").read_text()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"rates": []}',
        json.dumps({"foreign": 1}),
        json.dumps({"rates": "x", "losses": 5, "suggested": "u", "recipe": None}),
        json.dumps({"rates": [1, 2], "losses": [1], "suggested": 1, "recipe": 1}),
        json.dumps({"rates": [-1, 2], "losses": [1, 1], "suggested": 1, "recipe": 1}),
    ],
)
def test_what_is_no_search_is_passed_over(tmp_path: Path, content: str) -> None:
    assert read_rate_search(tmp_path) is None
    (tmp_path / RESULT).write_text(content)
    assert read_rate_search(tmp_path) is None


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_search_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, stop: signal.Signals
) -> None:
    images: dict[str, Any] = {name: [("cell", (2, 3, 20, 22))] for name in "abcd"}
    data = voc(tmp_path / "voc", images, {"train": list("abcd")})
    settings = "--input-size 64x64 --init none --batch-size 4 --workers 1 --precision fp32 --threads 1 --val-split none"

    train_step = TrainStep.__call__

    def send(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), stop)
        return train_step(*arguments, **options)

    monkeypatch.setattr(TrainStep, "__call__", send)
    code = run(["train", str(data), "--out", str(tmp_path / "run"), "--find-rate", *settings.split()])
    assert code == 128 + stop
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last == f"ssd: stopped by {stop.name} after step 1; the search has to begin anew"
    assert not multiprocessing.active_children()
    assert not (tmp_path / "run" / RESULT).exists()
