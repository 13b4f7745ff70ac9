"""Foreign weights: TensorFlow's, torchvision's and Caffe's files become our layers, and damaged ones are refused."""

from __future__ import annotations

import pickle
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torchvision.models.vgg import make_layers

from golden import SHARED, needs_shared
from singleshot.errors import ModelError, RequestError
from singleshot.models.ssd import SSD
from singleshot.models.vgg import STAGES
from singleshot.preprocess import decode_picture, to_network_input
from singleshot.spec import SSD300_VGG16, SSD300_VGG16_FULL, SSDLITE320_MOBILENETV2
from singleshot.weights import tensorflow
from singleshot.weights.build import fill, load_network, start_from, start_from_file
from singleshot.weights.caffe import from_description, import_caffe, read_base
from singleshot.weights.caffe_proto import Message, parse_text, read_caffemodel
from singleshot.weights.importing import import_files
from singleshot.weights.tensorflow import read_mobilenetv2
from singleshot.weights.torch_file import read_torch_file
from singleshot.weights.torchvision import CLASSIFIER_INPUT, fold_norm, from_torchvision, subsample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MOBILENET = SHARED / "weights" / "mobilenet_v2_imagenet"
# 1001 classes, 0 = background; the first file of the two (shared/README.md)
TOP_1 = {"cat": 286, "bird": 20, "grace_hopper": 653, "hot_dog": 935, "sunflower": 986}


# --- TensorFlow


@needs_shared
@pytest.mark.parametrize("file", sorted(path.name for path in MOBILENET.glob("*.npz")))
def test_imagenet_classes_of_five_pictures(file: str) -> None:
    weights = read_mobilenetv2(MOBILENET / file)
    assert weights.classifier is not None
    classifier, bias = weights.classifier
    model = SSD(SSDLITE320_MOBILENETV2).eval()
    assert len(start_from(model, weights.base, origin=file).kept) == 2 * 52
    found = {}
    for name in TOP_1:
        pixels = to_network_input(decode_picture(MOBILENET / f"{name}.png"), (224, 224), model.spec.preprocess)
        with torch.inference_mode():
            last = model.backbone(torch.from_numpy(pixels)[None])["last"]
        found[name] = int((last.mean(dim=(2, 3)) @ classifier.T + bias).argmax())
    assert found == TOP_1


def tensorflow_arrays(*, classes: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of such a file, made from a network of ours."""
    arrays: dict[str, np.ndarray] = {}
    state = SSD(SSDLITE320_MOBILENETV2).backbone.state_dict()
    names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    for number, name in enumerate(names):
        depthwise = "depthwise" in name
        key = f"{number:02d}.{'DEPTHWISE_CONV_2D' if depthwise else 'CONV_2D'}.s1"
        weight = state[f"{name}.weight"].permute((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        arrays[f"{key}.weight"], arrays[f"{key}.bias"] = weight.numpy(), state[f"{name}.bias"].numpy()
    if classes is not None:
        key = f"{len(names):02d}.CONV_2D.s1"
        arrays[f"{key}.weight"] = np.zeros((classes, 1, 1, 1280), np.float32)
        arrays[f"{key}.bias"] = np.zeros(classes, np.float32)
    return arrays


def test_tensorflow_layout_comes_back(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **tensorflow_arrays())
    read = read_mobilenetv2(tmp_path / "w.npz")
    assert read.classifier is None
    expected = SSD(SSDLITE320_MOBILENETV2).state_dict()
    assert read.base.keys() == {name for name in expected if name.startswith("backbone.")}
    for name, tensor in read.base.items():
        assert torch.equal(tensor, expected[name]), name


def test_other_npz_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    arrays = tensorflow_arrays(classes=3)
    few = dict(list(arrays.items())[:20])
    swapped = {key.replace("01.DEPTHWISE_CONV_2D", "01.CONV_2D"): value for key, value in arrays.items()}
    flat = {**arrays, "05.CONV_2D.s1.weight": np.zeros(3, np.float32)}
    for content, message in (
        (few, "holds 10 layers; MobileNetV2 has 52"),
        (swapped, r"stands where block1\.depthwise was expected"),
        (flat, r"05\.CONV_2D\.s1 must have a 4-dimensional weight"),
    ):
        np.savez(path, **content)
        with pytest.raises(ModelError, match=message):
            read_mobilenetv2(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        read_mobilenetv2(path)
    np.savez(path, a=np.array([object()]))  # a pickle inside is never opened
    with pytest.raises(ModelError, match="cannot be read"):
        read_mobilenetv2(path)


# --- torchvision


def classifier_input(seed: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random pixels 0..255, and the same as a torchvision classifier takes them."""
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLASSIFIER_INPUT.mean_rgb, CLASSIFIER_INPUT.std_rgb))
    return pixels, (pixels - mean) / std


def filled_classifier(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)  # torchvision draws from the global state
    network = getattr(torchvision.models, kind)(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.5, 0.5)
    return network  # type: ignore[no-any-return]


def test_torchvision_mobilenetv2_features() -> None:
    network = filled_classifier("mobilenet_v2")
    spec = replace(SSDLITE320_MOBILENETV2, preprocess=CLASSIFIER_INPUT, tensorflow_padding=False)
    model = SSD(spec).eval()
    base = from_torchvision(network.state_dict(), spec.preprocess, origin="torchvision")
    assert not start_from(model, base, origin="torchvision").unused
    _, pictures = classifier_input(0, 96)
    with torch.inference_mode():
        maps = model.source_maps(pictures)
        x = pictures
        for block in network.features[:14]:  # type: ignore[index]
            x = block(x)
        torch.testing.assert_close(maps["block14_expand"], network.features[14].conv[0](x), rtol=1e-4, atol=1e-4)  # type: ignore[index]
        torch.testing.assert_close(maps["last"], network.features(pictures), rtol=1e-4, atol=1e-4)  # type: ignore[operator]


@pytest.fixture(scope="module")
def vgg() -> torch.nn.Module:
    with torch.device("meta"):  # its own initialisation of 138 million weights takes seconds
        network = torchvision.models.vgg16(weights=None, init_weights=False).eval()
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        bound = (6 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
        parameter.data.uniform_(-bound, bound, generator=generator)
    return network  # type: ignore[no-any-return]


def test_torchvision_vgg16_features(vgg: torch.nn.Module) -> None:
    spec = replace(SSD300_VGG16, preprocess=CLASSIFIER_INPUT, sources=("conv4_3", "conv5_3", *SSD300_VGG16.sources[2:]))
    model = SSD(spec).eval()
    start_from(model, from_torchvision(vgg.state_dict(), spec.preprocess, origin="vgg"), origin="vgg")
    _, pictures = classifier_input(1, 64)
    with torch.inference_mode():
        maps = model.backbone(pictures)
        torch.testing.assert_close(maps["conv4_3"], vgg.features[:23](pictures), rtol=1e-4, atol=1e-5)  # type: ignore[index]
        torch.testing.assert_close(maps["conv5_3"], vgg.features[:30](pictures), rtol=1e-4, atol=1e-5)  # type: ignore[index]


def test_vgg16_fully_connected_layers_are_subsampled(vgg: torch.nn.Module) -> None:
    base = from_torchvision(vgg.state_dict(), CLASSIFIER_INPUT, origin="vgg")
    fc6 = vgg.classifier[0].weight.view(4096, 512, 7, 7)  # type: ignore[index]
    found = base["backbone.fc6.convolution.weight"]
    assert found.shape == (1024, 512, 3, 3)
    for output, channel, y, x in ((0, 0, 0, 0), (1, 5, 1, 2), (1023, 511, 2, 2)):
        assert found[output, channel, y, x] == fc6[4 * output, channel, 3 * y, 3 * x]
    fc7 = base["backbone.fc7.convolution.weight"]
    assert fc7.shape == (1024, 1024, 1, 1)
    assert fc7[3, 7, 0, 0] == vgg.classifier[3].weight[12, 28]  # type: ignore[index]
    assert torch.equal(base["backbone.fc7.convolution.bias"], vgg.classifier[3].bias[::4])  # type: ignore[index]


def test_whole_fully_connected_layers_see_what_the_classifier_saw(tmp_path: Path) -> None:
    """The middle of fc7's 7x7 map of a 224x224 picture is the classifier's fc7: fc6 sees the same 7x7 positions there.

    The borders are padded as the classifier's are, because the pictures are preprocessed as it wants them.
    """
    stages = [n for count, channels in STAGES for n in (*[channels // 16] * count, "M")]
    torch.manual_seed(0)  # torchvision draws from the global state
    vgg = torchvision.models.VGG(make_layers(stages), num_classes=2).eval()  # type: ignore[arg-type]
    vgg.classifier[0], vgg.classifier[3] = torch.nn.Linear(32 * 49, 256), torch.nn.Linear(256, 256)
    model = SSD(replace(SSD300_VGG16_FULL, preprocess=CLASSIFIER_INPUT, width=1 / 16)).eval()
    save_file(dict(vgg.state_dict()), tmp_path / "vgg.safetensors")
    found = start_from_file(model, tmp_path / "vgg.safetensors")
    assert not found.unused
    assert not [name for name in found.missing if name.startswith("backbone.")]
    _, pictures = classifier_input(3, 224)
    with torch.inference_mode():
        ours = model.backbone(pictures)["fc7"][:, :, 3, 3]
        theirs = vgg.classifier[:5](vgg.features(pictures).flatten(1))
    assert theirs.max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_whole_is_for_a_vgg16_classifier_alone(thin: SSD, tmp_path: Path) -> None:
    torch.save(torchvision.models.mobilenet_v2(weights=None).state_dict(), tmp_path / "mobile.pth")
    with pytest.raises(RequestError, match=r"mobile\.pth has no fc6 of 7x7; --whole is for a VGG-16 classifier"):
        import_files([tmp_path / "mobile.pth"], tmp_path / "base", whole=True)
    text, blobs = describe_in_caffe(thin)
    files = write_caffe(tmp_path, text, blobs)
    with pytest.raises(RequestError, match=r"net\.caffemodel is a detector; --whole is for"):
        import_files(files, tmp_path / "base", whole=True)
    assert not (tmp_path / "base").exists()


def test_first_layer_is_rewritten_for_other_pixels(vgg: torch.nn.Module) -> None:
    """Fed BGR pixels less the mean, the network sees what the classifier saw; borders are padded in another colour."""
    model = SSD(replace(SSD300_VGG16, normalised=())).eval()
    preprocess = model.spec.preprocess
    start_from(model, from_torchvision(vgg.state_dict(), preprocess, origin="vgg"), origin="vgg")
    pixels, pictures = classifier_input(2, 32)
    mean = torch.tensor(preprocess.mean_rgb).view(1, 3, 1, 1)
    with torch.inference_mode():
        ours = model.backbone.get_submodule("conv1_1")((pixels - mean).flip(1))
        theirs = torch.relu(vgg.features[0](pictures))  # type: ignore[index]
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-5)


def test_subsampling_by_hand() -> None:
    weight = torch.arange(8 * 2 * 7 * 7, dtype=torch.float32).view(8, 2, 7, 7)
    found = subsample(weight, 4, 1, 3)
    assert found.shape == (2, 2, 3, 3)
    assert found[0, 0].tolist() == [[0, 3, 6], [21, 24, 27], [42, 45, 48]]
    assert found[1, 1, 0, 0] == weight[4, 1, 0, 0]


def test_folding_equals_convolution_then_normalisation() -> None:
    convolution, norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, eps=1e-3).eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in (norm.weight, norm.bias, norm.running_mean, convolution.weight, convolution.bias):
        assert tensor is not None
        tensor.data.uniform_(-1, 1, generator=generator)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    norm.running_var.uniform_(0.1, 2, generator=generator)
    parts = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    weight, bias = fold_norm(convolution.weight, convolution.bias, *parts, epsilon=1e-3)
    x = torch.rand(2, 3, 8, 8, generator=generator)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, weight, bias), norm(convolution(x)), rtol=1e-5, atol=1e-5)


def test_a_pickle_never_runs(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ModelError, match=r"no file of plain tensors: it is damaged, or holds objects or code$"):
        read_torch_file(tmp_path / "bomb.pth")
    (tmp_path / "bomb.npz").write_bytes(pickle.dumps(Bomb()))
    np.savez(tmp_path / "object.npz", weight=np.array([Bomb()], dtype=object))
    for name in ("bomb.npz", "object.npz"):
        with pytest.raises(ModelError, match=r"cannot be read as an .npz file") as refusal:
            read_mobilenetv2(tmp_path / name)
        assert "unsafe" not in str(refusal.value)
    assert not (tmp_path / "ran").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="dictionary of tensors, got list"):
        read_torch_file(tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "list.pth").read_bytes()[:40])
    with pytest.raises(ModelError, match="no file of plain tensors"):
        read_torch_file(tmp_path / "cut.pth")


def test_an_npz_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", weight=np.zeros(1_000_000))
    monkeypatch.setattr(tensorflow, "LARGEST", 4_000_000)
    with pytest.raises(ModelError, match="unpacks to more than 4,000,000 bytes"):
        read_mobilenetv2(tmp_path / "zeros.npz")


def test_state_dicts_of_plain_tensors_are_read(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}}, tmp_path / "w.pth")
    assert read_torch_file(tmp_path / "w.pth")["a"].tolist() == [1, 1]


def test_a_missing_tensor_is_named(vgg: torch.nn.Module) -> None:
    state = {name: tensor for name, tensor in vgg.state_dict().items() if name != "features.17.bias"}
    with pytest.raises(ModelError, match=r"has no features\.17\.bias"):
        from_torchvision(state, CLASSIFIER_INPUT, origin="vgg.pth")


# --- Caffe's text


def test_prototxt_by_hand() -> None:
    net = parse_text("a: 1 # note { \n m { b: \"x { y\" b: 'z' } m < c: -2.5e1 > l: [1, 2] t: true; e: MAX", "net")
    assert net.number("a", 0) == 1
    assert net.messages("m")[0].texts("b") == ["x { y", "z"]
    assert net.messages("m")[1].number("c", 0) == -25
    assert net.numbers("l") == [1, 2]
    assert net.flag("t", default=False)
    assert net.text("e") == "MAX"
    assert net.message("none") == Message()
    assert net.number("none", 7) == 7
    assert parse_text("") == Message()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {", "ends inside a message"),
        ("a", "ends behind a"),
        ("a:", "ends behind a"),
        ("}", "line 1: '}' is not expected"),
        ("a: 1\n\n]", r"line 3: '\]' is not expected"),
        ("a { b: 1 >", "'>' is not expected"),
        ("a: }", "a has no value"),
        ('a: "cut', "line 1: cannot read"),
        ("a: 1 \x00", "cannot read"),
        ("a {" * 100_000, "not expected|ends inside"),
    ],
)
def test_broken_prototxt_is_refused_with_the_line(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_text(text, "net.prototxt")


@pytest.mark.parametrize("value", ["x", "nan", "inf", "1e999"])
def test_numbers_must_be_finite(value: str) -> None:
    with pytest.raises(ModelError, match="a must be a"):
        parse_text(f"a: {value}").number("a", 0)


# --- Caffe's binary


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def blob(values: list[float], shape: list[int]) -> bytes:
    return field(7, field(1, b"".join(map(varint, shape)))) + field(5, floats(*values))


def new_layer(name: str, *blobs: bytes) -> bytes:
    return field(100, field(1, name.encode()) + field(2, b"Convolution") + b"".join(field(7, b) for b in blobs))


def test_new_and_old_layers_by_hand(tmp_path: Path) -> None:
    legacy = b"".join(varint(n << 3) + varint(v) for n, v in ((1, 2), (2, 1), (3, 1), (4, 2))) + field(
        5, floats(1, 2, 3, 4)
    )
    old = field(2, field(4, b"old") + varint(5 << 3) + varint(4) + field(6, legacy))
    double = field(7, varint(1 << 3) + varint(2)) + field(8, struct.pack("<2d", 0.5, -0.5))
    single = field(7, field(1, varint(2))) + b"".join(varint(5 << 3 | 5) + floats(v) for v in (7, 8))  # not packed
    unknown = varint(50 << 3) + varint(300) + varint(51 << 3 | 1) + b"12345678" + field(52, b"?")
    path = tmp_path / "net.caffemodel"
    path.write_bytes(
        field(1, b"net") + unknown + old + new_layer("new", blob([1, 2], [2, 1]), double, single) + new_layer("relu")
    )
    layers = read_caffemodel(path)
    assert list(layers) == ["old", "new"]  # what has no blobs is left out
    assert layers["old"].blobs[0].tolist() == [[[[1, 2]]], [[[3, 4]]]]
    assert [b.tolist() for b in layers["new"].blobs] == [[[1], [2]], [0.5, -0.5], [7, 8]]
    assert all(b.dtype == np.float32 for b in layers["new"].blobs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no layer with weights"),
        (b"<html>", "no whole .caffemodel"),
        (b"\xff" * 20, "no whole .caffemodel"),
        (new_layer("a", blob([1, 2], [3])), r"shape \[3\] has 2 values"),
        (new_layer("a", blob([1, 2], [2**40, 2**40])), "has 2 values"),
        (new_layer("a", field(5, b"123")), "no whole .caffemodel"),
        (new_layer("a", blob([1], [1]))[:-2], "cut short"),
        (field(2, field(4, b"split")), "no layer with weights"),
    ],
)
def test_broken_caffemodels_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "net.caffemodel").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_caffemodel(tmp_path / "net.caffemodel")


# --- a whole Caffe network, described here: MobileNet-SSD has too many layers, VGG at width 1/64 is small


THIN = replace(SSD300_VGG16, width=1 / 64, class_names=("a", "b"))


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
    spec, state = import_caffe(prototxt, caffemodel, ["a", "b"])
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
            import_caffe(prototxt, caffemodel)


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


# --- files to folders


def test_a_caffe_detector_becomes_a_model_folder(thin: SSD, tmp_path: Path) -> None:
    text, blobs = describe_in_caffe(thin)
    text = text.replace("input_shape { dim: 1 dim: 3 dim: 300 dim: 300 }", "")
    prototxt, caffemodel = write_caffe(tmp_path, text, blobs)
    line = import_files([caffemodel, prototxt], tmp_path / "m", class_names=["a", "b"], size_hw=(300, 300))
    assert "ssd300-vgg16, 300x300 input, 2 classes (a, b), 8732 boxes; from Caffe" in line
    assert load_network(tmp_path / "m").spec == THIN
    line = import_files([caffemodel], tmp_path / "base")
    assert line.startswith("30 tensors of a base")
    assert len(start_from_file(SSD(THIN), tmp_path / "base" / "base.safetensors").kept) == 30


def test_a_torchvision_file_becomes_a_base(tmp_path: Path) -> None:
    torch.save(filled_classifier("mobilenet_v2").state_dict(), tmp_path / "w.pth")
    import_files([tmp_path / "w.pth"], tmp_path / "base")
    transfer = start_from_file(SSD(SSDLITE320_MOBILENETV2), tmp_path / "base" / "base.safetensors")
    assert len(transfer.kept) == 2 * 52


def test_other_files_are_refused(tmp_path: Path) -> None:
    for files, message in (
        ([], "got nothing"),
        ([tmp_path / "a.prototxt", tmp_path / "b.prototxt"], r"got a\.prototxt, b\.prototxt"),
        ([tmp_path / "a.pth"], "there is no file"),
    ):
        with pytest.raises(RequestError, match=message):
            import_files(files, tmp_path / "out")
    (tmp_path / "a.bin").write_text("")
    with pytest.raises(RequestError, match="kind that is not read"):
        import_files([tmp_path / "a.bin"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
