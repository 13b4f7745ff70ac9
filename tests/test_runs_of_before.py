"""A run of version 0.1.0, stopped after two of its four steps: it is read, resumed and reported by today's code."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from singleshot.commands.train import train_command
from singleshot.errors import RequestError
from singleshot.runtime.detector import Detector
from singleshot.train import checkpoint
from singleshot.train.run_log import read_metrics
from singleshot.variants import SSD300_VGG16
from train_fixtures import OPTIONS

if TYPE_CHECKING:
    from singleshot.train.options import TrainOptions

BEFORE = Path(__file__).parent / "fixtures" / "before"
TINY = replace(SSD300_VGG16, width=1 / 512)


def options(out: Path) -> TrainOptions:
    return replace(OPTIONS, model=None, input_size=None, recipe="modern", out=out, resume=True)


def test_its_checkpoint_is_read(tmp_path: Path) -> None:
    run = shutil.copytree(BEFORE / "run", tmp_path / "run")
    latest = checkpoint.load_latest(run / "checkpoints")
    assert latest is not None
    assert latest.damaged == ()
    assert (latest.state.step, latest.state.validations_since_best) == (2, 0)
    assert {key.partition("/")[0] for key in latest.optimizer} == {"exp_avg", "exp_avg_sq", "step", "mean"}


def test_it_is_resumed_to_the_weights_that_version_010_would_have_reached(data: Path, tmp_path: Path) -> None:
    run = shutil.copytree(BEFORE / "run", tmp_path / "run")
    assert train_command([str(data)], options(run), base=TINY) == 0
    expected = load_file(BEFORE / "run_finished.safetensors")
    weights = load_file(run / "last" / "model.safetensors")
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-5)
    steps = [row["step"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row]
    assert steps == [1, 2, 3, 4]
    assert ">4<" in (run / "report.html").read_text()


def test_it_is_not_resumed_with_another_setting(data: Path, tmp_path: Path) -> None:
    run = shutil.copytree(BEFORE / "run", tmp_path / "run")
    with pytest.raises(RequestError, match=r"ema_decay was 0\.99, is 0\.5"):
        train_command([str(data)], replace(options(run), overrides=("ema_decay=0.5",)), base=TINY)


def test_its_model_detects(data: Path) -> None:
    detections = Detector.load(BEFORE / "run" / "best")(data / "JPEGImages" / "p0.png")
    assert set(detections.names) <= {"cell", "dot"}
