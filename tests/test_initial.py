"""Which architecture and which weights are meant where the user names none, or a model by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from singleshot.commands.export import _source
from singleshot.commands.options import ExportOptions
from singleshot.export.source import NetworkSource
from singleshot.runtime.find_model import shipped_models
from singleshot.train.initial import source_of_weights
from singleshot.train.options import TrainOptions
from singleshot.train.prepare import prepare
from singleshot.variants import (
    SSD320_LITE,
    SSDLITE320_EFFICIENTNETLITE0,
    SSDLITE320_MOBILENETV2,
    SSDLITE320_MOBILENETV3,
)


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ({}, SSD320_LITE),
        ({"recipe": "aligned"}, SSD320_LITE),
        ({"recipe": "caffe"}, SSDLITE320_MOBILENETV2),
        ({"boxes": "keep"}, SSDLITE320_MOBILENETV2),
        ({"fusion": "top-down"}, SSDLITE320_MOBILENETV2),
        ({"fusion": "top-down", "model": SSDLITE320_MOBILENETV3.name}, SSDLITE320_MOBILENETV3),
    ],
)
def test_the_default_model_goes_with_what_is_asked_for(data: Path, asked: dict[str, Any], model: Any) -> None:
    plan = prepare([str(data)], TrainOptions(input_size="96x96", iterations=1, workers=0, val_split="none", **asked))
    assert plan.model.spec.name == model.name


def test_weights_of_the_architecture_go_before_those_of_the_backbone() -> None:
    shipped = shipped_models()
    for spec in (SSD320_LITE, SSDLITE320_MOBILENETV2):
        assert source_of_weights(spec, init=None, model=None) == shipped[spec.name]
    other = replace(SSDLITE320_MOBILENETV2, name="mine")
    assert source_of_weights(other, init=None, model=None) == next(iter(shipped.values()))
    assert source_of_weights(SSDLITE320_EFFICIENTNETLITE0, init=None, model=None) is None


def test_the_name_of_a_shipped_model_exports_its_weights() -> None:
    for name in shipped_models():
        source, _, weights_hash, learnt = _source(ExportOptions(out=Path("unused"), model=name))
        assert isinstance(source, NetworkSource)
        assert weights_hash
        assert learnt is not None
    _, provenance, _, _ = _source(ExportOptions(out=Path("unused"), model=SSDLITE320_MOBILENETV3.name))
    assert provenance == {"weights": "seed 0, not trained"}
