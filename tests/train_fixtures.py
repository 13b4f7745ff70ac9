"""A small set and an undisturbed run on it, made once for all tests; `conftest.py` makes them known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from data_fixtures import voc
from singleshot.train.options import TrainOptions

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = TrainOptions(
    model="ssdlite320-mobilenetv2",
    input_size="64x64",
    init="none",
    iterations=4,
    batch_size=4,
    checkpoint_every=2,
    validate_every=1.0,
    workers=0,
    precision="fp32",
    boxes="keep",
    threads=1,
)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    boxes = [(2 + i, 3, 20 + i, 22) for i in range(8)]
    images: dict[str, Any] = {f"p{i}": [("cell" if i % 2 else "dot", box)] for i, box in enumerate(boxes)}
    images["background"] = []
    names = list(images)
    return voc(tmp_path_factory.mktemp("set") / "voc", images, {"train": names, "val": names[:3]})


@pytest.fixture(scope="session")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    from singleshot.commands.train import train_command

    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train_command([str(data)], replace(OPTIONS, out=out)) == 0
    return out


@pytest.fixture
def finished_copy(finished: Path, tmp_path: Path) -> Path:
    """The undisturbed run, for tests that go on with it."""
    return shutil.copytree(finished, tmp_path / "whole")


def assert_same_weights(one: Path, other: Path) -> None:
    import torch
    from safetensors.torch import load_file

    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
