"""Detectors of other projects: what they compute, our copy of them computes."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.nn import functional as F

import foreign_nets
from foreign_nets import centre_form_boxes, randomised, with_ratios
from golden import SHARED, needs_shared
from singleshot.cli.main import run
from singleshot.commands.import_weights import import_files
from singleshot.data.class_names import COCO_CLASSES, COCO_TO_VOC
from singleshot.errors import ModelError, RequestError
from singleshot.models.ssd import SSD
from singleshot.runtime.detector import Detector
from singleshot.spec import ModelSpec
from singleshot.variants import VOC_CLASSES
from singleshot.weights.build import fill, load_network
from singleshot.weights.classes import COCO_GAPS, names_for
from singleshot.weights.folder import read_spec
from singleshot.weights.importers.detectors import detector_of_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

FACES = SHARED / "weights" / "ultra_light_face"


def imported(state: Mapping[str, Tensor], **options: Any) -> SSD:
    found = detector_of_state(state, None, origin="file", **options)
    assert found is not None
    _, spec, ours = found
    model = SSD(spec)
    fill(model, ours, origin="file")
    return model.eval()


def noise(spec: ModelSpec) -> Tensor:
    """An image of random pixels, 0..255."""
    return torch.rand(1, 3, *spec.input_size_hw, generator=torch.Generator().manual_seed(5)) * 255


def as_input(pixels: Tensor, spec: ModelSpec) -> Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (spec.preprocess.mean_rgb, spec.preprocess.std_rgb))
    assert spec.preprocess.channel_order == "rgb"
    return (pixels - mean) / std


# --- torchvision


@pytest.fixture(scope="module")
def ssd300() -> torch.nn.Module:
    torch.manual_seed(0)  # torchvision draws from the global state
    network: Any = torchvision.models.detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=21)
    randomised(network).backbone.features[0].weight.data /= 100  # its input reaches 150
    return network  # type: ignore[no-any-return]


@torch.inference_mode()
def require_same_as_torchvision(network: Any, model: SSD) -> None:
    """In float64: in float32, the order of additions (threads, processor) moves scores of a random network by 1e-4."""
    network, model = copy.deepcopy(network).double(), copy.deepcopy(model).double()
    pixels = noise(model.spec)
    images, _ = network.transform([pixels[0].double() / 255])
    features = list(network.backbone(images.tensors).values())
    expected = network.head(features)
    boxes = network.anchor_generator(images, features)[0]
    height, width = model.spec.input_size_hw
    assert torch.allclose(model.default_boxes * torch.tensor([width, height, width, height]), boxes.double(), atol=1e-3)
    predictions = model(as_input(pixels.double(), model.spec))
    scale = expected["bbox_regression"].abs().max()
    assert torch.allclose(predictions.offsets, expected["bbox_regression"], atol=1e-4 * scale)
    scores = F.softmax(predictions.logits, -1)
    assert torch.allclose(scores, F.softmax(expected["cls_logits"], -1), atol=1e-4)
    assert scores.std() > 0.01, "scores that differ between boxes"


def test_torchvision_ssd300(ssd300: torch.nn.Module) -> None:
    model = imported(ssd300.state_dict())
    require_same_as_torchvision(ssd300, model)
    assert model.spec.class_names == VOC_CLASSES
    assert len(model.default_boxes) == 8732


def test_torchvision_ssdlite() -> None:
    torch.manual_seed(0)
    network = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    model = imported(randomised(network).state_dict())
    require_same_as_torchvision(network, model)
    assert model.spec.class_names[:12] == (*COCO_CLASSES[:11], "unused 12")
    assert len(model.spec.class_names) == 90


def test_a_copy_detects_what_torchvision_detects(ssd300: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": ssd300.state_dict()}, tmp_path / "w.pth")
    import_files([tmp_path / "w.pth"], tmp_path / "model")
    pixels = np.random.default_rng(3).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    with torch.inference_mode():
        theirs = ssd300([torch.from_numpy(pixels).permute(2, 0, 1) / 255])[0]
    ours = Detector.load(tmp_path / "model")(Image.fromarray(pixels))
    best = theirs["scores"] > 0.6
    assert 5 < int(best.sum()) < 200
    # torchvision cuts boxes to the image before NMS, we behind it: what stands at its border may differ
    distances = np.abs(ours.boxes[:, None] - theirs["boxes"][best].numpy()[None]).max(axis=2)
    inside = (theirs["boxes"][best].numpy() > [1, 1, -1, -1]).all(1) & (
        theirs["boxes"][best].numpy() < [999, 999, 299, 299]
    ).all(1)
    assert inside.any()
    assert distances.min(axis=0)[inside].max() < 0.05


# --- the same network under the names of three other projects


def renamed(state: Mapping[str, Tensor], project: str) -> dict[str, Tensor]:
    """torchvision's SSD300 as another project would save it, by the order of the layers."""
    base = ["0", "2", "5", "7", "10", "12", "14", "17", "19", "21", "24", "26", "28", "31", "33"]
    names = {
        "ssd.pytorch": (
            [f"vgg.{n}" for n in base] + [f"extras.{n}" for n in range(8)],
            [f"conf.{n}" for n in range(6)],
            [f"loc.{n}" for n in range(6)],
            "L2Norm.weight",
        ),
        "lufficc/SSD": (
            [f"backbone.vgg.{n}" for n in base] + [f"backbone.extras.{n}" for n in range(8)],
            [f"box_head.predictor.cls_headers.{n}" for n in range(6)],
            [f"box_head.predictor.reg_headers.{n}" for n in range(6)],
            "backbone.l2_norm.weight",
        ),
        "qfgaohao/pytorch-ssd": (
            [f"base_net.{n}" for n in base] + [f"extras.{n}.{part}" for n in range(4) for part in (0, 2)],
            [f"classification_headers.{n}" for n in range(6)],
            [f"regression_headers.{n}" for n in range(6)],
            "source_layer_add_ons.0.scale",
        ),
    }[project]
    trunk, classes, offsets, norm = names
    theirs = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    result = {norm: state["backbone.scale_weight"]}
    for ours, place in zip([*trunk, *classes, *offsets], theirs, strict=True):
        result |= {f"{ours}.{part}": state[f"{place}.{part}"] for part in ("weight", "bias")}
    return result


@pytest.mark.parametrize("project", ["ssd.pytorch", "lufficc/SSD", "qfgaohao/pytorch-ssd"])
def test_vgg_of_other_projects(ssd300: torch.nn.Module, project: str) -> None:
    state = renamed(ssd300.state_dict(), project)
    found = detector_of_state(state, None, origin="file")
    assert found is not None
    assert found[0] == project
    model, same = imported(state), imported(ssd300.state_dict())
    for name, tensor in same.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert model.spec.preprocess.mean_rgb == (123, 117, 104)
    sizes, ratios = (30, 60, 111, 162, 213, 264, 315), ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    shapes = zip((38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300), range(6), strict=True)
    expected = centre_form_boxes(
        (300, 300),
        [((f, f), (s, s), with_ratios(sizes[k], sizes[k + 1], ratios[k])) for f, s, k in shapes],
    )
    assert torch.allclose(model.default_boxes, expected, atol=1e-6)


def test_lufficc_512_of_coco_has_cocos_boxes() -> None:
    shapes: dict[str, Tensor] = {}

    def convolution(name: str, outputs: int, inputs: int, kernel: int) -> None:
        shapes[f"{name}.weight"] = torch.zeros(outputs, inputs, kernel, kernel)
        shapes[f"{name}.bias"] = torch.zeros(outputs)

    channels = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    inputs = 3
    for place, outputs in zip(places, channels, strict=True):
        convolution(f"backbone.vgg.{place}", outputs, inputs, 3)
        inputs = outputs
    convolution("backbone.vgg.31", 1024, 512, 3)
    convolution("backbone.vgg.33", 1024, 1024, 1)
    for n, (inputs, outputs, kernel) in enumerate(
        ((1024, 256, 1), (256, 512, 3), (512, 128, 1), *((128, 256, 3), (256, 128, 1)) * 3, (128, 256, 4))
    ):
        convolution(f"backbone.extras.{n}", outputs, inputs, kernel)
    for n, (inputs, boxes) in enumerate(zip((512, 1024, 512, 256, 256, 256, 256), (4, 6, 6, 6, 6, 4, 4), strict=True)):
        convolution(f"box_head.predictor.cls_headers.{n}", 81 * boxes, inputs, 3)
        convolution(f"box_head.predictor.reg_headers.{n}", 4 * boxes, inputs, 3)
    shapes["backbone.l2_norm.weight"] = torch.ones(512)
    model = imported(shapes)
    assert model.spec.class_names == COCO_CLASSES
    assert len(model.default_boxes) == 24564
    assert model.spec.boxes.maps[0].min_sizes == (20.48,)
    assert float(model.default_boxes[0, 2] - model.default_boxes[0, 0]) == pytest.approx(20.48 / 512)


# --- qfgaohao's light ones, Ultra-Light-Face

SIZES = (60, 105, 150, 195, 240, 285, 330)


@torch.inference_mode()
def require_same(network: torch.nn.Module, model: SSD) -> None:
    x = as_input(noise(model.spec), model.spec)
    offsets, scores = network(x)
    ours = model(x)
    assert torch.allclose(ours.offsets, offsets, atol=1e-4 * offsets.abs().max())
    assert torch.allclose(F.softmax(ours.logits, -1), F.softmax(scores, -1), atol=1e-4)
    assert scores.std() > 0.1


@pytest.mark.parametrize("kind", ["mb1_ssd", "mb1_ssd_lite", "mb2_ssd_lite"])
def test_qfgaohao(kind: str) -> None:
    network = randomised(getattr(foreign_nets, kind)(num_classes=21))
    model = imported(network.state_dict())
    require_same(network, model)
    shapes = zip((19, 10, 5, 3, 2, 1), (16, 32, 64, 100, 150, 300), range(6), strict=True)
    expected = centre_form_boxes(
        (300, 300), [((f, f), (s, s), with_ratios(SIZES[k], SIZES[k + 1], (2, 3))) for f, s, k in shapes]
    )
    assert torch.allclose(model.default_boxes, expected, atol=1e-6)
    assert model.spec.class_names == VOC_CLASSES


def test_ultra_light_slim_at_640() -> None:
    network = randomised(foreign_nets.ultra_light_slim(num_classes=2))
    model = imported(network.state_dict(), size_hw=(480, 640))
    require_same(network, model)
    assert model.spec.name == "ultralight640-slim"
    assert model.spec.class_names == ("face",)
    sizes = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
    maps = [((80, 60), (8, 8)), ((40, 30), (16, 16)), ((20, 15), (32, 32)), ((10, 8), (64, 60))]
    expected = centre_form_boxes(
        (640, 480), [(*shape, [(side, side) for side in sides]) for shape, sides in zip(maps, sizes, strict=True)]
    )
    assert torch.allclose(model.default_boxes, expected, atol=1e-6)


@needs_shared
@pytest.mark.parametrize("files", [["version-RFB-320.pth"], ["RFB-320.prototxt", "RFB-320.caffemodel"]])
def test_faces_are_found_where_the_authors_find_them(tmp_path: Path, files: list[str]) -> None:
    line = import_files([FACES / name for name in files], tmp_path / "faces")
    assert "ultralight320-rfb, 320x240 input, 1 class (face), 4420 boxes" in line
    detector = Detector.load(tmp_path / "faces")
    expected = json.loads((FACES / "expected.json").read_text())["images"]
    assert len(expected) == 5
    for name, facts in expected.items():
        path = FACES / "images" / name
        found = detector(path)
        with Image.open(path) as image:
            width, height = image.size
        best = np.argsort(-found.scores)[: len(facts["scores"])]
        assert int((found.scores > 0.7).sum()) == facts["n"]
        np.testing.assert_allclose(found.scores[best], facts["scores"], atol=2e-5)
        theirs = np.clip(facts["boxes"], 0, 1)  # we cut boxes to the image
        np.testing.assert_allclose(found.boxes[best] / [width, height, width, height], theirs, atol=2e-5)


# --- classes


def test_names_that_the_number_of_classes_suggests() -> None:
    assert names_for(21, None, "file") == VOC_CLASSES
    assert names_for(81, None, "file") == COCO_CLASSES
    names = names_for(91, None, "file")
    assert [number for number, name in enumerate(names, 1) if name == f"unused {number}"] == list(COCO_GAPS)
    assert names[0] == "person"
    assert names[89] == "toothbrush"
    assert names_for(3, None, "file") == ("class 1", "class 2")
    with pytest.raises(ModelError, match="has 2 classes beside the background, got 1 names"):
        names_for(3, ["a"], "file")


def test_vocs_classes_are_kept_of_cocos(tmp_path: Path) -> None:
    network = randomised(foreign_nets.mb1_ssd(num_classes=81))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    import_files([tmp_path / "w.pth"], tmp_path / "coco")
    import_files([tmp_path / "w.pth"], tmp_path / "voc", keep=["voc"])
    coco, voc = load_network(tmp_path / "coco"), load_network(tmp_path / "voc")
    assert voc.spec.class_names == VOC_CLASSES
    assert torch.equal(voc.default_boxes, coco.default_boxes)
    x = as_input(noise(coco.spec), coco.spec)
    with torch.inference_mode():
        all_of_them, kept = coco(x), voc(x)
    columns = [0] + [1 + [COCO_TO_VOC[name] for name in COCO_CLASSES].index(name) for name in VOC_CLASSES]
    assert torch.allclose(kept.logits, all_of_them.logits[..., columns], atol=1e-5)
    import_files([tmp_path / "w.pth"], tmp_path / "two", keep=["car", "person"])
    assert read_spec(tmp_path / "two").class_names == ("car", "person")


# --- what is wrong is named


def test_missing_and_left_over_layers_are_named() -> None:
    state = randomised(foreign_nets.mb1_ssd(num_classes=3)).state_dict()
    fewer = {name: tensor for name, tensor in state.items() if name != "extras.2.0.bias"}
    more = {**state, "extras.9.weight": torch.zeros(1)}
    del fewer["extras.1.2.weight"]
    with pytest.raises(ModelError, match=r"has no extras\.1\.2\.weight, which qfgaohao's mb1-ssd has"):
        imported(fewer)
    with pytest.raises(ModelError, match=r"holds extras\.9\.weight, which qfgaohao's mb1-ssd does not have"):
        imported(more)
    with pytest.raises(ModelError, match=r"weight is \(7, 32, 1, 1\), base_net\.1\.4 is of another size"):
        imported({**state, "base_net.1.3.weight": torch.zeros(7, 32, 1, 1)})
    with pytest.raises(ModelError, match=r"holds backbone\.conv1\.convolution\.weight as \(64, 7, 1, 1\)"):
        imported({**state, "base_net.1.3.weight": torch.zeros(64, 7, 1, 1)})


def test_a_base_takes_no_classes(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "w.pth")
    with pytest.raises(RequestError, match=r"w\.pth"):
        import_files([tmp_path / "w.pth"], tmp_path / "out", keep=["car"])


@needs_shared
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dilation: 5", "dilation: 4", "306 has dilation 4, expected 5"),
        ('bottom: "311"', 'bottom: "309"', "sees"),
        ("num_output: 128", "num_output: 130", "num_output 130"),
        ("stride_h: 2\n    stride_w: 2", "stride_h: 2\n    stride_w: 1", "has stride 2 down and 1 across"),
        ('name: "430"\n  type: "ReLU"', 'name: "430"\n  type: "Dropout"', "430|ReLU"),
    ],
)  # fmt: skip
def test_a_description_unlike_the_network_is_refused_by_layer(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (FACES / "RFB-320.prototxt").read_text()
    assert old in text
    (tmp_path / "a.prototxt").write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=message):
        import_files([tmp_path / "a.prototxt", FACES / "RFB-320.caffemodel"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("extras.0.0.weight", torch.full((256, 1024, 1, 1), torch.nan), r"extras\.0\.0\.weight holds NaN"),
        ("base_net.0.1.running_var", torch.full((32,), -1.0), "impossible values"),
        ("base_net.0.0.weight", torch.zeros(32, 3, 3, 3, dtype=torch.int64), "expected floating-point numbers"),
    ],
)
def test_weights_that_no_network_has_are_refused(name: str, value: Tensor, message: str) -> None:
    state = randomised(foreign_nets.mb1_ssd(num_classes=3)).state_dict()
    with pytest.raises(ModelError, match=message):
        imported({**state, name: value})


def test_a_size_for_a_network_that_has_but_one_is_refused() -> None:
    state = foreign_nets.mb1_ssd(num_classes=3).state_dict()
    with pytest.raises(RequestError, match="leave --size out"):
        imported(state, size_hw=(512, 512))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({1: torch.ones(1)}, "must name its tensors by text, got 1"),
        ({"a": torch.ones(1), "epoch": 3}, "but its 'epoch' is none"),
        ({"a": torch.ones(2, 2).to_sparse()}, "a is no plain array"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "a is no plain array"),
        ({"base_net.0.0.weight": torch.tensor(1.0)}, "holds neither our layers"),
        ({"backbone.features.0.0.0.weight": torch.ones(1)}, "holds neither our layers"),
    ],
)
def test_odd_state_dicts_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=message):
        import_files([tmp_path / "w.pth"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_shared
def test_an_input_of_any_size_is_not_believed(tmp_path: Path) -> None:
    text = (FACES / "RFB-320.prototxt").read_text()
    (tmp_path / "a.prototxt").write_text(text.replace("dim: 320", "dim: 320000000", 1))
    pair = [tmp_path / "a.prototxt", FACES / "RFB-320.caffemodel"]
    with pytest.raises(ModelError, match=r"an input of 320000000x240 is out of 1 \.\. 8192"):
        import_files(pair, tmp_path / "out")
    with pytest.raises(ModelError, match="states an input of 320x240, --size says 640x480"):
        import_files([FACES / "RFB-320.prototxt", pair[1]], tmp_path / "out", size_hw=(480, 640))


def test_classes_and_what_to_keep_are_lists_by_commas(tmp_path: Path) -> None:
    torch.save(randomised(foreign_nets.mb1_ssd(num_classes=3)).state_dict(), tmp_path / "w.pth")
    command = ["weights", "import", str(tmp_path / "w.pth"), "--out", str(tmp_path / "out")]
    assert run([*command, "--classes", "a, b", "--keep", "b"]) == 0
    assert read_spec(tmp_path / "out").class_names == ("b",)
    assert run([*command[:3], "--out", str(tmp_path / "other"), "--size", "\N{ARABIC-INDIC DIGIT ONE}x1"]) == 2
    assert run(["weights", "import", str(tmp_path), "--out", str(tmp_path / "other")]) == 2
