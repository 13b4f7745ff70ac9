"""The engine's graph for OpenVINO."""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from torch.fx import Graph, Node

from singleshot.export.detection_graph import detection_graph
from singleshot.export.engine_graph import INPUT, OUTPUTS, exported_program, outputs_of_network
from singleshot.export.mixed_precision import USE
from singleshot.models.ssd import SSD
from singleshot.runtime.backends import ENGINE_FILES
from singleshot.runtime.engine import DETECTIONS, RAW
from singleshot.runtime.openvino_core import core, openvino, opset9
from singleshot.shapes import Float32
from singleshot.spec import ModelSpec

FILES = ENGINE_FILES["openvino"]
CONVOLUTIONS = ("Convolution", "GroupConvolution")
IN_FP32 = "DisablePrecisionConversion"
"""OpenVINO's mark on layers that keep their precision; it says f16, and the engine heeds it for bf16 too."""


def to_openvino(network: SSD, *, outputs: str = "detections") -> openvino.Model:
    """`images` (B, H, W, 3) uint8 RGB of the input size -> the results that `runtime.engine` names.

    Args:
        network: any.
        outputs: a key of `OUTPUTS`.
    """
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with _without_log():
        decoder = TorchFXPythonDecoder.from_exported_program(exported_program(network, outputs))
    model = openvino.convert_model(decoder)
    _name_layers(model, decoder.pt_module.graph)
    model.reshape([-1, *network.spec.input_size_hw, 3])
    model.inputs[0].set_names({INPUT, "pictures"})  # the second is the name that graphs had before
    computed = (result.get_node().input_value(0) for result in model.outputs)
    values = dict(zip(outputs_of_network(outputs), computed, strict=True))
    return with_results(values, model.get_parameters(), network.spec, network.default_boxes.numpy(), outputs)


def with_results(
    computed: Mapping[str, openvino.Output],
    parameters: Sequence[openvino.Node],
    spec: ModelSpec,
    default_boxes: Float32[np.ndarray, "K 4"],
    outputs: str,
) -> openvino.Model:
    """The graph with all the results that `OUTPUTS[outputs]` names, and the specification as its metadata.

    Args:
        computed: the results that depend on the image, `offsets` and `probabilities` at least.
        parameters: the graph's inputs.
        spec: what the detector is.
        default_boxes: xyxy as fractions of the image.
        outputs: a key of `OUTPUTS`.
    """
    values = {**computed, RAW[2]: opset9.constant(default_boxes).output(0)}
    if outputs == "detections":
        detections = _detections(values[RAW[0]], values[RAW[1]], spec, default_boxes)
        values |= dict(zip(DETECTIONS, detections, strict=True))
    results = {name: opset9.result(values[name]) for name in OUTPUTS[outputs]}
    for name, result in results.items():
        result.output(0).set_names({name})
    model = openvino.Model(list(results.values()), list(parameters), spec.name)
    model.set_rt_info(json.dumps(asdict(spec)), "singleshot")
    return model


def layer_names(model: openvino.Model) -> list[str]:
    """The convolutions, by their names in the network: `backbone.block1.depthwise`, `heads.location.last.pointwise`."""
    return [layer.get_friendly_name() for layer in model.get_ordered_ops() if layer.get_type_name() in CONVOLUTIONS]


def halve_weights(model: openvino.Model, *, only_exact: bool, high_precision: Collection[str] = ()) -> None:
    """Store filters as float16; everything else, the default boxes above all, stays as it is.

    Args:
        model: is changed.
        only_exact: leave filters that would lose digits (those of a model stored in half precision do not).
        high_precision: layers to leave, by name.
    """
    for layer in model.get_ops():
        if layer.get_type_name() not in CONVOLUTIONS or layer.get_friendly_name() in high_precision:
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


def quantised_layers(model: openvino.Model) -> int:
    """How many convolutions have filters that are stored in 8 bits."""
    eight_bits = {openvino.Type.i8, openvino.Type.u8}
    return sum(_filters_type(layer) in eight_bits for layer in model.get_ops() if layer.get_type_name() in CONVOLUTIONS)


def _filters_type(layer: openvino.Node) -> openvino.Type:
    """What the filters of a convolution are stored as: of the constant from which they are computed."""
    node = layer.input_value(1).get_node()
    while node.get_type_name() != "Constant" and node.inputs():
        node = node.input_value(0).get_node()
    return node.get_element_type()


def in_full_precision(quantised: openvino.Model, names: Collection[str], *, as_in: openvino.Model) -> openvino.Model:
    """The 8-bit graph with these layers as they were: their inputs not rounded, their filters those of `as_in`."""
    filters = {
        layer.get_friendly_name(): layer.input_value(1)
        for layer in as_in.get_ops()
        if layer.get_type_name() in CONVOLUTIONS
    }
    model = quantised.clone()
    for layer in model.get_ops():
        if layer.get_type_name() in CONVOLUTIONS and layer.get_friendly_name() in names:
            rounding = layer.input_value(0).get_node()
            if rounding.get_type_name() == "FakeQuantize":
                layer.input(0).replace_source_output(rounding.input_value(0))
            source = filters[layer.get_friendly_name()]
            constant = source.get_node()
            while constant.get_type_name() != "Constant":
                constant = constant.input_value(0).get_node()
            values = constant.get_data().astype(np.float32).reshape(tuple(source.get_shape()))
            layer.input(1).replace_source_output(opset9.constant(values).output(0))
    return model


def serialised(model: openvino.Model, *, high_precision: Collection[str] = ()) -> dict[str, bytes]:
    """The files of the graph, by name.

    Args:
        model: the graph.
        high_precision: layers that the engine computes in fp32 whatever its precision hint says.
    """
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, str(Path(folder) / FILES[0]), compress_to_fp16=False)
        files = {name: (Path(folder) / name).read_bytes() for name in FILES}
    if high_precision:
        files[FILES[0]] = _marked(files[FILES[0]], _with_sums(model, high_precision))
    return files


def _with_sums(model: openvino.Model, high_precision: Collection[str]) -> set[str]:
    """These layers and the sums behind them: of a bias, and of a residual block, into which the engine fuses both."""
    found: set[str] = set()
    for layer in model.get_ops():
        if layer.get_type_name() in CONVOLUTIONS and layer.get_friendly_name() in high_precision:
            behind = [layer]
            for _ in range(3):
                found.update(one.get_friendly_name() for one in behind)
                targets = [target.get_node() for one in behind for target in one.output(0).get_target_inputs()]
                behind = [one for one in targets if one.get_type_name() == "Add"]
    return found


def _marked(graph: bytes, names: Collection[str]) -> bytes:
    """The graph's XML with `IN_FP32` on what bears these names, which Python's interface cannot set."""
    root = ET.fromstring(graph)  # noqa: S314 our own, made a moment ago
    for layer in root.iterfind("layers/layer"):
        if layer.get("name") in names:
            info = layer.find("rt_info")
            if info is None:
                info = ET.Element("rt_info")
                layer.insert(0, info)
            ET.SubElement(info, "attribute", name=IN_FP32, version="0", value="dynamic:f16")
    marked: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return marked


def _name_layers(model: openvino.Model, graph: Graph) -> None:
    """Call convolutions as the network does; the second use of a shared one `heads.location.pointwise@2`.

    The converter calls a layer after the graph's node. Where it has put batch normalisation into a convolution, as in
    bases of timm, only the result keeps a name, that of the normalisation, which stands behind the convolution.
    """
    nodes = {node.name: node for node in graph.nodes}
    layer_of_node = _layers_of_nodes(graph)
    for layer in model.get_ops():
        if layer.get_type_name() not in CONVOLUTIONS:
            continue
        results = [layer.output(0), *(target.get_node().output(0) for target in layer.output(0).get_target_inputs())]
        names = [name.removesuffix(":0") for result in results for name in sorted(result.get_names())]
        node = next((nodes[name] for name in (layer.get_friendly_name().split("/")[0], *names) if name in nodes), None)
        while isinstance(node, Node) and node not in layer_of_node:
            node = next(iter(node.args), None)
        if isinstance(node, Node):
            layer.set_friendly_name(layer_of_node[node])


def _layers_of_nodes(graph: Graph) -> dict[Node, str]:
    """The name of the layer of each convolution in a graph of torch's, numbered from its second use on."""
    uses: Counter[str] = Counter()
    names: dict[Node, str] = {}
    for node in graph.nodes:
        if node.op == "call_function" and "convolution" in str(node.target):
            path = next(reversed(node.meta["nn_module_stack"].values()))[0]
            name = path.removeprefix("network.").removesuffix(".convolution")
            uses[name] += 1
            names[node] = name if uses[name] == 1 else f"{name}{USE}{uses[name]}"
    return names


@contextmanager
def _without_log() -> Iterator[None]:
    """Without what the converter logs, with tracebacks, of operations that this version of torch does not have."""
    logger = logging.getLogger()

    def nothing(_: logging.LogRecord) -> bool:
        return False

    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


def _detections(
    offsets: openvino.Output,
    probabilities: openvino.Output,
    spec: ModelSpec,
    default_boxes: Float32[np.ndarray, "K 4"],
) -> list[openvino.Output]:
    graph = detection_graph(spec, default_boxes).SerializeToString()
    model = core().read_model(graph)
    for parameter in model.get_parameters():
        source = {RAW[0]: offsets, RAW[1]: probabilities}[parameter.output(0).any_name]
        parameter.output(0).replace(source)
    return [model.output(name).get_node().input_value(0) for name in DETECTIONS]
