"""The engine's graph for OpenVINO."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from singleshot.export.detection_graph import detection_graph
from singleshot.export.engine_graph import INPUT, exported_program
from singleshot.runtime.backends import ENGINE_FILES
from singleshot.runtime.engine import DETECTIONS, RAW
from singleshot.runtime.quiet_openvino import core, openvino, opset9

if TYPE_CHECKING:
    from singleshot.models.ssd import SSD

FILES = ENGINE_FILES["openvino"]


def to_openvino(network: SSD, *, raw: bool = False) -> openvino.Model:
    """`pictures` (B, H, W, 3) uint8 RGB of the input size -> the results that `runtime.engine` names.

    Args:
        network: any.
        raw: without decoding and NMS, for engines that have their own.
    """
    model = openvino.convert_model(exported_program(network))
    model.reshape([-1, *network.spec.input_size_hw, 3])
    model.inputs[0].set_names({INPUT})
    offsets, probabilities = (result.get_node().input_value(0) for result in model.outputs)
    default_boxes = opset9.constant(network.default_boxes.numpy())
    values = dict(zip(RAW, (offsets, probabilities, default_boxes.output(0)), strict=True))
    if not raw:
        values |= dict(zip(DETECTIONS, _detections(offsets, probabilities, network), strict=True))
    results = [opset9.result(value) for value in values.values()]
    for result, name in zip(results, values, strict=True):
        result.output(0).set_names({name})
    model = openvino.Model(results, model.get_parameters(), network.spec.name)
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
            source.replace(opset9.convert(opset9.constant(half), openvino.Type.f32).output(0))


def serialised(model: openvino.Model) -> dict[str, bytes]:
    """The files of the graph, by name."""
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, str(Path(folder) / FILES[0]), compress_to_fp16=False)
        return {name: (Path(folder) / name).read_bytes() for name in FILES}


def _detections(offsets: openvino.Output, probabilities: openvino.Output, network: SSD) -> list[openvino.Output]:
    graph = detection_graph(network.spec, network.default_boxes.numpy()).SerializeToString()
    model = core().read_model(graph)
    for parameter in model.get_parameters():
        source = {RAW[0]: offsets, RAW[1]: probabilities}[parameter.output(0).any_name]
        parameter.output(0).replace(source)
    return [model.output(name).get_node().input_value(0) for name in DETECTIONS]
