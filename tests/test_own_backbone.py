"""A backbone of the user's own: trained, loaded with its code given again, exported; its contract is checked."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from singleshot.cli.main import run as command_line
from singleshot.commands.train import train_command
from singleshot.errors import RequestError
from singleshot.models.own_backbone import OwnBackbone, import_factory, own_name
from singleshot.runtime.detector import Detector
from train_fixtures import OPTIONS

PAGE = Path(__file__).parents[1] / "docs/settings.md"
CODE = re.search(r"```python\n(import torch\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example of docs/settings.md, to stand in."""
    assert CODE is not None
    (tmp_path / "tiny.py").write_text(CODE[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny", raising=False)
    return tmp_path


def test_the_example_is_trained_loaded_with_its_code_and_exported(tiny: Path, data: Path) -> None:
    options = replace(OPTIONS, init=None, boxes="adapt", backbone="tiny:tiny", iterations=2, out=tiny / "run")
    assert train_command([str(data)], options) == 0
    config = json.loads((tiny / "run/best/config.json").read_text())
    assert config["model"]["backbone"] == "own:tiny"
    assert config["model"]["preprocess"]["mean_rgb"] == [127.5] * 3
    assert "tiny:tiny" not in json.dumps(config)
    with pytest.raises(RequestError, match="own:tiny"):
        Detector.load(tiny / "run/best")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    detections = Detector.load(tiny / "run/best", backbone="tiny:tiny")(image)
    assert command_line(["evaluate", str(data), "--model", "run/best", "--backbone", "tiny:tiny"]) == 0
    Image.fromarray(image).save("image.png")
    assert command_line(["detect", "image.png", "--model", "run/best", "--backbone", "tiny:tiny"]) == 0
    known = ["--model", "run/best", "--backbone", "tiny:tiny", "--report", "page.html"]
    assert command_line(["analyze", str(data), *known]) == 0
    assert command_line(["explain", "image.png", *known]) == 0
    assert command_line(["export", "run/best", "--backbone", "tiny:tiny", "--out", "engine"]) == 0
    of_engine = Detector.load(tiny / "engine")(image)
    assert len(detections) == len(of_engine) > 0
    np.testing.assert_allclose(detections.scores, of_engine.scores, atol=1e-4)


def test_training_goes_on_from_a_model_with_the_same_backbone(
    tiny: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = replace(OPTIONS, init=None, backbone="tiny:tiny", iterations=1, val_split="none", out=tiny / "run")
    assert train_command([str(data)], options) == 0
    assert "weights of own:tiny as its function set them" in capsys.readouterr().err
    assert train_command([str(data)], replace(options, model=str(tiny / "run/last"), out=tiny / "more")) == 0
    assert "run/last" in capsys.readouterr().err


class Maps(nn.Module):
    """Maps of given strides and channels."""

    def __init__(self, channels: dict[str, int], divide: dict[str, int] | None = None) -> None:
        super().__init__()
        self.channels, self.divide = channels, divide or {}

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        side = images.shape[2]
        strides = {name: self.divide.get(name, int(name.removeprefix("stride"))) for name in self.channels}
        return {
            name: torch.zeros(len(images), count, side // strides[name], side // strides[name])
            for name, count in self.channels.items()
        }


THREE = {"stride8": 4, "stride16": 8, "stride32": 16}


@pytest.mark.parametrize(
    ("made", "token"),
    [
        (Maps({"stride8": 4, "stride16": 8}), "stride32"),
        (Maps(THREE | {"stride64": 4}), "stride64"),
        (Maps({"stride4": 2} | THREE, {"stride16": 8}), "8, 8"),
        (nn.Conv2d(3, 4, 1), "dict"),
        ("no module", "torch.nn.Module"),
        (Maps(THREE), "stride4"),
    ],
)
def test_what_does_not_keep_the_contract_is_refused_with_what_is_wrong(made: object, token: str) -> None:
    with pytest.raises(RequestError, match=token):
        OwnBackbone(["stride4"], name="own:made", factory=lambda: made, seed=0)  # type: ignore[arg-type,return-value]


def test_a_function_that_takes_arguments_is_refused() -> None:
    with pytest.raises(RequestError, match="without arguments: missing a required argument"):
        OwnBackbone([], name="own:join", factory=import_factory("os.path:join"), seed=0)


def test_the_last_map_tells_the_channels_and_the_seed_the_weights() -> None:
    backbone = OwnBackbone(["stride16"], name="own:maps", factory=lambda: Maps(THREE), seed=0)
    assert backbone.out_channels == 16
    assert list(backbone(torch.zeros(1, 3, 64, 64))) == ["stride16", "stride32"]

    def with_weights() -> nn.Module:
        network = Maps(THREE)
        network.layer = nn.Linear(2, 2)
        return network

    state = torch.get_rng_state()
    weights = [
        OwnBackbone([], name="own:w", factory=with_weights, seed=seed).network.layer.weight for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("place", ["nowhere.at.all:f", "math:nothing", "math:pi", ":f", "math:"])
def test_what_cannot_be_imported_is_one_line(place: str) -> None:
    with pytest.raises(RequestError, match=re.escape(place)) as error:
        import_factory(place)
    assert "\n" not in str(error.value)


def test_the_name_in_a_config_holds_no_code() -> None:
    assert own_name(import_factory("os.path:join")) == "own:join"
    assert own_name(lambda: nn.Flatten(1)) == "own:_lambda_"
