"""A network as an OpenVINO graph: 8-bit pictures in, Caffe's detections out, nothing left to do outside but the resize.

The resize stays outside: it is OpenCV's in training and evaluation, and no engine's equals it to the last grey level.
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

from singleshot.errors import RequestError
from singleshot.runtime.quiet_openvino import openvino, opset8, preprocess

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from singleshot.models.ssd import SSD

FILES = ("model.xml", "model.bin")


class _Raw(nn.Module):
    """The network with a plain pair as its result, as torch's exporter wants it."""

    def __init__(self, network: SSD) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor]:
        predictions = self.network(pictures)
        return predictions.offsets, predictions.logits


def to_openvino(network: SSD) -> openvino.Model:
    """The whole detector as a graph: `pictures` (B, H, W, 3) uint8 RGB of the input size -> `detections`.

    The result is Caffe's DetectionOutput, (1, 1, D, 7): picture, class (0 is background), score, left, top, right,
    bottom as fractions; a row of picture -1 ends it.

    Raises:
        RequestError: a setting that OpenVINO's DetectionOutput does not have.
    """
    spec = network.spec
    if spec.postprocess.nms_eta != 1:
        raise RequestError("adaptive NMS (nms_eta below 1) cannot be exported to OpenVINO")
    raw = openvino.convert_model(_exported(network))
    raw.reshape([-1, 3, *spec.input_size_hw])
    model = _with_preprocessing(_with_detection_output(raw, network), network)
    model.set_rt_info(json.dumps(asdict(spec)), "singleshot")
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


def _with_detection_output(raw: openvino.Model, network: SSD) -> openvino.Model:
    spec, settings = network.spec, network.spec.postprocess
    offsets, logits = (result.get_node().input_value(0) for result in raw.outputs)
    by_picture = np.array([0, -1], np.int64)
    boxes = network.default_boxes.numpy().reshape(1, -1)
    variances = np.tile(np.array(spec.boxes.variances, np.float32), len(network.default_boxes)).reshape(1, -1)
    detections = opset8.detection_output(
        opset8.reshape(offsets, by_picture, special_zero=True),
        opset8.reshape(opset8.softmax(logits, 2), by_picture, special_zero=True),
        opset8.constant(np.stack([boxes, variances], axis=1)),
        {
            "background_label_id": 0,
            "code_type": "caffe.PriorBoxParameter.CENTER_SIZE",
            "confidence_threshold": settings.score_threshold,
            "keep_top_k": [settings.keep_top_k],
            "nms_threshold": settings.nms_threshold,
            "normalized": True,
            "share_location": True,
            "top_k": settings.top_k,
            "variance_encoded_in_target": False,
        },
    )
    result = opset8.result(detections)
    result.output(0).set_names({"detections"})
    return openvino.Model([result], raw.get_parameters(), spec.name)


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
