"""A network as an OpenVINO graph: 8-bit pictures in, encoded boxes, probabilities and default boxes out.

The resize stays outside: it is OpenCV's in training and evaluation, and no engine's equals it to the last grey level.
So does NMS: OpenVINO 2026.4's DetectionOutput gives Caffe's very rows, but writes beyond its memory on the way
(`docs/results.md`); ours runs on the predictions.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from singleshot.runtime.quiet_openvino import openvino, opset8, preprocess

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from singleshot.models.ssd import SSD

FILES = ("model.xml", "model.bin")
RESULTS = ("offsets", "probabilities", "default_boxes")


class _Raw(nn.Module):
    """The network with a plain pair as its result, as torch's exporter wants it."""

    def __init__(self, network: SSD) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor]:
        predictions = self.network(pictures)
        return predictions.offsets, predictions.logits


def to_openvino(network: SSD) -> openvino.Model:
    """The detector as a graph: `pictures` (B, H, W, 3) uint8 RGB of the input size -> three results.

    `offsets` (B, K, 4) encoded boxes, `probabilities` (B, K, C) with background as class 0, and `default_boxes` (K, 4),
    xyxy as fractions of the picture.
    """
    raw = openvino.convert_model(_exported(network))
    raw.reshape([-1, 3, *network.spec.input_size_hw])
    model = _with_preprocessing(_with_named_results(raw, network), network)
    model.set_rt_info(json.dumps(asdict(network.spec)), "singleshot")
    return model


def halve_weights(model: openvino.Model, *, only_exact: bool) -> None:
    """Store filters as float16; everything else, the default boxes above all, stays as it is.

    Args:
        model: is changed.
        only_exact: leave filters that would lose digits (those of a model stored in half precision do not).
    """
    for layer in model.get_ops():
        if layer.get_type_name() not in {"Convolution", "GroupConvolution"}:
            continue
        source = layer.input_value(1)
        while source.get_node().get_type_name() == "Reshape":
            source = source.get_node().input_value(0)
        if source.get_node().get_type_name() != "Constant" or source.get_element_type() != openvino.Type.f32:
            continue
        values = source.get_node().get_data()
        half = values.astype(np.float16)
        if np.isfinite(half).all() and (not only_exact or np.array_equal(half.astype(np.float32), values)):
            source.replace(opset8.convert(opset8.constant(half), openvino.Type.f32).output(0))


def serialised(model: openvino.Model) -> dict[str, bytes]:
    """The files of the graph, by name."""
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, str(Path(folder) / FILES[0]), compress_to_fp16=False)
        return {name: (Path(folder) / name).read_bytes() for name in FILES}


def _exported(network: SSD) -> torch.export.ExportedProgram:
    pictures = torch.zeros(2, 3, *network.spec.input_size_hw)
    batch = torch.export.Dim("batch", min=1, max=1024)
    with torch.no_grad():
        return torch.export.export(_Raw(network.eval()), (pictures,), dynamic_shapes={"pictures": {0: batch}})


def _with_named_results(raw: openvino.Model, network: SSD) -> openvino.Model:
    offsets, logits = (result.get_node().input_value(0) for result in raw.outputs)
    boxes = opset8.constant(network.default_boxes.numpy())
    results = [opset8.result(value) for value in (offsets, opset8.softmax(logits, 2), boxes)]
    for result, name in zip(results, RESULTS, strict=True):
        result.output(0).set_names({name})
    return openvino.Model(results, raw.get_parameters(), network.spec.name)


def _with_preprocessing(model: openvino.Model, network: SSD) -> openvino.Model:
    spec = network.spec
    model.inputs[0].set_names({"pictures"})
    steps = preprocess.PrePostProcessor(model)
    picture = steps.input()
    picture.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    picture.tensor().set_color_format(preprocess.ColorFormat.RGB)
    picture.model().set_layout(openvino.Layout("NCHW"))
    picture.preprocess().convert_element_type(openvino.Type.f32)
    mean, std = list(spec.preprocess.mean_rgb), list(spec.preprocess.std_rgb)
    if spec.preprocess.channel_order == "bgr":
        picture.preprocess().convert_color(preprocess.ColorFormat.BGR)
        mean, std = mean[::-1], std[::-1]
    picture.preprocess().mean(mean)
    if std != [1, 1, 1]:
        picture.preprocess().scale(std)
    return steps.build()
