"""A small trained-looking model and its exports, made once for all tests; `conftest.py` makes them known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from singleshot.spec import MapBoxes
from singleshot.variants import SSD300_VGG16

if TYPE_CHECKING:
    from pathlib import Path

SMALL = replace(
    SSD300_VGG16,
    width=1 / 16,
    input_size_hw=(40, 56),
    class_names=("cat", "dog"),
    sources=("conv4_3", "fc7"),
    extras=(),
    boxes=replace(SSD300_VGG16.boxes, maps=(MapBoxes((12,), (20,), (2.0,)), MapBoxes((20,), (36,), (2.0, 3.0)))),
)
"""Few layers, which torch takes a second to export each, and few boxes."""


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from singleshot.models.ssd import SSD
    from singleshot.weights.build import save_network

    folder = tmp_path_factory.mktemp("export") / "model"
    network = SSD(SMALL, seed=3)
    with torch.no_grad():
        for layer in network.heads.confidence.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.weight *= 0.15  # scores that differ as a trained network's do
    save_network(folder, network, card="# small\n")
    return folder


@pytest.fixture(scope="session")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from singleshot.commands.export import export_model
    from singleshot.commands.options import ExportOptions

    folder = tmp_path_factory.mktemp("exported") / "lite"
    export_model(ExportOptions(out=folder, model=str(source)))
    return folder


@pytest.fixture(scope="session")
def onnx_exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from singleshot.commands.export import export_model
    from singleshot.commands.options import ExportOptions

    folder = tmp_path_factory.mktemp("exported") / "lite-onnx"
    export_model(ExportOptions(out=folder, model=str(source), format="onnx"))
    return folder


@pytest.fixture(params=["exported", "onnx_exported"])
def engine_folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from data_fixtures import voc

    images = {f"p{i}": [("cat" if i % 2 else "dog", (2 + i, 3, 20 + i, 22))] for i in range(12)}
    return voc(tmp_path_factory.mktemp("set") / "voc", images)
