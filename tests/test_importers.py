"""Foreign weights: TensorFlow's and torchvision's files become our layers, and damaged ones are refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.vgg import make_layers

from golden import SHARED, needs_shared
from singleshot.commands.import_weights import _distinct_names, import_files
from singleshot.decode import decode_image
from singleshot.errors import ModelError, RequestError
from singleshot.models.ssd import SSD
from singleshot.models.vgg import STAGES
from singleshot.preprocess import to_network_input
from singleshot.spec import Compatibility
from singleshot.variants import SSD300_VGG16, SSD300_VGG16_FULL, SSDLITE320_MOBILENETV2
from singleshot.weights.build import save_network
from singleshot.weights.importers import tensorflow
from singleshot.weights.importers.tensorflow import read_mobilenetv2
from singleshot.weights.importers.torch_file import read_torch_file
from singleshot.weights.importers.torchvision import CLASSIFIER_INPUT, fold_norm, from_torchvision, subsample
from singleshot.weights.transfer import start_from, start_from_file

MOBILENET = SHARED / "weights" / "mobilenet_v2_imagenet"
# 1001 classes, 0 = background; the first file of the two (shared/README.md)
TOP_1 = {"cat": 286, "bird": 20, "grace_hopper": 653, "hot_dog": 935, "sunflower": 986}


# --- TensorFlow


@needs_shared
@pytest.mark.parametrize("file", sorted(path.name for path in MOBILENET.glob("*.npz")))
def test_imagenet_classes_of_five_images(file: str) -> None:
    with np.load(MOBILENET / file) as arrays:
        *_, last_layer = sorted({name.rpartition(".")[0] for name in arrays.files})
        classifier, bias = (torch.from_numpy(arrays[f"{last_layer}.{part}"]) for part in ("weight", "bias"))
    model = SSD(SSDLITE320_MOBILENETV2).eval()
    assert len(start_from(model, read_mobilenetv2(MOBILENET / file), origin=file).kept) == 2 * 52
    found = {}
    for name in TOP_1:
        pixels = to_network_input(decode_image(MOBILENET / f"{name}.png"), (224, 224), model.spec.preprocess)
        with torch.inference_mode():
            last = model.backbone(torch.from_numpy(pixels)[None])["last"]
        found[name] = int((last.mean(dim=(2, 3)) @ classifier.float().flatten(1).T + bias.float()).argmax())
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
    expected = SSD(SSDLITE320_MOBILENETV2).state_dict()
    assert read.keys() == {name for name in expected if name.startswith("backbone.")}
    for name, tensor in read.items():
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
    spec = replace(SSDLITE320_MOBILENETV2, preprocess=CLASSIFIER_INPUT, compatibility=Compatibility())
    model = SSD(spec).eval()
    base = from_torchvision(network.state_dict(), spec.preprocess, origin="torchvision")
    assert not start_from(model, base, origin="torchvision").unused
    _, images = classifier_input(0, 96)
    with torch.inference_mode():
        maps = model.source_maps(images)
        x = images
        for block in network.features[:14]:  # type: ignore[index]
            x = block(x)
        torch.testing.assert_close(maps["block14_expand"], network.features[14].conv[0](x), rtol=1e-4, atol=1e-4)  # type: ignore[index]
        torch.testing.assert_close(maps["last"], network.features(images), rtol=1e-4, atol=1e-4)  # type: ignore[operator]


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
    _, images = classifier_input(1, 64)
    with torch.inference_mode():
        maps = model.backbone(images)
        torch.testing.assert_close(maps["conv4_3"], vgg.features[:23](images), rtol=1e-4, atol=1e-5)  # type: ignore[index]
        torch.testing.assert_close(maps["conv5_3"], vgg.features[:30](images), rtol=1e-4, atol=1e-5)  # type: ignore[index]


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
    """The middle of fc7's 7x7 map of a 224x224 image is the classifier's fc7: fc6 sees the same 7x7 positions there.

    The borders are padded as the classifier's are, because the images are preprocessed as it wants them.
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
    _, images = classifier_input(3, 224)
    with torch.inference_mode():
        ours = model.backbone(images)["fc7"][:, :, 3, 3]
        theirs = vgg.classifier[:5](vgg.features(images).flatten(1))
    assert theirs.max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_first_layer_is_rewritten_for_other_pixels(vgg: torch.nn.Module) -> None:
    """Fed BGR pixels less the mean, the network sees what the classifier saw; borders are padded in another colour."""
    model = SSD(replace(SSD300_VGG16, normalised=())).eval()
    preprocess = model.spec.preprocess
    start_from(model, from_torchvision(vgg.state_dict(), preprocess, origin="vgg"), origin="vgg")
    pixels, images = classifier_input(2, 32)
    mean = torch.tensor(preprocess.mean_rgb).view(1, 3, 1, 1)
    with torch.inference_mode():
        ours = model.backbone.get_submodule("conv1_1")((pixels - mean).flip(1))
        theirs = torch.relu(vgg.features[0](images))  # type: ignore[index]
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


def test_an_import_replaces_imports_only(tmp_path: Path) -> None:
    torch.save(filled_classifier("mobilenet_v2").state_dict(), tmp_path / "w.pth")
    model = SSD(SSDLITE320_MOBILENETV2)
    save_network(tmp_path / "trained", model, card="", provenance={"data": ["mine"]})
    save_network(tmp_path / "imported", model, card="", provenance={"imported_from": {"w.pth": "0"}})
    with pytest.raises(RequestError, match="trained holds a model"):
        import_files([tmp_path / "w.pth"], tmp_path / "trained")
    assert (tmp_path / "trained/model.safetensors").is_file()
    import_files([tmp_path / "w.pth"], tmp_path / "imported")
    assert (tmp_path / "imported/base.safetensors").is_file()


@pytest.mark.parametrize("base", ["features.0.0", "_conv_stem"], ids=["mobilenet_v2", "efficient_net-b3"])
def test_other_bases_of_lufficc_are_refused_by_name(base: str, tmp_path: Path) -> None:
    names = ["backbone.extras.0.0", f"backbone.{base}", "box_head.predictor.cls_headers.0"]
    torch.save({"model": {f"{name}.weight": torch.zeros(1, 1, 1, 1) for name in names}}, tmp_path / "w.pth")
    for options in ({}, {"size_hw": (320, 320)}, {"class_names": ["a"]}):
        with pytest.raises(ModelError, match=rf"lufficc/SSD whose base begins with backbone\.{base}\.weight; of that"):
            import_files([tmp_path / "w.pth"], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_files_that_share_a_name_are_told_apart() -> None:
    """`imported_from` in `config.json` has an entry for each of them."""
    alone = [Path("a/deploy.prototxt"), Path("b/net.caffemodel")]
    assert _distinct_names(alone) == ["deploy.prototxt", "net.caffemodel"]
    saved = [Path("saved/saved_model.pb"), Path("saved/assets/x"), Path("saved/variables/x")]
    assert _distinct_names(saved) == ["saved_model.pb", "assets/x", "variables/x"]
