"""The networks: sizes, shapes and laws that need no golden data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from singleshot.errors import RequestError, UnknownNameError
from singleshot.models.describe import describe
from singleshot.models.layers import ConvBlock, L2Norm, MaxPool, same_padding, scaled
from singleshot.models.ssd import SSD, grid_sizes, initialise
from singleshot.spec import Compatibility, MapBoxes, ModelSpec
from singleshot.variants import (
    MULTIBOX_MOBILENETV2,
    SSD300_MOBILENETV1,
    SSD300_VGG16,
    SSD300_VGG16_FULL,
    SSD512_VGG16,
    SSDLITE320_EFFICIENTNETLITE0,
    SSDLITE320_MOBILENETV2,
    VARIANTS,
)

# COCO's variants differ from VOC's in their box sizes only.
THIN = {name: replace(spec, width=1 / 16) for name, spec in VARIANTS.items() if not name.endswith("-coco")}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# The paper's table of boxes: 5776 + 2166 + 600 + 150 + 36 + 4, and 24564 for 512. Weights: by hand from the layers.
@pytest.mark.parametrize(
    ("spec", "boxes", "weights", "sides"),
    [
        (SSD300_VGG16, 8732, 26_285_486, (38, 19, 10, 5, 3, 1)),
        (SSD300_VGG16_FULL, 8732, 143_225_518, (38, 19, 10, 5, 3, 1)),
        (SSD512_VGG16, 24564, 27_188_676, (64, 32, 16, 8, 4, 2, 1)),
        (SSD300_MOBILENETV1, 1917, 5_783_417, (19, 10, 5, 3, 2, 1)),
        (SSDLITE320_MOBILENETV2, 3234, 3_382_052, (20, 10, 5, 3, 2, 1)),
        (SSDLITE320_EFFICIENTNETLITE0, 3234, 4_541_748, (20, 10, 5, 3, 2, 1)),
        (MULTIBOX_MOBILENETV2, 1420, 3_380_400, (8, 6, 4, 3, 2, 1)),  # 11 (64 + 36 + 16 + 9 + 4) + 1
    ],
    ids=lambda value: value.name if isinstance(value, ModelSpec) else None,
)
def test_full_width_sizes(spec: ModelSpec, boxes: int, weights: int, sides: tuple[int, ...]) -> None:
    model = SSD(spec)
    assert model.default_boxes.shape == (boxes, 4)
    assert parameters(model) == weights
    assert model.map_sizes_hw == tuple((side, side) for side in sides)
    assert grid_sizes(spec) == model.map_sizes_hw


@pytest.mark.parametrize("size_hw", [None, (300, 480), (333, 301)])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("name", THIN)
def test_rows_fit_default_boxes(name: str, classes: int, size_hw: tuple[int, int] | None) -> None:
    spec = replace(THIN[name], class_names=tuple("abc"[:classes]), class_agnostic=False)
    if size_hw is not None:
        spec = spec.with_input_size(*size_hw)
    model = SSD(spec).eval()
    with torch.inference_mode():
        predictions = model(torch.randn(2, 3, *spec.input_size_hw, generator=torch.Generator().manual_seed(0)))
    rows = sum(h * w * boxes.boxes_per_cell for (h, w), boxes in zip(model.map_sizes_hw, spec.boxes.maps, strict=True))
    assert predictions.offsets.shape == (2, rows, 4)
    assert predictions.logits.shape == (2, rows, classes + 1)
    assert model.default_boxes.shape == (rows, 4)
    assert predictions.offsets.isfinite().all()
    assert predictions.logits.isfinite().all()


def test_maps_of_a_wide_input() -> None:
    assert grid_sizes(SSD300_VGG16.with_input_size(300, 480)) == ((38, 60), (19, 30), (10, 15), (5, 8), (3, 6), (1, 4))


@pytest.mark.parametrize("name", THIN)
def test_a_image_is_seen_alone_in_evaluation(name: str) -> None:
    model = SSD(THIN[name]).eval()
    images = torch.randn(3, 3, *THIN[name].input_size_hw, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        together, alone = model(images), model(images[1:2])
    torch.testing.assert_close(together.offsets[1:2], alone.offsets, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.logits[1:2], alone.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", THIN)
def test_memory_format_and_training_mode_change_nothing_in_the_shapes(name: str) -> None:
    model = SSD(THIN[name])
    images = torch.randn(2, 3, *THIN[name].input_size_hw, generator=torch.Generator().manual_seed(1))
    plain = model.eval()(images)
    last = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain.logits, last.logits, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learnt = model.train()(images)
    (learnt.logits.float().square().mean() + learnt.offsets.float().square().mean()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_rows_are_ordered_by_map_then_y_x_box() -> None:
    """Heads that copy a map's cell numbers into their outputs show where every row comes from."""
    spec = replace(THIN["ssd300-vgg16"], class_names=("a",), normalised=())
    model = SSD(spec).eval()
    boxes = [level.boxes_per_cell for level in spec.boxes.maps]
    maps = {
        name: torch.arange(h * w, dtype=torch.float32).view(1, 1, h, w).expand(1, channels(model, name), h, w)
        for name, (h, w) in zip(spec.sources, model.map_sizes_hw, strict=True)
    }
    with torch.no_grad():
        for head, columns in ((model.heads.location, 4), (model.heads.confidence, 2)):
            for module in head.values():
                assert isinstance(module, nn.Conv2d)
                module.weight.zero_()
                module.weight[:, 0, 1, 1] = 1
                assert module.bias is not None
                module.bias.copy_(torch.arange(len(module.bias)) / 1024)
                assert len(module.bias) % columns == 0
        predictions = model.heads(maps)
    row = 0
    for (height, width), count in zip(model.map_sizes_hw, boxes, strict=True):
        for cell in range(height * width):
            for box in range(count):
                if cell in {0, 1, width, height * width - 1}:
                    for table, columns in ((predictions.offsets, 4), (predictions.logits, 2)):
                        expected = [cell % (height * width) + (box * columns + i) / 1024 for i in range(columns)]
                        assert table[0, row].tolist() == pytest.approx(expected)
                row += 1
    assert row == predictions.logits.shape[1]


def channels(model: SSD, name: str) -> int:
    head = model.heads.location[name]
    assert isinstance(head, nn.Conv2d)
    return head.in_channels


@pytest.mark.parametrize(
    ("spec", "taps", "strides"),
    [
        (SSD300_VGG16, ("conv3_3", "conv4_3", "conv5_3", "fc7"), (4, 8, 16, 16)),
        (SSD300_MOBILENETV1, ("conv3", "conv5", "conv11", "conv13"), (4, 8, 16, 32)),
        (
            SSDLITE320_MOBILENETV2,
            ("block2", "block4_expand", "block7_expand", "block14_expand", "last"),
            (4, 4, 8, 16, 32),
        ),
        (
            SSDLITE320_EFFICIENTNETLITE0,
            ("block3", "block4_expand", "block6_expand", "block12_expand", "last"),
            (4, 4, 8, 16, 32),
        ),
    ],
    ids=["vgg16", "mobilenetv1", "mobilenetv2", "efficientnetlite0"],
)
def test_every_tap_has_its_stride(spec: ModelSpec, taps: tuple[str, ...], strides: tuple[int, ...]) -> None:
    boxes = replace(spec.boxes, maps=(MapBoxes((30,)),) * len(taps))
    spec = replace(spec, sources=taps, boxes=boxes, extras=(), normalised=(), width=1 / 16, input_size_hw=(256, 128))
    assert grid_sizes(spec) == tuple((256 // stride, 128 // stride) for stride in strides)
    assert SSD(spec).map_sizes_hw == grid_sizes(spec)


def test_depthwise_block_14_is_tapped_before_its_stride() -> None:
    """torchvision's features[14].conv[0]: 576 channels at stride 16."""
    model = SSD(SSDLITE320_MOBILENETV2).eval()
    with torch.inference_mode():
        maps = model.source_maps(torch.zeros(1, 3, 320, 320))
    assert maps["block14_expand"].shape == (1, 576, 20, 20)
    assert maps["last"].shape == (1, 1280, 10, 10)


def test_multibox_has_eleven_shapes_of_a_size_and_the_whole_image() -> None:
    boxes = SSD(replace(MULTIBOX_MOBILENETV2, width=1 / 16)).default_boxes
    assert boxes[-1].tolist() == [0, 0, 1, 1]
    first = boxes[:11]
    width, height = first[:, 2] - first[:, 0], first[:, 3] - first[:, 1]
    assert (width * height).tolist() == pytest.approx([0.15**2] * 11)
    ratios = [1, 1.25, 1.5, 2, 2.5, 3]
    assert sorted((width / height).tolist()) == pytest.approx(sorted({*ratios, *(1 / ratio for ratio in ratios)}))


def test_a_class_agnostic_model_has_one_class() -> None:
    with pytest.raises(RequestError, match="cat"):
        replace(MULTIBOX_MOBILENETV2, class_names=("cat",))


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="vgg19"):
        SSD(replace(SSD300_VGG16, backbone="vgg19"))
    with pytest.raises(UnknownNameError, match="conv4_3"):
        SSD(replace(SSD300_VGG16, sources=("conv4_4", *SSD300_VGG16.sources[1:]), normalised=()))
    with pytest.raises(RequestError, match="conv3_3"):
        SSD(replace(SSD300_VGG16, normalised=("conv3_3",)))
    with pytest.raises(RequestError, match="tensorflow_padding"):
        SSD(replace(SSD300_VGG16, compatibility=Compatibility(tensorflow_padding=True)))


def test_an_input_too_small_is_refused() -> None:
    with pytest.raises(RequestError, match="100x100"):
        SSD(SSD300_VGG16.with_input_size(100, 100))


# --- layers


def test_l2_norm_by_hand() -> None:
    norm = L2Norm(2)
    x = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(norm(x).flatten(), torch.tensor([12.0, 16.0]))  # 3/5 and 4/5, times 20
    norm.scale.data = torch.tensor([5.0, 10.0])
    torch.testing.assert_close(norm(x).flatten(), torch.tensor([3.0, 8.0]))
    with torch.inference_mode():  # another way through the code
        torch.testing.assert_close(norm(x).flatten(), torch.tensor([3.0, 8.0]))
    nothing = norm(torch.zeros(1, 2, 1, 1))
    assert nothing.flatten().tolist() == [0, 0]  # the eps inside the root


def test_l2_norm_gradient_is_true_for_equal_scales_and_caffes_otherwise() -> None:
    x = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)) + 0.1
    upstream = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(1))

    def gradients(norm: L2Norm) -> tuple[torch.Tensor, torch.Tensor]:
        given = x.clone().requires_grad_()
        norm.scale.grad = None
        norm(given).backward(upstream)
        assert given.grad is not None
        assert norm.scale.grad is not None
        return given.grad, norm.scale.grad

    caffe, true = L2Norm(3), L2Norm(3, caffe_gradient=False)
    for computed_gradient, reference in zip(gradients(caffe), gradients(true), strict=True):
        torch.testing.assert_close(computed_gradient, reference, rtol=1e-4, atol=1e-4)
    scale = torch.tensor([10.0, 20.0, 40.0])
    caffe.scale.data, true.scale.data = scale.clone(), scale.clone()
    torch.testing.assert_close(gradients(caffe)[1], gradients(true)[1], rtol=1e-4, atol=1e-4)
    of_caffe = gradients(caffe)[0]
    assert (of_caffe - gradients(true)[0]).abs().max() > 1
    for b, i, j in np.ndindex(2, 2, 2):  # Caffe's loops, spelt out
        column, g = x[b, :, i, j], upstream[b, :, i, j]
        n = float(column.square().sum().sqrt())
        along = float((column * g).sum())
        expected = [float(scale[c] * (g[c] - column[c] * along / n**2) / n) for c in range(3)]
        assert of_caffe[b, :, i, j].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_l2_norm_keeps_half_precision_from_overflowing() -> None:
    x = torch.full((1, 512, 1, 1), 300.0, dtype=torch.float16)
    normalised = L2Norm(512)(x)
    assert normalised.dtype == torch.float16
    torch.testing.assert_close(normalised.float(), torch.full((1, 512, 1, 1), 20 / math.sqrt(512)), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("side", "expected"), [(75, 38), (38, 19), (4, 2), (1, 1), (3, 2)])
def test_pooling_rounds_up(side: int, expected: int) -> None:
    assert MaxPool()(torch.zeros(1, 1, side, side)).shape[-1] == expected


def test_pool5_keeps_the_size() -> None:
    assert MaxPool(3, stride=1, padding=1)(torch.zeros(1, 1, 19, 19)).shape[-2:] == (19, 19)


@pytest.mark.parametrize(
    ("length", "expected"), [(224, (0, 1)), (15, (1, 1)), (1, (1, 1)), (2, (0, 1)), (320, (0, 1)), (75, (1, 1))]
)
def test_tensorflow_padding(length: int, expected: tuple[int, int]) -> None:
    assert same_padding(length, kernel=3, stride=2) == expected


def test_tensorflow_padding_shifts_a_strided_convolution() -> None:
    """On an even side output i sees pixels 2i .. 2i + 2; with padding on both sides it sees 2i - 1 .. 2i + 1."""
    block = ConvBlock(1, 1, stride=2, activation="none", tensorflow_padding=True)
    both = ConvBlock(1, 1, stride=2, activation="none")
    x = torch.arange(16.0).view(1, 1, 4, 4)
    with torch.no_grad():
        for convolution_block in (block, both):
            convolution_block.convolution.weight.zero_()
            convolution_block.convolution.weight[0, 0, 0, 0] = 1
            assert convolution_block.convolution.bias is not None
            convolution_block.convolution.bias.zero_()
        assert block(x).flatten().tolist() == [0, 2, 8, 10]
        assert both(x).flatten().tolist() == [0, 0, 0, 5]
    assert ConvBlock(1, 1, stride=1, tensorflow_padding=True)(x).shape == x.shape


def test_widths() -> None:
    assert [scaled(c, 1 / 16) for c in (64, 512, 1024, 3)] == [4, 32, 64, 1]
    assert scaled(768, 1 / 12) == 64  # 1 / 12 is a little less than a twelfth


# --- starting values


def test_starting_values_are_xavier_by_fan_in() -> None:
    model = SSD(replace(SSD300_VGG16, class_names=("a",)))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            bound = math.sqrt(3 / module.weight[0].numel())
            values = module.weight.detach()
            assert values.abs().max() <= bound, name
            if values.numel() > 10_000:
                assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.03), name
            assert module.bias is not None
            assert not module.bias.any()
        elif isinstance(module, L2Norm):
            assert (module.scale == 20).all()


def test_new_layers_of_ssdlite_are_normal_and_normalised() -> None:
    model = SSD(replace(SSDLITE320_MOBILENETV2, class_names=("a",)))
    assert model.extras.get_submodule("extra1_1").convolution.weight.std().item() == pytest.approx(0.03, rel=0.03)
    norms = [m for part in (model.extras, model.heads) for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 4 * 3 + 6 * 2
    assert all((norm.eps, norm.momentum) == (1e-3, 0.03) for norm in norms)
    assert all((norm.running_var == 1).all() and (norm.weight == 1).all() for norm in norms)


def test_the_seed_decides_and_nothing_else() -> None:
    before = torch.get_rng_state()
    first, same, other = (SSD(THIN["ssdlite320-mobilenetv2"], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_background_can_be_favoured() -> None:
    model = SSD(THIN["ssd300-vgg16"])
    initialise(model, 0, object_probability=0.01)
    with torch.inference_mode():
        logits = model.eval()(torch.zeros(1, 3, 300, 300)).logits
    background = F.softmax(logits, dim=-1)[..., 0]
    torch.testing.assert_close(background, torch.full_like(background, 0.99), rtol=0, atol=1e-5)


# --- the layer table


def test_layer_table_of_ssd300() -> None:
    rows = {row["name"]: row for row in describe(SSD300_VGG16)}
    assert list(rows)[:3] == ["conv1_1", "conv1_2", "pool1"]
    assert rows["fc6"] == {
        "name": "fc6",
        "kind": "convolution, relu",
        "output": [1024, 19, 19],
        "kernel": 3,
        "stride": 1,
        "dilation": 6,
        "parameters": 512 * 1024 * 9 + 1024,
    }
    assert (rows["pool3"]["output"], rows["pool5"]["kernel"], rows["pool5"]["stride"]) == ([256, 38, 38], 3, 1)
    assert rows["norms.conv4_3"]["parameters"] == 512
    assert rows["heads.confidence.fc7"]["output"] == [6 * 21, 19, 19]
    assert rows["conv11_2"]["output"] == [256, 1, 1]
    assert sum(row["parameters"] for row in rows.values()) == 26_285_486


def test_layer_table_without_atrous() -> None:
    """The classifier's own pool5, fc6 and fc7 (section 3.3), at the maps and default boxes of SSD300."""
    rows = {row["name"]: row for row in describe(THIN["ssd300-vgg16-full"])}
    shape = ("output", "kernel", "stride", "dilation")
    assert [rows["pool5"][column] for column in shape] == [[32, 10, 10], 2, 2, 1]
    assert [rows["fc6"][column] for column in shape] == [[256, 10, 10], 7, 1, 1]
    assert [rows["fc7"][column] for column in shape] == [[256, 10, 10], 1, 1, 1]
    assert rows["norms.conv4_3"]["output"] == [32, 38, 38]
    assert rows["conv9_2"]["output"] == [16, 5, 5]
    assert torch.equal(SSD(THIN["ssd300-vgg16-full"]).default_boxes, SSD(THIN["ssd300-vgg16"]).default_boxes)


@pytest.mark.parametrize("name", THIN)
def test_layer_table_holds_every_parameter(name: str) -> None:
    assert sum(row["parameters"] for row in describe(THIN[name])) == parameters(SSD(THIN[name]))
