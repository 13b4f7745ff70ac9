"""Feature extractors of timm as bases, the smallest that it has, on small images; its weights are made here."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from data_fixtures import image, voc
from singleshot.cli.main import run
from singleshot.commands.export import export_model
from singleshot.commands.options import ExportOptions
from singleshot.errors import ModelError, RequestError, UnknownNameError
from singleshot.export.engine_graph import EngineGraph
from singleshot.models.describe import describe
from singleshot.models.ssd import SSD, grid_sizes, initialise
from singleshot.models.timm_backbone import timm_preprocess
from singleshot.spec import Compatibility, ModelSpec, Preprocess
from singleshot.train.optimizer import parameter_groups
from singleshot.train.recipe import Recipe
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2, VARIANTS
from singleshot.weights.build import load_network, save_network
from singleshot.weights.folder import read_folder, read_spec
from singleshot.weights.transfer import start_from_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

timm = pytest.importorskip("timm", reason="timm is an extra: pip install 'singleshot[backbones]'")

SMALL = ("test_efficientnet", "test_resnet", "test_convnext")
"""80,000 to 370,000 parameters: batch normalisation, and layer normalisation with names that timm changes."""


def lite(name: str = "test_efficientnet", side: int = 64) -> ModelSpec:
    spec = replace(SSDLITE320_MOBILENETV2, class_names=("a", "b")).with_input_size(side, side)
    thin = tuple(replace(block, squeeze=8, channels=8) for block in spec.extras)
    return replace(spec, extras=thin).with_backbone(f"timm:{name}")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing here may ask a hub for anything."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.mark.parametrize("name", ["ssd300-vgg16", "ssd512-vgg16", "ssd300-mobilenetv1", "ssdlite320-mobilenetv3"])
def test_the_grids_and_default_boxes_are_those_of_the_base_it_replaces(name: str) -> None:
    given = VARIANTS[name]
    spec = given.with_backbone("timm:test_efficientnet")
    assert grid_sizes(spec) == grid_sizes(given)
    assert [boxes.boxes_per_cell for boxes in spec.boxes.maps] == [level.boxes_per_cell for level in given.boxes.maps]
    assert spec.name == name.replace(given.backbone, "timm-test_efficientnet")
    again = spec.with_backbone("timm:test_resnet")
    assert (again.sources, again.extras) == (spec.sources, spec.extras)
    assert again.name == name.replace(given.backbone, "timm-test_resnet")


def test_what_belonged_to_the_old_base_goes_with_it() -> None:
    spec = SSD300_VGG16.with_backbone("timm:resnet18")
    assert spec.sources == ("stride8", "stride16", "stride32", "conv9_2", "conv10_2", "conv11_2")
    assert [block.name for block in spec.extras] == ["conv9", "conv10", "conv11"]
    assert spec.normalised == ()
    assert spec.batch_norm  # of the extra maps; the base has its own
    fused = VARIANTS["ssd300-vgg16-fused-concat"].with_backbone("timm:resnet18")
    assert fused.fusion is not None
    assert (fused.fusion.fine, fused.fusion.coarse) == ("stride8", "stride16")
    mobile = replace(
        SSDLITE320_MOBILENETV2, width=0.5, compatibility=Compatibility(tensorflow_padding=True, full_heads=("last",))
    ).with_backbone("timm:resnet18")
    assert mobile.sources[:2] == ("stride16", "stride32")
    assert (mobile.compatibility, mobile.width) == (Compatibility(full_heads=("stride32",)), 1.0)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("kind", ["plain", "sum", "top-down"])
def test_predictions_are_as_many_as_default_boxes_and_teach_every_layer(name: str, kind: str) -> None:
    spec = lite(name) if kind == "plain" else lite(name).with_fusion(kind)
    model = SSD(spec, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions = model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert predictions.offsets.shape == (2, len(model.default_boxes), 4)
    (predictions.logits.float().square().mean() + predictions.offsets.float().square().mean()).backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_finer_maps_are_there_for_small_objects() -> None:
    spec = lite()
    maps = (spec.boxes.maps[0],) * 2 + spec.boxes.maps
    spec = replace(spec, sources=("stride4", "stride8", *spec.sources), boxes=replace(spec.boxes, maps=maps))
    assert grid_sizes(spec)[:4] == ((16, 16), (8, 8), (4, 4), (2, 2))


def test_maps_with_their_channels_last_are_turned() -> None:
    spec = lite("mambaout_femto")
    model = SSD(spec).eval()
    assert model.map_sizes_hw[:2] == ((4, 4), (2, 2))
    with torch.inference_mode():
        maps = model.source_maps(torch.zeros(1, 3, 64, 64))
    assert maps["stride32"].shape == (1, model.backbone.out_channels, 2, 2)


def test_a_base_begins_as_timm_begins_it_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (SSD(lite("test_convnext"), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        classifier = timm.create_model("test_convnext", features_only=True)
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(first.state_dict()[f"backbone.features.{name}"], tensor)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())
    stem = "backbone.features.stem_0.weight"
    assert not torch.equal(first.state_dict()[stem], other.state_dict()[stem])
    kept = first.state_dict()[stem].clone()
    initialise(first, 9)
    assert torch.equal(first.state_dict()[stem], kept)


def test_dropout_is_off() -> None:
    model = SSD(lite("cpubone_nano"))
    rates = [module.p for module in model.backbone.modules() if isinstance(module, nn.Dropout)]
    assert rates
    assert not any(rates)


def test_pixels_are_scaled_as_its_published_weights_were_trained() -> None:
    assert timm_preprocess("timm:test_resnet") == Preprocess((127.5,) * 3, (127.5,) * 3, "rgb")
    imagenet = Preprocess((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "rgb")
    assert timm_preprocess("timm:resnet18") == timm_preprocess("timm:resnet18.a1_in1k") == imagenet


@pytest.mark.parametrize("preprocess", [Preprocess((1, 2, 3), (4, 5, 6), order) for order in ("rgb", "bgr")])
def test_an_engine_gets_the_same_pixels(preprocess: Preprocess) -> None:
    model = SSD(replace(lite(), preprocess=preprocess)).eval()
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = (images.float() - torch.tensor([1.0, 2, 3])) / torch.tensor([4.0, 5, 6])
    x = x.flip(3) if preprocess.channel_order == "bgr" else x
    with torch.inference_mode():
        offsets, _ = EngineGraph(model)(images)
        torch.testing.assert_close(offsets, model(x.permute(0, 3, 1, 2)).offsets)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnt18", "did you mean resnet18"),
        ("timm:qqqqqqqq", "timm has no network 'qqqqqqqq'; all names: python -c"),
        ("timm:resnet18.nosuch", "resnet18.tv_in1k"),
        ("timm:vit_tiny_patch16_224", "stride8"),
        ("timm:swin_tiny_patch4_window7_224", "--input-size 224x224"),
        ("timm:halonet26t", "64x64"),
    ],
)
def test_networks_that_cannot_be_a_backbone_are_refused(name: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        SSD(lite(name.removeprefix("timm:")))


@pytest.mark.parametrize(
    "name", ["hf-hub:timm/resnet18", "local-dir:x/y", "../x", "hf_hub:x", "", "ResNet18", "resnet18\n"]
)
def test_names_of_hubs_and_paths_do_not_reach_timm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RequestError, match="a-z, 0-9, _"):
        lite(name)


def test_other_wrong_backbones_are_refused() -> None:
    with pytest.raises(RequestError, match="mobilenetv2"):
        SSD300_VGG16.with_backbone("mobilenetv2")
    with pytest.raises(UnknownNameError, match="hf-hub:x"):
        SSD(replace(SSD300_VGG16, backbone="hf-hub:x"))
    with pytest.raises(RequestError, match=r"0\.5"):
        SSD(replace(lite(), width=0.5))
    with pytest.raises(RequestError, match="tensorflow_padding"):
        SSD(replace(lite(), compatibility=Compatibility(tensorflow_padding=True)))
    with pytest.raises(UnknownNameError, match="stride64"):
        SSD(replace(lite(), sources=("stride64", *lite().sources[1:])))
    with pytest.raises(RequestError, match="conv5_2"):
        replace(SSD300_VGG16, sources=("conv5_2", *SSD300_VGG16.sources[1:])).with_backbone("timm:resnet18")
    unpadded = tuple(replace(block, padding=0) for block in lite().extras)
    with pytest.raises(RequestError, match="64x64"):
        SSD(replace(lite(), extras=unpadded))


def test_the_layer_table_holds_every_parameter() -> None:
    for name in SMALL:
        rows = describe(lite(name))
        assert sum(row["parameters"] for row in rows) == sum(p.numel() for p in SSD(lite(name)).parameters())
    kinds = {row["name"]: row["kind"] for row in rows}
    assert kinds["features.stem_0"] == "convolution"
    assert kinds["features.stem_1"] == "layer normalisation"


@pytest.mark.parametrize("name", SMALL)
def test_normalisation_is_not_decayed(name: str) -> None:
    model = SSD(lite(name))
    decayed = {id(p) for group in parameter_groups(model, Recipe()) if group["weight_decay"] for p in group["params"]}
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    assert not any(id(parameter) in decayed for norm in norms for parameter in norm.parameters())
    assert any(id(parameter) in decayed for parameter in model.backbone.parameters())


def test_a_folder_keeps_it(tmp_path: Path) -> None:
    model = SSD(lite(), seed=1).train()
    model(torch.randn(4, 3, 64, 64))  # moves the running statistics
    save_network(tmp_path / "m", model.eval(), card="")
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(load_network(tmp_path / "m")(x).logits, model(x).logits)
    save_network(tmp_path / "half", model, card="", half=True)
    halved = read_folder(tmp_path / "half").tensors()
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(torch.from_numpy(halved[name]), tensor)


@pytest.mark.parametrize("name", ["timm:hf-hub:x", "timm:../x", "timm:"])
def test_a_configuration_cannot_name_anything_else(tmp_path: Path, name: str) -> None:
    save_network(tmp_path / "m", SSD(lite()), card="")
    config, sums = tmp_path / "m/config.json", tmp_path / "m/SHA256SUMS"
    before = hashlib.sha256(config.read_bytes()).hexdigest()
    config.write_text(config.read_text().replace("timm:test_efficientnet", name))
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(config.read_bytes()).hexdigest()))
    with pytest.raises(ModelError, match="a-z, 0-9, _"):
        read_spec(tmp_path / "m")


def classifier(path: Path, name: str, **options: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        state: dict[str, torch.Tensor] = timm.create_model(name, **options).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return state


@pytest.mark.parametrize("name", [*SMALL, "mobilenetv3_small_050", "hrnet_w18_small"])
def test_it_starts_from_timms_classifier(tmp_path: Path, name: str) -> None:
    state = classifier(tmp_path / "c.safetensors", name, num_classes=5)
    model = SSD(lite(name), seed=1)
    transfer = start_from_file(model, tmp_path / "c.safetensors")
    base = {name for name in model.state_dict() if name.startswith("backbone.")}
    assert set(transfer.kept) == base
    with torch.random.fork_rng():
        torch.manual_seed(7)
        theirs = timm.create_model(name, num_classes=5).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        last = model.eval().backbone(x)["stride32"]
    assert len(state) == len(theirs.state_dict())
    if hasattr(theirs, "forward_intermediates"):
        with torch.inference_mode():
            *_, expected = theirs.forward_intermediates(x, intermediates_only=True)
        torch.testing.assert_close(last, expected)
    assert transfer.missing
    assert any(name.startswith("classifier.") for name in transfer.unused)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    classifier(tmp_path / "resnet34.safetensors", "test_resnet")
    with pytest.raises(ModelError, match="timm:test_efficientnet"):
        start_from_file(SSD(lite()), tmp_path / "resnet34.safetensors")
    state = classifier(tmp_path / "c.safetensors", "test_efficientnet")
    del state["conv_stem.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match=r"conv_stem\.weight"):
        start_from_file(SSD(lite()), tmp_path / "part.safetensors")
    save_network(tmp_path / "m", SSD(lite("test_resnet")), card="")
    with pytest.raises(ModelError, match="is of another architecture"):
        start_from_file(SSD(lite()), tmp_path / "m")
    transfer = start_from_file(SSD(lite("test_resnet"), seed=5), tmp_path / "m")
    assert not transfer.missing


def test_an_export_detects_without_torch_and_timm(tmp_path: Path) -> None:
    save_network(tmp_path / "m", SSD(lite(), seed=0), card="")
    export_model(
        ExportOptions(out=tmp_path / "out", model=str(tmp_path / "m"))
    )  # refuses to leave a graph that says something else
    image(tmp_path / "a.png")
    code = (
        "import sys; sys.modules |= {'torch': None, 'timm': None}\n"
        "from singleshot.cli.main import run\n"
        f"sys.exit(run(['detect', {str(tmp_path / 'a.png')!r}, '--model', {str(tmp_path / 'out')!r}, '--score', '0', "
        f"'--json', {str(tmp_path / 'found.json')!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert json.loads((tmp_path / "found.json").read_text())["images"][0]["detections"]
    assert 'name="backbone.features.blocks.3.0.conv_dw"' in (tmp_path / "out/model.xml").read_text()


def command(tmp_path: Path, *more: str) -> list[str]:
    if not (tmp_path / "set").is_dir():
        voc(tmp_path / "set", {name: [("car", (5, 5, 25, 20))] for name in "abcdef"})
    words = "--input-size 64x64 --batch-size 3 --workers 0 --val-split none --boxes keep --checkpoint-every 1"
    return ["train", str(tmp_path / "set"), *words.split(), *more]


def test_training_ends_the_same_where_it_was_interrupted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = command(tmp_path, "--backbone", "timm:test_efficientnet", "--iterations", "4")
    assert run([*given, "--out", str(tmp_path / "run")]) == 0
    spec = read_spec(tmp_path / "run/last")
    assert (spec.backbone, spec.batch_norm) == ("timm:test_efficientnet", True)
    assert spec.preprocess == timm_preprocess("timm:test_efficientnet")
    whole = read_folder(tmp_path / "run/last").tensors()
    last = max((tmp_path / "run/checkpoints").iterdir(), key=lambda path: path.name)
    for path in sorted(last.rglob("*"), reverse=True):
        path.unlink()
    last.rmdir()
    for name in ("last", "report.html"):
        (tmp_path / "run" / name).rename(tmp_path / f"first-{name}")
    assert run([*given, "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert "going on after step 3 of 4" in capsys.readouterr().err
    again = read_folder(tmp_path / "run/last").tensors()
    assert all((whole[name] == again[name]).all() for name in whole)


def test_a_trained_folder_and_timms_weights_are_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classifier(tmp_path / "c.safetensors", "test_efficientnet")
    once = ("--iterations", "1", "--backbone", "timm:test_efficientnet")
    given = command(tmp_path, *once, "--model", "ssd300-mobilenetv1", "--init", str(tmp_path / "c.safetensors"))
    assert run([*given, "--out", str(tmp_path / "run")]) == 0
    assert "tensors taken over" in capsys.readouterr().err
    folder = str(tmp_path / "run/last")
    assert run([*command(tmp_path, "--iterations", "1", "--model", folder), "--out", str(tmp_path / "on")]) == 0
    assert read_spec(tmp_path / "on/last").backbone == "timm:test_efficientnet"
    given = command(tmp_path, "--iterations", "1", "--model", folder, "--backbone", "timm:test_resnet")
    assert run([*given, "--out", str(tmp_path / "other")]) == 0
    assert "fresh weights" in capsys.readouterr().err
    assert run(["models", folder]) == 0
    assert "features.conv_stem" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnt18", "did you mean resnet18"),
        ("resnet18", "'resnet18'"),
        ("timm:hf-hub:x", "a-z, 0-9"),
    ],
)
def test_wrong_words_are_one_line(name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command(tmp_path, "--backbone", name), "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_timm_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert run([*command(tmp_path, "--backbone", "timm:resnet18"), "--out", str(tmp_path / "run")]) == 2
    assert "this needs timm, which is not installed: pip install 'singleshot[backbones]'" in capsys.readouterr().err


def test_no_other_base_imports_timm() -> None:
    code = (
        "import sys\n"
        "from singleshot.models.ssd import SSD\n"
        "from singleshot.variants import SSDLITE320_MOBILENETV2\n"
        "import singleshot.weights.build\n"
        "SSD(SSDLITE320_MOBILENETV2)\n"
        "sys.exit('timm' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
