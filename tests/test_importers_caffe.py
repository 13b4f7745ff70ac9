"""A whole network of Caffe becomes one of ours, or is refused by the layer that differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file

from caffe_fixtures import blob, field, floats, new_layer, varint
from singleshot.commands.import_weights import import_files
from singleshot.errors import ModelError, RequestError
from singleshot.models.ssd import SSD
from singleshot.variants import SSD300_VGG16
from singleshot.weights.build import fill, load_network
from singleshot.weights.importers.caffe import from_description, read_base
from singleshot.weights.importers.detectors import detector_of_caffe
from singleshot.weights.transfer import start_from_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def test_whole_is_for_a_vgg16_classifier_alone(thin: SSD, tmp_path: Path) -> None:
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), tmp_path / "mobile.pth")
    with pytest.raises(RequestError, match=r"mobile\.pth has no fc6 of 7x7; --whole is for a VGG-16 classifier"):
        import_files([tmp_path / "mobile.pth"], tmp_path / "base", whole=True)
    text, blobs = describe_in_caffe(thin)
    files = write_caffe(tmp_path, text, blobs)
    with pytest.raises(RequestError, match=r"net\.caffemodel is a detector; --whole is for"):
        import_files(files, tmp_path / "base", whole=True)
    assert not (tmp_path / "base").exists()


THIN = replace(SSD300_VGG16, width=1 / 64, class_names=("a", "b"))
"""To describe here: MobileNet-SSD has too many layers, VGG at width 1/64 is small."""


def convolution(name: str, bottom: str, module: torch.nn.Conv2d, *, relu: bool = True) -> str:
    settings = (
        f"num_output: {module.out_channels} kernel_size: {module.kernel_size[0]} pad: {module.padding[0]} "
        f"stride: {module.stride[0]} dilation: {module.dilation[0]}"
    )
    text = f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
    text += f"convolution_param {{ {settings} }} }}\n"
    if relu:
        text += f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }}\n'
    return text


def write_caffe(folder: Path, text: str, blobs: Mapping[str, Sequence[np.ndarray]]) -> tuple[Path, Path]:
    """Description and weights as files."""
    prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(text)
    caffemodel.write_bytes(
        b"".join(new_layer(n, *(blob(b.reshape(-1).tolist(), list(b.shape)) for b in bs)) for n, bs in blobs.items())
    )
    return prototxt, caffemodel


def describe_in_caffe(model: SSD, output: str = "") -> tuple[str, dict[str, list[np.ndarray]]]:
    """Prototxt and blobs of a VGG network of ours."""
    text = 'input: "data" input_shape { dim: 1 dim: 3 dim: 300 dim: 300 }\n'
    blobs: dict[str, list[np.ndarray]] = {}
    previous, names = "data", {}

    def add(name: str, bottom: str, module: Any, *, relu: bool = True) -> None:
        nonlocal text
        text += convolution(name, bottom, module, relu=relu)
        blobs[name] = [module.weight.detach().numpy(), module.bias.detach().numpy()]

    for part in (model.backbone, model.extras):
        for ours, module in part.named_children():
            name = ours
            if part is model.extras:
                number, _, index = ours.removeprefix("conv").partition("_")
                name = f"conv{int(number) - 2}_{index}"
            if ours.startswith("pool"):
                size = "kernel_size: 3 stride: 1 pad: 1" if ours == "pool5" else "kernel_size: 2 stride: 2"
                pooling = f"pooling_param {{ pool: MAX {size} }}"
                text += f'layer {{ name: "{name}" type: "Pooling" bottom: "{previous}" top: "{name}" {pooling} }}\n'
            else:
                add(name, previous, module.convolution)
            previous, names[ours] = name, name
    joined: dict[str, list[str]] = {"loc": [], "conf": [], "priorbox": []}
    for source, boxes in zip(model.spec.sources, model.spec.boxes.maps, strict=True):
        bottom = names[source]
        if source in model.spec.normalised:
            text += (
                f'layer {{ name: "{bottom}_norm" type: "Normalize" bottom: "{bottom}" top: "{bottom}_norm" '
                "norm_param { across_spatial: false channel_shared: false } }\n"
            )
            blobs[f"{bottom}_norm"] = [model.norms[source].scale.detach().numpy()]
            bottom += "_norm"
        for kind, heads in (("loc", model.heads.location), ("conf", model.heads.confidence)):
            name = f"{bottom}_mbox_{kind}"
            add(name, bottom, heads[source], relu=False)
            text += f'layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm" }}\n'
            joined[kind].append(f"{name}_perm")
        ratios = " ".join(f"aspect_ratio: {ratio}" for ratio in boxes.aspect_ratios)
        text += (
            f'layer {{ name: "{bottom}_prior" type: "PriorBox" bottom: "{bottom}" bottom: "data" top: "{bottom}_prior" '
            f"prior_box_param {{ min_size: {boxes.min_sizes[0]} max_size: {boxes.max_sizes[0]} {ratios} "
            f"variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: {boxes.step} }} }}\n"
        )
        joined["priorbox"].append(f"{bottom}_prior")
    for kind, parts in joined.items():
        bottoms = " ".join(f'bottom: "{part}"' for part in parts)
        text += f'layer {{ name: "mbox_{kind}" type: "Concat" {bottoms} top: "mbox_{kind}" }}\n'
    settings = output or (
        f"num_classes: {model.spec.num_classes} nms_param {{ nms_threshold: 0.45 top_k: 400 }} code_type: CENTER_SIZE "
        "keep_top_k: 200 confidence_threshold: 0.01"
    )
    text += (
        'layer { name: "out" type: "DetectionOutput" bottom: "mbox_loc" bottom: "mbox_conf" bottom: "mbox_priorbox" '
        f'top: "out" detection_output_param {{ {settings} }} }}\n'
    )
    return text, blobs


@pytest.fixture(scope="module")
def thin() -> SSD:
    return SSD(THIN, seed=5).eval()


def test_a_description_becomes_the_same_network(thin: SSD, tmp_path: Path) -> None:
    text, blobs = describe_in_caffe(thin)
    prototxt, caffemodel = write_caffe(tmp_path, text, blobs)
    _, spec, state = detector_of_caffe(prototxt, caffemodel, ["a", "b"])
    assert spec == THIN
    model = SSD(spec).eval()
    fill(model, state, origin="net")
    for name, tensor in thin.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    base = read_base(caffemodel)
    assert torch.equal(base["backbone.fc7.convolution.weight"], thin.backbone.get_parameter("fc7.convolution.weight"))
    content = caffemodel.read_bytes()
    for cut in np.linspace(1, len(content) - 1, 50).astype(int):
        caffemodel.write_bytes(content[:cut])
        with pytest.raises(ModelError, match=r"net\.caffemodel"):
            detector_of_caffe(prototxt, caffemodel, None)


ONE_VARIANCE = "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: 8.0"
EDITS: dict[str, tuple[str, str, str]] = {
    "unknown layer": (
        'name: "conv1_1_relu" type: "ReLU"',
        'name: "conv1_1_relu" type: "PReLU"',
        "'PReLU', which is not",
    ),
    "no ReLU": ('type: "ReLU" bottom: "conv3_2" top: "conv3_2"', 'type: "Dropout" bottom: "conv3_2"', "behind conv3_2"),
    "other wiring": ('type: "Convolution" bottom: "conv4_1"', 'type: "Convolution" bottom: "pool3"', "conv4_2 sees"),
    "other dilation": ("dilation: 6", "dilation: 3", "fc6 has dilation 3, expected 6"),
    "other pooling": ("pool: MAX kernel_size: 3", "pool: AVE kernel_size: 3", "pool5 must be max pooling"),
    "pooling size": ("kernel_size: 3 stride: 1 pad: 1 }", "kernel_size: 2 stride: 2 }", "pool5 has kernel_size 2"),
    "layer missing": ('name: "conv5_2" type', 'name: "conv5_two" type', "has no layer conv5_2, which a vgg16 has"),
    "no size": ("dim: 300 dim: 300", "", "states no input"),
    "huge": ("num_output: 16 kernel_size: 1", "num_output: 999999999 kernel_size: 1", "num_output"),
    "corner code": ("code_type: CENTER_SIZE", "code_type: CORNER", "CORNER"),
    "background": ("keep_top_k: 200", "keep_top_k: 200 background_label_id: 2", "background must be class 0"),
    "own locations": ("keep_top_k: 200", "keep_top_k: 200 share_location: false", "not known"),
    "variances": (ONE_VARIANCE, "variance: 0.1 step: 8.0", "share variances"),
    "classes": ("num_classes: 3", "num_classes: 4", "3 classes beside the background, got 2"),
    "no detector": ('type: "DetectionOutput"', 'type: "Silence"', "must have one DetectionOutput"),
    "two of one name": ('name: "conv2_2"', 'name: "conv2_1"', "two layers 'conv2_1'"),
    "across positions": ("across_spatial: false", "across_spatial: true", "over positions"),
}


@pytest.mark.parametrize("case", EDITS)
def test_a_network_unlike_ours_is_refused_by_layer(thin: SSD, tmp_path: Path, case: str) -> None:
    old, new, message = EDITS[case]
    text, blobs = describe_in_caffe(thin)
    assert old in text
    (tmp_path / "net.prototxt").write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=message):
        from_description(tmp_path / "net.prototxt", blobs, class_names=["a", "b"], origin="net.caffemodel")


def test_missing_and_left_over_weights_are_named(thin: SSD, tmp_path: Path) -> None:
    text, blobs = describe_in_caffe(thin)
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    few = {name: parts for name, parts in blobs.items() if name != "conv4_3"}
    with pytest.raises(ModelError, match=r"x\.caffemodel has no weights of conv4_3, which .*net\.prototxt describes"):
        from_description(path, few, origin="x.caffemodel")
    with pytest.raises(ModelError, match=r"has weights of fc8, which .*net\.prototxt does not describe"):
        from_description(path, {**blobs, "fc8": blobs["fc7"]}, origin="x.caffemodel")
    with pytest.raises(ModelError, match=r"fc7 is \(16, 16, 3, 3\), expected \(16, 16, 1, 1\)"):
        from_description(path, {**blobs, "fc7": [np.zeros((16, 16, 3, 3), np.float32)]}, origin="x.caffemodel")


def test_detection_settings_and_their_caffe_defaults(thin: SSD, tmp_path: Path) -> None:
    text, blobs = describe_in_caffe(thin, "num_classes: 3 code_type: CENTER_SIZE nms_param { eta: 0.9 }")
    (tmp_path / "net.prototxt").write_text(text)
    spec, _ = from_description(tmp_path / "net.prototxt", blobs, origin="net")
    found = spec.postprocess
    assert (found.nms_threshold, found.top_k, found.keep_top_k, found.nms_eta) == (0.3, -1, -1, 0.9)
    assert found.score_threshold < 0
    assert spec.class_names == ("class 1", "class 2")


def test_fully_connected_classifier_layers_in_the_old_format(tmp_path: Path) -> None:
    """VGG_ILSVRC_16_layers: fc6 is 1 x 1 x 4096 x 25088 there; here 8 outputs of 2 x 7 x 7."""
    weight = np.arange(8 * 2 * 49, dtype=np.float32)
    legacy = b"".join(varint(n << 3) + varint(v) for n, v in ((1, 1), (2, 1), (3, 8), (4, 98))) + field(
        5, weight.tobytes()
    )
    bias = b"".join(varint(n << 3) + varint(v) for n, v in ((1, 1), (2, 1), (3, 1), (4, 8))) + field(
        5, floats(*range(8))
    )
    path = tmp_path / "vgg.caffemodel"
    path.write_bytes(field(2, field(4, b"fc6") + field(6, legacy) + field(6, bias)))
    base = read_base(path)
    expected = torch.from_numpy(weight).view(8, 2, 7, 7)[::4, :, ::3, ::3]
    assert torch.equal(base["backbone.fc6.convolution.weight"], expected)
    assert base["backbone.fc6.convolution.bias"].tolist() == [0, 4]
    import_files([path], tmp_path / "whole", whole=True)
    base = load_file(tmp_path / "whole" / "base.safetensors")
    assert torch.equal(base["backbone.fc6.convolution.weight"], torch.from_numpy(weight).view(8, 2, 7, 7))
    assert base["backbone.fc6.convolution.bias"].tolist() == list(range(8))
    path.write_bytes(new_layer("fc8", blob([1], [1])))
    with pytest.raises(ModelError, match="no layer of VGG-16 or MobileNet v1; it begins with fc8"):
        read_base(path)


def test_a_caffe_detector_becomes_a_model_folder(thin: SSD, tmp_path: Path) -> None:
    text, blobs = describe_in_caffe(thin)
    text = text.replace("input_shape { dim: 1 dim: 3 dim: 300 dim: 300 }", "")
    prototxt, caffemodel = write_caffe(tmp_path, text, blobs)
    line = import_files([caffemodel, prototxt], tmp_path / "m", class_names=["a", "b"], size_hw=(300, 300))
    assert "ssd300-vgg16, 300x300 input, 2 classes (a, b), 8732 boxes; from Caffe" in line
    assert load_network(tmp_path / "m").spec == THIN
    line = import_files([caffemodel], tmp_path / "base")
    assert line.startswith("30 tensors")
    assert len(start_from_file(SSD(THIN), tmp_path / "base" / "base.safetensors").kept) == 30


def test_batch_normalisation_of_a_mobilenet_file_is_folded(tmp_path: Path) -> None:
    """Equal to Caffe's three layers one after the other: convolution, BatchNorm with its counted sums, Scale."""
    random = np.random.default_rng(0)
    weight, (mean, gamma, beta) = random.normal(size=(4, 3, 3, 3)), random.normal(size=(3, 4))
    variance, counted = random.uniform(0.5, 2, 4), 3.0
    layers = {
        "conv0": [weight],
        "conv0/bn": [mean * counted, variance * counted, np.array([counted])],
        "conv0/scale": [gamma, beta],
    }
    path = tmp_path / "mobilenet.caffemodel"
    path.write_bytes(
        b"".join(new_layer(n, *(blob(b.reshape(-1).tolist(), list(b.shape)) for b in bs)) for n, bs in layers.items())
    )
    base = read_base(path)
    place = next(name for name in base if name.endswith(".weight")).removesuffix(".weight")
    image = torch.from_numpy(random.normal(size=(1, 3, 5, 5)).astype(np.float32))
    folded = torch.nn.functional.conv2d(image, base[f"{place}.weight"], base[f"{place}.bias"])
    plain = torch.nn.functional.conv2d(image.double(), torch.from_numpy(weight))
    columns = [torch.from_numpy(value).view(1, -1, 1, 1) for value in (mean, variance, gamma, beta)]
    expected = (plain - columns[0]) / (columns[1] + 1e-5).sqrt() * columns[2] + columns[3]
    torch.testing.assert_close(folded.double(), expected, rtol=1e-5, atol=1e-5)
