"""TensorFlow's SSDs as networks of ours: raw outputs equal to the graph's, on graphs of random weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden import SHARED
from singleshot.errors import ModelError
from singleshot.graphs.import_detector import import_detector
from singleshot.models.ssd import SSD
from singleshot.runtime.openvino_core import core, openvino
from singleshot.spec import PYRAMID, Fusion, Postprocess, Preprocess, SharedHead
from singleshot.weights.build import fill
from singleshot.weights.importers.tensorflow_layers import GraphLayers, layers_of, without_rounding
from singleshot.weights.importers.tensorflow_ssd import DetectorFacts, read_detector, require_equal
from tensorflow_graphs import CLASSES, evaluated, fpnlite_mobilenet_v2, mobilenet_v1, ssdlite_mobilenet_v2

TENSORFLOW = SHARED / "weights" / "tensorflow"
SIZE = (160, 160)
PIXELS = Preprocess((127.5,) * 3, (127.5,) * 3, "rgb")
KINDS = {"v1": mobilenet_v1, "lite": ssdlite_mobilenet_v2, "fpnlite": fpnlite_mobilenet_v2}


def facts(**changes: object) -> DetectorFacts:
    names = tuple(f"class {number}" for number in range(1, CLASSES))
    plain = DetectorFacts(
        input_size_hw=SIZE,
        class_names=names,
        anchors=None,
        rounding=0.0,
        variances=(0.1, 0.1, 0.2, 0.2),
        preprocess=PIXELS,
        postprocess=Postprocess(scores="sigmoid"),
        background=True,
        origin="graph",
    )
    return replace(plain, **changes)


def layers(model: openvino.Model) -> GraphLayers:
    results = [result.input(0).get_source_output() for result in model.get_results()]
    return layers_of(model.get_ordered_ops(), *results, evaluated, origin="graph")


def running(model: openvino.Model) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels = ((image.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        results = compiled([np.ascontiguousarray(pixels)])
        return np.array(results[0])[0], np.array(results[1])[0]

    return run


@pytest.fixture(scope="module", params=KINDS)
def graph(request: pytest.FixtureRequest) -> tuple[str, openvino.Model]:
    return request.param, KINDS[request.param](SIZE)


def test_raw_outputs_are_the_graphs(graph: tuple[str, openvino.Model]) -> None:
    kind, model = graph
    spec, state = read_detector(layers(model), facts())
    assert require_equal(spec, state, running(model), facts()) < 1e-4
    names = {"v1": "ssd160-mobilenetv1", "lite": "ssdlite160-mobilenetv2", "fpnlite": "ssdfpnlite160-mobilenetv2"}
    assert spec.name == names[kind]
    assert spec.width == 0.25
    assert spec.shared_head == (SharedHead(8, 2) if kind == "fpnlite" else None)
    assert spec.fusion == (Fusion(PYRAMID, channels=8) if kind == "fpnlite" else None)


def test_another_network_of_the_same_layers_is_refused() -> None:
    model = ssdlite_mobilenet_v2(SIZE)
    spec, state = read_detector(layers(model), facts())
    padded = replace(spec, compatibility=replace(spec.compatibility, tensorflow_padding=False))
    with pytest.raises(ModelError, match="computes something else"):
        require_equal(padded, state, running(model), facts())


def test_ids_without_a_class_are_cut_off() -> None:
    model = mobilenet_v1(SIZE)
    whole, some = facts(), facts(class_names=(None, "dog"))
    logits, fewer = [], []
    image = torch.rand(1, 3, *SIZE)
    for each, into in ((whole, logits), (some, fewer)):
        spec, state = read_detector(layers(model), each)
        network = SSD(spec).eval()
        fill(network, state, origin="graph")
        with torch.inference_mode():
            into.append(network(image).logits)
    assert spec.class_names == ("dog",)
    torch.testing.assert_close(fewer[0], logits[0][..., [0, 2]])
    read = layers(model)
    of_graph = torch.from_numpy(read.layers[read.confidence[0]].weight)
    assert torch.equal(state["heads.confidence.conv11.weight"][:2], of_graph[[0, 2]])  # of the first box


def test_a_graph_without_background_gets_an_empty_column() -> None:
    model = mobilenet_v1(SIZE)
    names = tuple(f"class {number}" for number in range(CLASSES))
    bare = facts(class_names=names, background=False)
    spec, state = read_detector(layers(model), bare)
    assert spec.num_classes == CLASSES + 1
    assert require_equal(spec, state, running(model), bare) < 1e-4
    assert not state["heads.confidence.conv11.weight"].view(3, CLASSES + 1, -1)[:, 0].any()


def test_heads_of_a_pyramid_that_are_not_shared_are_refused() -> None:
    read = layers(fpnlite_mobilenet_v2(SIZE))
    last = read.confidence[-1]
    changed = list(read.layers)
    changed[last] = replace(changed[last], weight=changed[last].weight * 1.1)
    with pytest.raises(ModelError, match="not shared"):
        read_detector(replace(read, layers=tuple(changed)), facts())


def test_a_graph_that_is_no_mobilenet_is_refused() -> None:
    read = layers(ssdlite_mobilenet_v2(SIZE))
    short = replace(read, layers=read.layers[:20], location=(19,), confidence=(19,))
    with pytest.raises(ModelError, match="52"):
        read_detector(short, facts())


def test_offsets_come_as_x_y_width_height() -> None:
    read = layers(mobilenet_v1(SIZE))
    head = read.layers[read.location[0]]
    changed = list(read.layers)
    changed[read.location[0]] = replace(head, bias=np.arange(12, dtype=np.float32))
    _, state = read_detector(replace(read, layers=tuple(changed)), facts())
    assert state["heads.location.conv11.bias"].tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]


def quantised(pixels: openvino.op.Parameter) -> openvino.Model:
    """8-bit pixels scaled to -1 .. 1, a convolution rounded to numbers of 0 .. 6, one to numbers of 0 .. 9, and one."""
    ops, generator = openvino.opset13, np.random.default_rng(3)

    def rounded(x: object, low: float, high: float, new_low: float, new_high: float) -> object:
        limits = [ops.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in (low, high, new_low, new_high)]
        return ops.fake_quantize(x, *limits, 256)

    x = rounded(ops.convert(pixels, "f32"), 0, 255, -1, 0.9921875)
    for count, high in ((4, 5.9998), (4, 9.0), (2, 0.0)):
        weight = generator.uniform(-1, 1, (count, 3 if count == 4 and high < 6 else 4, 1, 1)).astype(np.float32)
        x = ops.add(
            ops.convolution(x, ops.constant(weight), [1, 1], [0, 0], [0, 0], [1, 1]),
            ops.constant(generator.uniform(2, 6, (1, count, 1, 1)).astype(np.float32)),
        )
        x = rounded(x, *((0, high) * 2 if high else (-20, 20) * 2))
    return openvino.Model([x], [pixels])


def test_rounding_is_taken_out_of_a_quantised_graph() -> None:
    ops = openvino.opset13
    model = quantised(ops.parameter([1, 3, 4, 4], np.uint8))
    image = np.random.default_rng(4).integers(0, 256, (1, 3, 4, 4), np.uint8)
    coarse = np.array(core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0])
    weights = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    filters = evaluated([node.input(1).get_source_output() for node in weights])
    biases = [
        next(iter(node.output(0).get_target_inputs())).get_node().input(1).get_source_output() for node in weights
    ]
    x = image / 128 - 1
    for weight, bias, limit in zip(filters, evaluated(biases), (6.0, np.inf, None), strict=True):
        x = np.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x) + bias
        x = x if limit is None else x.clip(0, limit)
    assert without_rounding(model, ops, evaluated) == 4
    exact = np.array(core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0])
    np.testing.assert_allclose(exact, x, atol=1e-4)
    assert 0.01 < np.abs(coarse - x).max() < 1


@pytest.mark.skipif(not TENSORFLOW.is_dir(), reason="no ../shared/weights/tensorflow")
@pytest.mark.parametrize(
    ("file", "name", "boxes"),
    [
        ("coco_ssd_mobilenet_v1_uint8.tflite", "ssd300-mobilenetv1", 1917),
        ("coco_ssd_mobilenet_v2_fpnlite_320_int8w.tflite", "ssdfpnlite320-mobilenetv2", 12804),
    ],
)
def test_real_files_become_networks_that_compute_the_same(file: str, name: str, boxes: int) -> None:
    detector = import_detector(TENSORFLOW / file)  # refused as a network of ours where raw outputs differ by 1e-4
    assert detector.not_trainable == ""
    assert detector.state is not None
    assert (detector.spec.name, detector.boxes) == (name, boxes)


@pytest.mark.parametrize("kind", ["v1", "lite"])
def test_a_head_on_two_maps_is_no_network_of_ours(kind: str) -> None:
    """As heads on the sum of a residual block are; never another exception than ours."""
    read = layers(KINDS[kind](SIZE))
    for number in read.location:
        changed = list(read.layers)
        changed[number] = replace(changed[number], feeds=changed[number].feeds | {0})
        with pytest.raises(ModelError, match="2 layers feed"):
            read_detector(replace(read, layers=tuple(changed)), facts())


def test_a_layer_that_nothing_feeds_is_no_network_of_ours() -> None:
    read = layers(fpnlite_mobilenet_v2(SIZE))
    heads = {*read.location, *read.confidence}
    for number in sorted(set(range(len(read.layers))) - heads):
        changed = list(read.layers)
        changed[number] = replace(changed[number], feeds=frozenset())
        with contextlib.suppress(ModelError):  # the first layer has none anyway
            read_detector(replace(read, layers=tuple(changed)), facts())
