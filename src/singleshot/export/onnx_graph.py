"""The engine's graph as ONNX."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import onnx
import torch
from onnx import compose, helper, numpy_helper

from singleshot.export.detection_graph import OPSET, detection_graph
from singleshot.export.engine_graph import INPUT, OUTPUTS, exported_program, outputs_of_network
from singleshot.models.ssd import SSD
from singleshot.runtime.backends import ENGINE_FILES
from singleshot.runtime.engine import RAW

FILES = ENGINE_FILES["onnx"]


def to_onnx(network: SSD, *, outputs: str = "detections") -> bytes:
    """`images` (B, H, W, 3) uint8 RGB of the input size -> the results that `runtime.engine` names.

    Args:
        network: any whose NMS is plain (eta 1).
        outputs: a key of `OUTPUTS`.
    """
    with quiet_exporter():
        program = torch.onnx.export(
            exported_program(network, outputs), (), input_names=[INPUT], output_names=list(outputs_of_network(outputs)),
            opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # where in our source each came from
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        del value.metadata_props[:]
    _narrow_on_one_cell(model.graph)
    boxes = network.default_boxes.numpy()
    model.graph.node.append(helper.make_node("Constant", [], [RAW[2]], value=numpy_helper.from_array(boxes)))
    model.graph.output.append(helper.make_tensor_value_info(RAW[2], onnx.TensorProto.FLOAT, list(boxes.shape)))
    if outputs == "detections":
        io_map = [(name, name) for name in RAW[:2]]
        detection = detection_graph(network.spec, boxes, ir_version=model.ir_version)
        model = compose.merge_models(model, detection, io_map, outputs=list(OUTPUTS[outputs]))
    helper.set_model_props(model, {"singleshot": json.dumps(asdict(network.spec))})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _narrow_on_one_cell(graph: onnx.GraphProto) -> None:
    """Make padded 3x3 convolutions from a 1x1 map to a 1x1 map the 1x1 convolutions of their middle weights.

    They are equal, for all other weights meet padding. OpenCV 4 computes the depthwise ones wrongly (4.12: offsets of
    the last map by up to 0.8).
    """
    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in graph.value_info}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    whole: set[str] = set()
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in weights:
            continue
        maps = [shapes.get(name, [])[2:] for name in (node.input[0], node.output[0])]
        values = numpy_helper.to_array(weights[node.input[1]])
        pads = next((list(part.ints) for part in node.attribute if part.name == "pads"), [])
        if maps != [[1, 1], [1, 1]] or values.shape[2:] != (3, 3) or pads != [1, 1, 1, 1]:
            continue
        name = f"{node.input[1]}_middle"  # the whole weights may be of another layer, too
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values[:, :, 1:2, 1:2]), name))
        whole.add(node.input[1])
        node.input[1] = name
        for part in node.attribute:
            if part.name in {"pads", "kernel_shape"}:
                part.ints[:] = [0, 0, 0, 0] if part.name == "pads" else [1, 1]
    for name in whole - {name for node in graph.node for name in node.input}:
        graph.initializer.remove(weights[name])


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without what torch's exporter says of its own deprecations."""
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
