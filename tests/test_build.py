"""Networks from model folders, and starts from other weights: what fits is kept, what does not is named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from singleshot.errors import ModelError, RequestError
from singleshot.models.ssd import SSD
from singleshot.spec import Compatibility, MapBoxes, ModelSpec, Preprocess
from singleshot.variants import SSD300_MOBILENETV1, SSD300_VGG16, SSD512_VGG16, SSDLITE320_MOBILENETV2
from singleshot.weights.build import load_network, save_network
from singleshot.weights.folder import read_folder, save_folder
from singleshot.weights.transfer import same_classes, start_from, start_from_file

if TYPE_CHECKING:
    from pathlib import Path

LITE = replace(SSDLITE320_MOBILENETV2, width=1 / 16)
VGG = replace(SSD300_VGG16, width=1 / 16)


def same(first: SSD, second: SSD, prefix: str) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for (name, a), b in pairs if name.startswith(prefix))


@pytest.mark.parametrize("spec", [LITE, VGG, replace(SSD300_MOBILENETV1, width=1 / 16, batch_norm=True)])
def test_saving_and_loading_gives_the_same_network(tmp_path: Path, spec: object) -> None:
    model = SSD(spec, seed=4).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running" in name:
                tensor.add_(0.25)
    save_network(tmp_path / "m", model, card="card", provenance={"epochs": 1})
    loaded = load_network(tmp_path / "m")
    assert not loaded.training
    assert loaded.spec == model.spec
    assert same(model, loaded, "")
    assert torch.equal(model.default_boxes, loaded.default_boxes)


def test_half_precision_costs_half_and_little_accuracy(tmp_path: Path) -> None:
    model = SSD(LITE).eval()
    save_network(tmp_path / "full", model, card="")
    save_network(tmp_path / "half", model, card="", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.75 * sizes[0]
    loaded = load_network(tmp_path / "half")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)
        assert loaded.state_dict()[name].dtype == tensor.dtype


def test_weights_that_do_not_fit_their_configuration_name_both_sides(tmp_path: Path) -> None:
    model = SSD(VGG)
    save_network(tmp_path / "m", model, card="")
    tensors = read_folder(tmp_path / "m").tensors()
    save_folder(tmp_path / "classes", replace(VGG, class_names=("a",)), tensors, card="")
    with pytest.raises(
        ModelError, match=r"heads\.confidence\.conv4_3\.weight as \(84, 32, 3, 3\).*needs \(8, 32, 3, 3\)"
    ):
        load_network(tmp_path / "classes")
    save_folder(tmp_path / "other", LITE, tensors, card="")
    with pytest.raises(ModelError, match=r"backbone\.stem"):
        load_network(tmp_path / "other")
    save_folder(tmp_path / "more", VGG, {**tensors, "code": np.zeros(1)}, card="")
    with pytest.raises(ModelError, match="code"):
        load_network(tmp_path / "more")


def test_other_classes_replace_the_class_scores_and_keep_the_rest(tmp_path: Path) -> None:
    source = SSD(LITE, seed=1)
    save_network(tmp_path / "m", source, card="")
    model = SSD(replace(LITE, class_names=("cell", "dust")), seed=2)
    fresh = SSD(model.spec, seed=2)
    transfer = start_from_file(model, tmp_path / "m")
    for prefix in ("backbone.", "extras.", "heads.location."):
        assert same(model, source, prefix)
    assert same(model, fresh, "heads.confidence.") is False  # the depthwise part of the heads is kept
    assert {name.split(".")[3] for name in transfer.replaced} == {"pointwise"}
    assert len(transfer.replaced) == 2 * len(LITE.sources)
    assert not transfer.missing
    assert not transfer.unused
    assert f"{len(transfer.kept)} of {len(transfer.kept) + 12} tensors" in transfer.summary
    assert "\n" not in transfer.summary


@pytest.mark.parametrize("spec", [LITE, VGG], ids=["lite", "vgg"])
def test_as_many_but_other_classes_are_other_classes(tmp_path: Path, spec: object) -> None:
    source = SSD(replace(spec, class_names=("cat", "dog")), seed=1)  # type: ignore[type-var]
    save_network(tmp_path / "m", source, card="")
    same_classes = SSD(source.spec, seed=2)
    assert not start_from_file(same_classes, tmp_path / "m").replaced
    assert same(same_classes, source, "")
    others = SSD(replace(source.spec, class_names=("bird", "cow")), seed=2)
    replaced = start_from_file(others, tmp_path / "m").replaced
    assert len(replaced) == 12
    assert all(name.startswith("heads.confidence.") for name in replaced)
    for name in replaced:
        if name.endswith("weight"):
            assert not torch.equal(others.state_dict()[name], source.state_dict()[name])


@pytest.mark.parametrize(
    "spec",
    [LITE, VGG, replace(LITE, compatibility=Compatibility(full_heads=LITE.sources[-1:]))],
    ids=["lite", "vgg", "one full head"],
)
def test_classes_that_both_know_are_kept_by_name(tmp_path: Path, spec: ModelSpec) -> None:
    spec = replace(spec, class_names=("cat", "dog", "cow"))
    source = SSD(spec, seed=1).eval()
    for head in source.heads.confidence.modules():
        if isinstance(head, torch.nn.Conv2d) and head.bias is not None:
            head.bias.data.copy_(torch.arange(len(head.bias)))  # of the last maps' logits nothing else is left
    save_network(tmp_path / "m", source, card="")
    model = SSD(replace(spec, class_names=("bird", "dog", "cat")), seed=2).eval()
    transfer = start_from_file(model, tmp_path / "m")
    assert not transfer.replaced
    assert transfer.summary.endswith("classes kept: dog, cat; new: bird")
    image = torch.randn(1, 3, *spec.input_size_hw, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(image).logits[..., [0, 2, 3]], source(image).logits[..., [0, 2, 1]])


def test_classes_are_the_same_under_other_spellings(tmp_path: Path) -> None:
    source = SSD(replace(LITE, class_names=("Person", "dining table", "motorcycle", "bird")), seed=1).eval()
    save_network(tmp_path / "m", source, card="")
    model = SSD(replace(LITE, class_names=("bird", "motorbike", "person", "diningtable")), seed=2).eval()
    transfer = start_from_file(model, tmp_path / "m")
    assert "kept: bird, motorbike (motorcycle), person (Person), diningtable (dining table)" in transfer.summary
    assert transfer.new_classes == ()
    image = torch.randn(1, 3, *LITE.input_size_hw, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(image).logits, source(image).logits[..., [0, 4, 3, 1, 2]])


def test_a_class_with_two_partners_has_none() -> None:
    assert same_classes(["cat", "Dog"], ["Cat", "CAT", "dog"]) == {"Dog": "dog"}
    assert same_classes(["dog", "Dog"], ["dog"]) == {"dog": "dog"}


def test_a_new_map_gets_fresh_heads_only() -> None:
    source = SSD(LITE, seed=1)
    boxes = replace(LITE.boxes, maps=(MapBoxes((20,)), *LITE.boxes.maps))
    model = SSD(replace(LITE, sources=("block7_expand", *LITE.sources), boxes=boxes), seed=2)
    transfer = start_from(model, source.state_dict(), origin="source", source_classes=LITE.class_names)
    assert not transfer.replaced
    assert {name.split(".")[2] for name in transfer.missing} == {"block7_expand"}
    for name in transfer.kept:
        assert torch.equal(model.state_dict()[name], source.state_dict()[name])
    assert len(transfer.kept) == len(source.state_dict())


def test_ssd300_can_start_ssd512() -> None:
    model = SSD(replace(SSD512_VGG16, width=1 / 16), seed=2)
    source = SSD(VGG, seed=1)
    transfer = start_from(model, source.state_dict(), origin="ssd300", source_classes=VGG.class_names)
    # conv10_2 has 4 boxes a cell at 300 and 6 at 512; conv12_2 is new.
    assert "backbone.fc7.convolution.weight" in transfer.kept
    assert {name.split(".")[2] for name in transfer.missing if name.startswith("heads")} == {"conv12_2"}
    assert {name.split(".")[2] for name in transfer.replaced} == {"conv10_2"}


@pytest.mark.parametrize(
    ("target", "source", "message"),
    [
        (VGG, LITE, r"it has backbone\.stem\.convolution\.weight, but the model ssd300-vgg16 is a vgg16"),
        (LITE, VGG, r"it has backbone\.conv1_1.*ssdlite320-mobilenetv2 is a mobilenetv2"),
        (
            VGG,
            replace(VGG, width=1 / 8),
            r"backbone\.conv1_1\.convolution\.weight is \(8, 3, 3, 3\) there and \(4, 3, 3, 3\)",
        ),
        (LITE, replace(LITE, batch_norm=True), r"another architecture"),
    ],
    ids=["lite into vgg", "vgg into lite", "width", "batch norm"],
)
def test_another_architecture_is_refused(target: object, source: object, message: str) -> None:
    model, other = SSD(target), SSD(source)  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelError, match=message) as caught:
        start_from(model, other.state_dict(), origin="other/best")
    assert "other/best" in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_start_of_another_input_is_rewritten_for_ours(batch_norm: bool, tmp_path: Path) -> None:
    """The same colours give the same map, but for the border."""
    lite = replace(LITE, batch_norm=batch_norm)
    source = SSD(replace(lite, preprocess=Preprocess((120.0, 110.0, 100.0), (50.0, 60.0, 70.0), "bgr")), seed=1).eval()
    save_network(tmp_path / "m", source, card="")
    model = SSD(lite, seed=2).eval()
    transfer = start_from_file(model, tmp_path / "m")
    assert transfer.summary.endswith(
        "first convolution rewritten from BGR, (pixel - 120, 110, 100) / 50, 60, 70 to RGB, (pixel - 127.5) / 127.5"
    )
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
    fed = (pixels - torch.tensor([120.0, 110, 100]).view(3, 1, 1)) / torch.tensor([50.0, 60, 70]).view(3, 1, 1)
    with torch.no_grad():
        ours = model.backbone.get_submodule("stem")((pixels - 127.5) / 127.5)
        theirs = source.backbone.get_submodule("stem")(fed.flip(1))
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], rtol=1e-4, atol=1e-5)
    assert not start_from_file(SSD(source.spec), tmp_path / "m").remarks


def test_a_start_that_pads_otherwise_is_told(tmp_path: Path) -> None:
    save_network(tmp_path / "m", SSD(replace(LITE, compatibility=Compatibility())), card="")
    summary = start_from_file(SSD(LITE), tmp_path / "m").summary
    assert f"it pads strided convolutions on all sides, {LITE.name} at the bottom right" in summary


def test_files_that_cannot_be_a_start(tmp_path: Path) -> None:
    model = SSD(LITE)
    with pytest.raises(RequestError, match="no weights at"):
        start_from_file(model, tmp_path / "nowhere")
    (tmp_path / "net.pth").write_bytes(b"x")
    with pytest.raises(RequestError, match="ssd weights import"):
        start_from_file(model, tmp_path / "net.pth")
    for name in ("net.npz", "net.safetensors"):
        (tmp_path / name).write_bytes(b"<html>")
        with pytest.raises(ModelError, match=name):
            start_from_file(model, tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="SHA256SUMS"):
        start_from_file(model, tmp_path / "empty")
    save_file({"fc.weight": torch.zeros(1)}, tmp_path / "resnet.safetensors")
    with pytest.raises(ModelError, match=r"begins with fc\.weight"):
        start_from_file(model, tmp_path / "resnet.safetensors")
    with pytest.raises(ModelError, match="no tensor that"):
        start_from(model, {}, origin="empty")


def test_a_safetensors_file_of_our_base(tmp_path: Path) -> None:
    source = SSD(LITE, seed=1)
    base = {name: tensor for name, tensor in source.state_dict().items() if name.startswith("backbone.")}
    save_file(base, tmp_path / "base.safetensors")
    model = SSD(LITE, seed=2)
    transfer = start_from_file(model, tmp_path / "base.safetensors")
    assert set(transfer.kept) == set(base)
    assert same(model, source, "backbone.")
    assert not any("num_batches" in name for name in transfer.missing)
