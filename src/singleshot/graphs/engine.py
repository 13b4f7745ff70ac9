"""The engine of a detector that is no network of ours: its own graph, giving what `runtime.engine` expects."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from singleshot.errors import ModelError
from singleshot.graphs.detector_graph import DetectorGraph
from singleshot.graphs.label_map import Names
from singleshot.runtime.backends import ENGINE_FILES
from singleshot.runtime.engine import RAW
from singleshot.runtime.openvino_core import openvino, opset9
from singleshot.spec import GRAPH, BoxSpec, ModelSpec

_TO_XYWH = (1, 0, 3, 2)
"""TensorFlow's offsets are of ycenter, xcenter, height, width."""


def graph_spec(graph: DetectorGraph, names: Names) -> ModelSpec:
    """The specification of a detector that is its graph: it has no layers that we know, and cannot be trained."""
    height, width = graph.input_size_hw
    return ModelSpec(
        name=f"tensorflow-{width}x{height}",
        backbone=GRAPH,
        input_size_hw=graph.input_size_hw,
        class_names=tuple(name for name in names if name is not None),
        sources=(),
        boxes=BoxSpec((), graph.variances),
        extras=(),
        preprocess=graph.preprocess,
        postprocess=graph.postprocess,
    )


def engine_files(graph: DetectorGraph, names: Names) -> dict[str, bytes]:
    """OpenVINO's files of the graph with our three results.

    Raises:
        ModelError: the graph holds no default boxes.
    """
    if graph.anchors is None:
        raise ModelError(
            f"{graph.origin} holds no default boxes, and is no network of ours whose boxes are known: give the .tflite "
            "file with its post-process, or the frozen graph"
        )
    offsets, scores = (result.input(0).get_source_output() for result in graph.model.get_results())
    ordered = opset9.gather(offsets, np.array(_TO_XYWH), np.array(2))
    results = (ordered, _probabilities(graph, scores, names), opset9.constant(graph.anchors))
    model = openvino.Model(
        [opset9.result(node.output(0)) for node in results], graph.model.get_parameters(), "detector"
    )
    for result, name in zip(model.get_results(), RAW, strict=True):
        result.output(0).get_tensor().set_names({name})
    return _serialised(model)


def _probabilities(graph: DetectorGraph, scores: openvino.Output, names: Names) -> openvino.Node:
    """(1, K, 1 + L): background, then the ids that a class has; background is 0 where the graph has none."""
    softmax = graph.postprocess.scores == "softmax"
    activated = opset9.softmax(scores, 2) if softmax else opset9.sigmoid(scores)
    first = int(graph.background)
    kept = [first + place for place, name in enumerate(names) if name is not None]
    if graph.background:
        return opset9.gather(activated, np.array([0, *kept]), np.array(2))
    assert graph.anchors is not None
    nothing = opset9.constant(np.zeros((1, len(graph.anchors), 1), np.float32))
    return opset9.concat([nothing, opset9.gather(activated, np.array(kept), np.array(2))], 2)


def _serialised(model: openvino.Model) -> dict[str, bytes]:
    files = ENGINE_FILES["openvino"]
    with tempfile.TemporaryDirectory(prefix="singleshot-") as folder:
        openvino.save_model(model, str(Path(folder) / files[0]), compress_to_fp16=False)
        return {name: (Path(folder) / name).read_bytes() for name in files}
