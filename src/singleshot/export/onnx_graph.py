"""The engine's graph as ONNX."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

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


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Without what torch's exporter says of its own deprecations."""
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
