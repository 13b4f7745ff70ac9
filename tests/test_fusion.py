"""Fused maps: shapes, arithmetic by hand, folders, exports."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional as F

from data_fixtures import voc
from singleshot.cli.main import run
from singleshot.commands.export import export_model
from singleshot.commands.options import ExportOptions
from singleshot.errors import ModelError, RequestError, UnknownNameError
from singleshot.models.fusion import FeatureFusion, TopDown
from singleshot.models.ssd import SSD
from singleshot.spec import Fusion
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2, VARIANTS
from singleshot.weights.build import load_network, save_network
from singleshot.weights.folder import read_spec

if TYPE_CHECKING:
    from pathlib import Path

THIN = replace(SSD300_VGG16, class_names=("a", "b"), width=1 / 16)
LITE = replace(SSDLITE320_MOBILENETV2, class_names=("a", "b"), width=0.25)
KINDS = ("concat", "sum", "top-down")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", [THIN, LITE, THIN.with_input_size(330, 400)])
def test_predictions_are_as_many_as_default_boxes(kind: str, base: object) -> None:
    model = SSD(base.with_fusion(kind), seed=0)  # type: ignore[attr-defined]
    plain = SSD(base)  # type: ignore[arg-type]
    assert torch.equal(model.default_boxes, plain.default_boxes)
    predictions = model(torch.randn(2, 3, *model.spec.input_size_hw))
    assert predictions.offsets.shape == (2, len(model.default_boxes), 4)
    predictions.logits.square().sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert all(name.startswith("heads.location.") for name in without)
    assert torch.isfinite(predictions.logits).all()


def test_the_sum_by_hand() -> None:
    fusion = FeatureFusion((8, 6, 6), (4, 3, 3), kind="sum", light=None).eval()
    fine, coarse = torch.randn(1, 8, 6, 6), torch.randn(1, 4, 3, 3)
    with torch.no_grad():
        up = F.conv_transpose2d(coarse, fusion.lift.up.weight, fusion.lift.up.bias, stride=2)
        parts = []
        for x, block in ((fine, fusion.fine_filter), (up, fusion.coarse_filter)):
            y = F.conv2d(x, block.convolution.weight, block.convolution.bias, padding=1)
            parts.append(20 * y / y.square().sum(dim=1, keepdim=True).sqrt())
        assert torch.allclose(fusion(fine, coarse), F.relu(parts[0] + parts[1]), atol=1e-5)


def test_concatenation_begins_with_its_papers_scales() -> None:
    model = SSD(THIN.with_fusion("concat"), seed=0)
    norms = model.fusion.block.fine_norm, model.fusion.block.coarse_norm
    assert [set(norm.scale.tolist()) for norm in norms] == [{10.0}, {20.0}]
    assert model.spec.normalised == ()
    assert model.spec.fusion == Fusion("concat", "conv4_3", "conv5_3")


def test_the_way_down_by_hand() -> None:
    block = TopDown({"fine": (4, 5, 5), "coarse": (6, 3, 3)}, channels=8, light=None).eval()
    fine, coarse = torch.randn(1, 4, 5, 5), torch.randn(1, 6, 3, 3)
    with torch.no_grad():
        fused = block({"fine": fine, "coarse": coarse})
        above = block.lateral["coarse"](coarse)
        rows = torch.tensor([0, 0, 1, 1, 2])  # of 3, for 5
        here = block.lateral["fine"](fine) + above[:, :, rows][:, :, :, rows]
        assert torch.allclose(fused["fine"], block.smooth["fine"](here), atol=1e-6)
        assert torch.allclose(fused["coarse"], block.smooth["coarse"](above), atol=1e-6)
    assert list(fused) == ["fine", "coarse"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_keeps_it(tmp_path: Path, kind: str) -> None:
    model = SSD(LITE.with_fusion(kind), seed=1).eval()
    save_network(tmp_path / "m", model, card="")
    again = load_network(tmp_path / "m")
    x = torch.randn(1, 3, 320, 320)
    with torch.inference_mode():
        assert torch.equal(again(x).logits, model(x).logits)
    config, sums = tmp_path / "m/config.json", tmp_path / "m/SHA256SUMS"
    before = hashlib.sha256(config.read_bytes()).hexdigest()
    config.write_text(config.read_text().replace(f'"kind": "{kind}"', '"kind": "sideways"'))
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(config.read_bytes()).hexdigest()))
    with pytest.raises(ModelError, match="sideways"):
        read_spec(tmp_path / "m")


@pytest.mark.parametrize(("base", "kind"), [(THIN, "concat"), (LITE, "sum"), (LITE, "top-down")])
def test_an_export_says_the_same(tmp_path: Path, base: object, kind: str) -> None:
    save_network(tmp_path / "m", SSD(base.with_fusion(kind), seed=0), card="")  # type: ignore[attr-defined]
    export_model(
        ExportOptions(out=tmp_path / "out", model=str(tmp_path / "m"))
    )  # refuses to leave a graph that says something else
    assert (tmp_path / "out/model.xml").is_file()


def test_wrong_fusions_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="concat"):
        LITE.with_fusion("conc")
    with pytest.raises(RequestError, match="top-down"):
        Fusion("top-down", "a", "b")
    with pytest.raises(RequestError, match="coarse"):
        Fusion("sum")
    with pytest.raises(UnknownNameError, match="conv4"):
        SSD(replace(THIN, fusion=Fusion("sum", "conv3_3", "conv5_3")))
    with pytest.raises(UnknownNameError, match="conv6_6"):
        SSD(replace(THIN, fusion=Fusion("sum", "conv4_3", "conv6_6")))
    assert VARIANTS["ssd300-vgg16-fused-sum"].fusion == Fusion("sum", "conv4_3", "conv5_3")


def test_any_model_trains_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = voc(tmp_path / "set", {name: [("car", (5, 5, 25, 20))] for name in "abcdef"})
    command = [
        "train",
        str(data),
        "--input-size",
        "96x96",
        "--iterations",
        "2",
        "--workers",
        "0",
        "--val-split",
        "none",
    ]
    assert run([*command, "--fusion", "top-down", "--out", str(tmp_path / "run")]) == 0
    assert read_spec(tmp_path / "run/last").fusion == Fusion("top-down")
    assert run([*command, "--fusion", "down-top", "--out", str(tmp_path / "other")]) == 2
    assert "top-down" in capsys.readouterr().err
