"""A network wired as OpenCV's face detector, of random weights, and its layers run one by one as Caffe runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from caffe_fixtures import blob, new_layer
from singleshot.weights.importers.caffe_graph import Graph, geometry
from singleshot.weights.importers.caffe_proto import read_caffemodel

SIDE = 80
BLOCKS = (("128", "_h", ""), ("256", "", ""), ("512", "_h", "_h"))
SHAPES = {"128": (128, 128, 2, 1), "256": (256, 256, 2, 1), "512": (128, 256, 1, 2)}
EXTRAS = ((6, 128, 256, 2), (7, 64, 128, 2), (8, 64, 128, 1), (9, 64, 128, 1))
MAPS = ("conv4_3_norm", "fc7", "conv6_2_h", "conv7_2_h", "conv8_2_h", "conv9_2_h")


def layer(name: str, kind: str, bottoms: str, top: str, settings: str = "") -> str:
    lines = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {lines} top: "{top}" {settings} }}\n'


def convolution(name: str, bottom: str, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> str:
    pad = dilation * (kernel - 1) // 2
    settings = f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation}"
    return layer(name, "Convolution", bottom, name, f"convolution_param {{ {settings} }}")


def norm(name: str, bottom: str, top: str, scale: str) -> str:
    return layer(name, "BatchNorm", bottom, top) + layer(scale, "Scale", top, top, "scale_param { bias_term: true }")


def relu(name: str, blob_name: str, top: str = "") -> str:
    return layer(name, "ReLU", blob_name, top or blob_name)


def prototxt() -> str:
    """The description; the original's, but for its input size."""
    text = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: {SIDE} dim: {SIDE} }}\n'
    text += norm("data_bn", "data", "data_bn", "data_scale") + convolution("conv1_h", "data_bn", 32, 7, 2)
    text += norm("conv1_bn_h", "conv1_h", "conv1_h", "conv1_scale_h") + relu("conv1_relu", "conv1_h")
    text += layer("conv1_pool", "Pooling", "conv1_h", "conv1_pool", "pooling_param { kernel_size: 3 stride: 2 }")
    text += convolution("layer_64_1_conv1_h", "conv1_pool", 32, 3)
    text += norm("layer_64_1_bn2_h", "layer_64_1_conv1_h", "layer_64_1_conv1_h", "layer_64_1_scale2_h")
    text += relu("layer_64_1_relu2", "layer_64_1_conv1_h") + convolution(
        "layer_64_1_conv2_h", "layer_64_1_conv1_h", 32, 3
    )
    text += layer("layer_64_1_sum", "Eltwise", "layer_64_1_conv2_h conv1_pool", "layer_64_1_sum")
    before = "layer_64_1_sum"
    for name, first, second in BLOCKS:
        inside, outputs, stride, dilation = SHAPES[name]
        at = f"layer_{name}_1"
        top, one = f"{at}_bn1" + ("_h" if name == "128" else ""), f"{at}_conv1{first}"
        two = f"{at}_conv2{second}"
        shortcut = f"{at}_conv_expand" + ("" if name == "256" else "_h")
        text += (
            norm(top, before, top, f"{at}_scale1") + relu(f"{at}_relu1", top) + convolution(one, top, inside, 3, stride)
        )
        text += norm(f"{at}_bn2", one, one, f"{at}_scale2") + relu(f"{at}_relu2", one)
        text += convolution(two, one, outputs, 3, 1, dilation) + convolution(shortcut, top, outputs, 1, stride)
        before = f"{at}_sum"
        text += layer(before, "Eltwise", f"{two} {shortcut}", before)
    text += norm("last_bn_h", before, before, "last_scale_h") + relu("last_relu", before, "fc7")
    before = "fc7"
    for number, squeeze, outputs, stride in EXTRAS:
        names = f"conv{number}_1_h", f"conv{number}_2_h"
        text += convolution(names[0], before, squeeze, 1) + relu(f"conv{number}_1_relu", names[0])
        text += convolution(names[1], names[0], outputs, 3, stride) + relu(f"conv{number}_2_relu", names[1])
        before = names[1]
    text += layer(
        "conv4_3_norm", "Normalize", "layer_256_1_bn1", "conv4_3_norm", "norm_param { across_spatial: false }"
    )
    return text + heads()


def heads() -> str:
    text, joined = "", {"loc": "", "conf": "", "priorbox": ""}
    for number, name in enumerate(MAPS):
        for part, outputs in (("loc", 16), ("conf", 8)):
            head = f"{name}_mbox_{part}"
            text += convolution(head, name, outputs, 3)
            text += layer(
                f"{head}_perm", "Permute", head, f"{head}_perm", "permute_param { order: 0 order: 2 order: 3 order: 1 }"
            )
            text += layer(f"{head}_flat", "Flatten", f"{head}_perm", f"{head}_flat")
            joined[part] += f"{head}_flat "
        settings = f"min_size: {8 + 8 * number} max_size: {16 + 8 * number} aspect_ratio: 2 "
        settings += "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2"
        text += layer(
            f"{name}_priorbox", "PriorBox", f"{name} data", f"{name}_priorbox", f"prior_box_param {{ {settings} }}"
        )
        joined["priorbox"] += f"{name}_priorbox "
    for part, bottoms in joined.items():
        text += layer(f"mbox_{part}", "Concat", bottoms, f"mbox_{part}")
    settings = "num_classes: 2 nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE keep_top_k: 200"
    return text + layer(
        "detection_out",
        "DetectionOutput",
        "mbox_loc mbox_conf mbox_priorbox",
        "out",
        f"detection_output_param {{ {settings} }}",
    )


def write_files(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Description and random weights."""
    from singleshot.weights.importers.caffe_proto import read_prototxt

    description, weights = folder / "deploy.prototxt", folder / "face.caffemodel"
    description.write_text(prototxt())
    generator, content, channels = np.random.default_rng(seed), b"", {"data": 3}

    def drawn(low: float, high: float, *shape: int) -> bytes:
        values = generator.uniform(low, high, int(np.prod(shape)))
        return blob(values.tolist(), list(shape))

    for made in Graph(read_prototxt(description), "the test").layers.values():
        inputs = channels.get(made.bottoms[0], 0)
        outputs = inputs
        if made.kind == "Convolution":
            settings = geometry(made)
            outputs, kernel = settings.num_output, settings.kernel_size
            spread = (3 / (inputs * kernel**2)) ** 0.5
            content += new_layer(
                made.name, drawn(-spread, spread, outputs, inputs, kernel, kernel), drawn(-0.1, 0.1, outputs)
            )
        elif made.kind == "BatchNorm":
            level = 100.0 if made.name == "data_bn" else 1.0
            content += new_layer(
                made.name, drawn(-level, level, inputs), drawn(level**2, 4 * level**2, inputs), blob([2.0], [1])
            )
        elif made.kind == "Scale":
            gamma = blob([1.1, -0.9, 1.3], [3]) if made.name == "data_scale" else drawn(0.5, 1.5, inputs)
            content += new_layer(made.name, gamma, drawn(-0.5, 0.5, inputs))
        elif made.kind == "Normalize":
            content += new_layer(made.name, drawn(10, 20, inputs))
        channels.update(dict.fromkeys(made.tops, outputs))
    weights.write_bytes(content)
    return description, weights


def run(graph: Graph, weights: Path, images: Tensor) -> dict[str, Tensor]:
    """The blobs of all layers up to the heads, for images less their mean, (1, 3, H, W) BGR."""
    stored = {
        name: [torch.from_numpy(part.copy()) for part in item.blobs] for name, item in read_caffemodel(weights).items()
    }
    blobs = {"data": images}
    for made in graph.layers.values():
        if made.kind in {"Permute", "Flatten", "Concat", "PriorBox", "DetectionOutput"}:
            continue
        x, parts = blobs[made.bottoms[0]], stored.get(made.name, [])
        if made.kind == "Convolution":
            settings = geometry(made)
            y = F.conv2d(x, parts[0], parts[1], settings.stride, settings.pad, settings.dilation)
        elif made.kind == "BatchNorm":
            mean, variance = (part.view(1, -1, 1, 1) / parts[2].item() for part in parts[:2])
            y = (x - mean) / (variance + 1e-5).sqrt()
        elif made.kind == "Scale":
            y = x * parts[0].view(1, -1, 1, 1) + parts[1].view(1, -1, 1, 1)
        elif made.kind == "ReLU":
            y = x.clamp(min=0)
        elif made.kind == "Pooling":
            y = F.max_pool2d(x, 3, 2, ceil_mode=True)
        elif made.kind == "Eltwise":
            y = x + blobs[made.bottoms[1]]
        else:
            assert made.kind == "Normalize"
            y = x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt() * parts[0].view(1, -1, 1, 1)
        blobs[made.tops[0]] = y
    return blobs
