"""Manifests of TensorFlow.js: raw outputs equal to the network that their names stand for, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from singleshot import Detector
from singleshot.commands.import_weights import import_files
from singleshot.errors import ModelError, RequestError
from singleshot.graphs.detector_graph import read_detector_graph
from singleshot.graphs.import_detector import import_detector
from singleshot.graphs.tfjs import read_tfjs
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.weights.build import fill, load_network
from tfjs_files import (
    GRAPH_SIZE_HW,
    SHARDS,
    SIZE_HW,
    graph_anchors,
    graph_model,
    graph_reference,
    reference,
    tensors,
    write,
    write_graph,
)


def written(folder: Path, *, quantised: str = "uint8") -> Path:
    write(folder, tensors(), quantised=quantised)
    return folder / "manifest.json"


@pytest.mark.parametrize("quantised", ["", "uint8", "uint16"])
def test_raw_outputs_are_those_of_the_named_network(tmp_path: Path, quantised: str) -> None:
    stored = write(tmp_path, tensors(), quantised=quantised)
    detector = import_detector(tmp_path / "manifest.json", class_names=["face", "mask"])
    assert detector.state is not None
    network = SSD(detector.spec).eval()
    fill(network, detector.state, origin="manifest")
    image = np.random.default_rng(1).integers(0, 256, (*SIZE_HW, 3), np.uint8)
    with torch.inference_mode():
        ours = network(torch.from_numpy(to_network_input(image, SIZE_HW, detector.spec.preprocess))[None])
    offsets, logits = reference(stored, image)
    assert 0.1 < offsets.std() < 100
    np.testing.assert_allclose(ours.offsets[0].numpy(), offsets[:, [1, 0, 3, 2]], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.logits[0].numpy(), logits, rtol=1e-4, atol=1e-4)
    boxes = network.default_boxes.numpy()
    np.testing.assert_allclose(boxes, stored["Output/extra_dim"][0][:, [1, 0, 3, 2]], atol=1e-6)
    assert detector.spec.boxes.variances == (0.1, 0.1, 0.2, 0.2)
    assert detector.spec.preprocess.mean_rgb == (127.5,) * 3
    assert (f"{quantised} weights, dequantised" in detector.remarks[0]) is bool(quantised)


def test_a_manifest_becomes_a_model_of_its_first_class(tmp_path: Path) -> None:
    text = import_files([written(tmp_path)], tmp_path / "model")
    assert "uint8 weights, dequantised" in text
    assert "1 of 2 ids have no class" in text
    assert "1 class (face)" in text
    network = load_network(tmp_path / "model")
    post = network.spec.postprocess
    assert (post.scores, post.nms_threshold, post.keep_top_k) == ("sigmoid", 0.5, 100)
    provenance = json.loads((tmp_path / "model" / "config.json").read_text())["provenance"]["imported_from"]
    assert set(provenance) == {"manifest.json", *(Path(name).name for name in SHARDS)}


def test_integers_are_rounded_as_javascript_does(tmp_path: Path) -> None:
    entry = {"name": "a", "shape": [2], "dtype": "int32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -3}}
    path = manifest(tmp_path, [entry], bytes([1, 3]))
    assert read_tfjs(path).tensors["a"].tolist() == [-2, -1]  # -2.5 and -1.5


def test_halves_are_read(tmp_path: Path) -> None:
    stored = write(tmp_path, tensors(), quantised="float16")
    weights = read_tfjs(tmp_path / "manifest.json")
    assert "float16 weights, dequantised" in weights.remarks[0]
    for name, array in stored.items():
        np.testing.assert_array_equal(weights.tensors[name], array)


def test_a_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--size"):
        import_detector(written(tmp_path), size_hw=(300, 300))


def manifest(folder: Path, entries: list[Any], content: bytes = b"", names: object = ("a.bin",)) -> Path:
    (folder / "a.bin").write_bytes(content)
    path = folder / "manifest.json"
    path.write_text(json.dumps([{"weights": entries, "paths": names}]))
    return path


def entry(**changes: object) -> dict[str, object]:
    return {"name": "a", "shape": [1], "dtype": "float32"} | changes


BYTE = {"dtype": "uint8", "scale": 1.0, "min": 0.0}


@pytest.mark.parametrize(
    ("entries", "key"),
    [
        ([entry(shape=[2])], "a shard is short"),
        ([], "take 0 bytes"),
        ([entry(), entry()], "two tensors"),
        ([entry(shape=[2**31 - 1, 2**31 - 1])], "shape"),
        ([entry(shape=[2**31])], "shape"),
        ([entry(shape=[0, 2**31 - 1, 2**31 - 1])], "shape"),
        ([entry(shape=[2**30, 2])], "bytes"),
        ([entry(shape=[-1])], "shape"),
        ([entry(shape=[1.0])], "shape"),
        ([entry(shape=[True])], "shape"),
        ([entry(shape=[1] * 9)], "shape"),
        ([entry(shape=3)], "name, shape"),
        ([{"shape": [1]}], "name, shape"),
        ([7], "name, shape"),
        ([entry(dtype="string")], "'string'"),
        ([entry(dtype=["float32"])], "expected one of"),
        ([entry(quantization=BYTE | {"dtype": "int4"})], "'int4'"),
        ([entry(quantization="uint8")], "quantised"),
        ([entry(shape=[4], quantization={"dtype": "uint8", "scale": 1})], "scale and min"),
        ([entry(shape=[4], quantization=BYTE | {"scale": 1e300})], "float32"),
        ([entry(shape=[4], quantization=BYTE | {"scale": 10**400})], "float32"),
        ([entry(shape=[4], quantization=BYTE | {"scale": 3e38})], "too large"),
    ],
)
def test_damaged_entries_are_refused(tmp_path: Path, entries: list[Any], key: str) -> None:
    path = manifest(tmp_path, entries, b"\x00\x00\x02\x00")
    with pytest.raises(ModelError, match=key) as error:
        read_tfjs(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(path))


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not finite"):
        read_tfjs(manifest(tmp_path, [entry()], np.float32(np.nan).tobytes()))


@pytest.mark.parametrize(
    "name",
    ["../a.bin", "/a.bin", "http://host/a.bin", "file:///a.bin", "x/../../a.bin", "..\\a.bin", "", ".", 7, None, "b\0"],
)
def test_shards_outside_the_folder_are_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(ModelError, match="own folder"):
        read_tfjs(manifest(tmp_path, [entry()], bytes(4), [name]))


def test_linked_and_missing_shards_are_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(bytes(4))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    for name, key in (("link/outside", "link"), ("none.bin", "cannot be read")):
        with pytest.raises(ModelError, match=key):
            read_tfjs(manifest(folder, [entry()], bytes(4), [name]))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "not JSON"),
        ("[" * 5000, "nested"),
        ("[NaN]", "NaN"),
        ("[]", "no manifest"),
        ("{}", "no manifest"),
        ('{"modelTopology": {}, "weightsManifest": []}', "no manifest"),
        ('{"modelTopology": {}, "weightsManifest": [{"weights": [], "paths": []}]}', "no graph"),
        ('{"modelTopology": {"node": [7]}, "weightsManifest": [{"weights": [], "paths": []}]}', "operation 'None'"),
        ('["a"]', "no manifest"),
        ('[{"weights": [], "paths": "a.bin"}]', "no manifest"),
    ],
)
def test_json_that_is_no_manifest_is_refused(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ModelError, match=key):
        import_detector(tmp_path / "a.json")


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    arrays = tensors()
    return arrays | {name: change(arrays[name])}


CONVOLUTION, NORM = "MobilenetV1/Conv2d_3_pointwise", "MobilenetV1/Conv2d_3_depthwise/BatchNorm"


@pytest.mark.parametrize(
    ("arrays", "key"),
    [
        (changed(f"{CONVOLUTION}/weights", lambda array: array[0]), "shape"),
        (changed(f"{CONVOLUTION}/weights", lambda array: array[:, :, 1:]), "it gets"),
        (changed(f"{CONVOLUTION}/convolution_bn_offset", lambda array: array[1:]), "numbers"),
        (changed("MobilenetV1/Conv2d_3_depthwise/depthwise_weights", lambda array: array[:, :, 1:]), "filters"),
        (changed(f"{NORM}/moving_variance", lambda array: -array), "negative"),
        (changed("Prediction/BoxPredictor_1/ClassPredictor/weights", lambda array: array[..., 1:]), "numbers"),
        (changed("Preprocessor/ResizeImage/size", lambda array: array * 1000), "input"),
        (changed("Preprocessor/ResizeImage/size", lambda array: array * 2), "default boxes"),
        (changed("Preprocessor/mul/x", lambda array: array * 0), "preparation"),
        (changed("Output/extra_dim", lambda array: array[:, 1:]), "default boxes"),
        (tensors() | {"Prediction/Conv2d_9_pointwise/weights": np.ones(3, np.float32)}, "no SSD MobileNetV1 here has"),
        ({"dense/kernel": np.ones((2, 2), np.float32)}, "Conv2d_0_pointwise"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], key: str) -> None:
    write(tmp_path, arrays)
    with pytest.raises(ModelError, match=key):
        import_detector(tmp_path / "manifest.json")


def test_heads_of_different_numbers_of_scores_are_refused(tmp_path: Path) -> None:
    arrays = tensors()
    for part in ("weights", "biases"):
        name = f"Prediction/BoxPredictor_1/ClassPredictor/{part}"
        arrays[name] = np.concatenate([arrays[name], arrays[name]], axis=-1)
    write(tmp_path, arrays)
    with pytest.raises(ModelError, match="scores a box"):
        import_detector(tmp_path / "manifest.json")


def test_a_graph_gives_its_heads_and_default_boxes(tmp_path: Path) -> None:
    model = graph_model()
    path = write_graph(tmp_path, model)
    graph = read_detector_graph(path, tfjs=read_tfjs(path))
    image = np.random.default_rng(2).integers(0, 256, (*GRAPH_SIZE_HW, 3), np.uint8)
    for actual, expected in zip(graph.run(image), graph_reference(model, image), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    boxes = graph_anchors()
    assert graph.anchors is not None
    np.testing.assert_allclose(graph.anchors[:, 0], boxes[:, 1] - boxes[:, 3] / 2, atol=1e-6)
    assert graph.variances == pytest.approx((0.1, 0.1, 0.2, 0.2))
    assert graph.postprocess.scores == "sigmoid"


def test_a_graph_that_is_no_network_of_ours_stays_one(tmp_path: Path) -> None:
    said = import_files([write_graph(tmp_path, graph_model())], tmp_path / "model", class_names=["a", "b", "c"])
    assert "cannot be trained" in said
    image = np.zeros((*GRAPH_SIZE_HW, 3), np.uint8)
    assert set(Detector.load(tmp_path / "model")(image).names) <= {"a", "b", "c"}


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("first", {"op": "FusedNothing"}, "model.json"),
        ("first", {"input": 3}, "'first'"),
        ("first", {"input": [{}]}, "'first'"),
        ("first", {"attr": {}}, "'first'"),
        ("cast", {"attr": {"SrcT": {"type": "DT_MADE_UP"}}}, "'cast'"),
        ("cast", {"attr": {"SrcT": {"func": {"name": "f"}}}}, "func"),
        ("cast", {"attr": {"SrcT": {"i": str(2**70)}}}, "'cast'"),
        ("cast", {"attr": {"SrcT": {"s": "%"}}}, "'cast'"),
        ("cast", {"attr": 7}, "'cast'"),
        ("axis", {"name": "other"}, "no shard"),
        ("axis", {"attr": {"dtype": {"type": "DT_STRING"}}}, "'axis'"),
    ],
)
def test_damaged_graphs_are_refused(tmp_path: Path, name: str, change: dict[str, Any], key: str) -> None:
    model = graph_model()
    next(node for node in model.nodes if node["name"] == name).update(change)
    with pytest.raises(ModelError, match=key) as error:
        import_detector(write_graph(tmp_path, model))
    assert "\n" not in str(error.value)


def test_another_fused_activation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Elu"):
        import_detector(write_graph(tmp_path, graph_model(last="Elu")))
