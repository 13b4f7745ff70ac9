"""Whole networks against Caffe (golden 6), through our own importer.

Tolerance 2e-4 on logits and maps: two builds of Caffe's own BLAS differ by 6e-5, sums of thousands of float32 products
in another order. Reduced nets come from their `.caffemodel`, full ones from the recipe in the golden README.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch

from golden import GOLDEN, arrays, caffe_rows, golden_file, needs_golden
from golden_network import recipe_blobs, recipe_images
from singleshot.models.layers import ConvBlock
from singleshot.models.ssd import SSD
from singleshot.ssd.detection_torch import postprocess_batch
from singleshot.weights.build import fill
from singleshot.weights.importers.caffe import from_description, our_layers, read_base
from singleshot.weights.importers.caffe_graph import Graph
from singleshot.weights.importers.caffe_proto import read_caffemodel, read_prototxt
from singleshot.weights.importers.caffe_spec import derive_spec, our_name
from singleshot.weights.importers.detectors import detector_of_caffe

if TYPE_CHECKING:
    from singleshot.ssd.tensors import Predictions

FOLDER = GOLDEN / "6_network"
NETS = sorted(path.stem for path in FOLDER.glob("*.json"))
REDUCED = [name for name in NETS if (FOLDER / f"{name}.caffemodel").is_file()]
SUBSETS = sorted(path.name for path in FOLDER.glob("*_v1_subset.caffemodel"))
TOLERANCE = 2e-4
EVERY = 7  # large nets keep every 7th row
pytestmark = needs_golden


class Run(NamedTuple):
    """One network with its golden data and what it gave."""

    facts: dict[str, Any]
    golden: dict[str, np.ndarray]
    model: SSD
    predictions: Predictions
    blobs: dict[str, np.ndarray]  # by Caffe's names


@cache
def run(name: str) -> Run:
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    golden = arrays(f"6_network/{name}.npz")
    prototxt, caffemodel = FOLDER / f"{name}.prototxt", FOLDER / f"{name}.caffemodel"
    if caffemodel.is_file():
        _, spec, state = detector_of_caffe(prototxt, caffemodel, None)
    else:
        blobs = recipe_blobs(facts["params"], seed=facts["weight_base_seed"], num_classes=facts["num_classes"])
        spec, state = from_description(prototxt, blobs, origin="recipe")
    model = SSD(spec).eval()
    fill(model, state, origin=name)
    count, _, height, width = facts["input_shape"]
    if "image" in golden:
        images = golden["image"].astype(np.float32)
    else:
        images = recipe_images(facts["image_seed"], count, height, width)
    seen = _record(model, name)
    with torch.inference_mode():
        predictions = model(torch.from_numpy(images).to(memory_format=torch.channels_last))
    return Run(facts, golden, model, predictions, seen)


def _record(model: SSD, name: str) -> dict[str, np.ndarray]:
    """Fill the returned dictionary with the output of every layer that has weights when the network runs."""
    graph = Graph(read_prototxt(FOLDER / f"{name}.prototxt"), name)
    spec, sources = derive_spec(graph)
    seen: dict[str, np.ndarray] = {}
    for caffe_name, ours in our_layers(graph, spec, sources).items():
        top = graph.layers[caffe_name].tops[0]

        def note(_module: object, _inputs: object, output: torch.Tensor, top: str = top) -> None:
            seen[top] = output.numpy().copy(order="C")

        model.get_submodule(ours).register_forward_hook(note)
    return seen


@pytest.mark.parametrize("name", NETS)
def test_raw_predictions_are_caffes(name: str) -> None:
    _, golden, model, predictions, _ = run(name)
    offsets, logits = predictions.offsets.numpy(), predictions.logits.numpy()
    if golden["mbox_loc"].shape[1] != offsets.shape[1]:
        offsets, logits = offsets[:, ::EVERY], logits[:, ::EVERY]
    np.testing.assert_allclose(offsets, golden["mbox_loc"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(logits, golden["mbox_conf"], rtol=0, atol=TOLERANCE)
    if "mbox_priorbox" in golden:
        boxes, variances = golden["mbox_priorbox"]
        np.testing.assert_allclose(model.default_boxes.numpy(), boxes, rtol=0, atol=1e-6)
        np.testing.assert_allclose(np.tile(model.spec.boxes.variances, (len(boxes), 1)), variances, rtol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_every_layer_is_caffes(name: str) -> None:
    """Sampled values of each blob, and the stored maps whole; relative to the map's largest value, at least 1."""
    facts, golden, _, _, seen = run(name)
    assert len(seen) >= len([layer for layer in facts["params"] if layer["type"] in {"Convolution", "Normalize"}])
    for blob, values in seen.items():
        of_caffe = facts["blobs"][blob]
        assert list(values.shape) == of_caffe["shape"], blob
        tolerance = TOLERANCE * max(1.0, abs(of_caffe["max"]), abs(of_caffe["min"]))
        flat = values.reshape(-1)
        sampled = flat[:: max(1, flat.size // 64)][:64]
        np.testing.assert_allclose(sampled, of_caffe["strided"], rtol=0, atol=tolerance, err_msg=blob)
        if f"blob_{blob}" in golden:
            stored = golden[f"blob_{blob}"]
            whole = values if values.shape == stored.shape else values[:, :, ::3, ::3]
            np.testing.assert_allclose(whole, stored, rtol=0, atol=tolerance, err_msg=blob)


@pytest.mark.parametrize("name", NETS)
def test_detections_are_caffes(name: str) -> None:
    """Labels and scores row by row; whole rows one to one, since boxes whose scores agree to 1e-6 may change places.

    Tolerance 1e-5, as golden 5: the softmax shrinks what the logits differ by.
    """
    _, golden, model, predictions, _ = run(name)
    found = postprocess_batch(predictions, model.default_boxes, model.spec.boxes.variances, model.spec.postprocess)
    rows, expected = caffe_rows(found), golden["detection_out"]
    np.testing.assert_array_equal(rows[:, :2], expected[:, :2])
    np.testing.assert_allclose(rows[:, 2], expected[:, 2], rtol=0, atol=1e-5)
    distances = np.abs(rows[:, None] - expected[None]).max(axis=2)
    partners = distances.argmin(axis=1)
    assert len(set(partners)) == len(rows)
    assert distances.min(axis=1).max() <= 1e-5


@pytest.mark.parametrize("name", REDUCED)
def test_the_recipe_gives_the_stored_weights(name: str) -> None:
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    recipe = recipe_blobs(facts["params"], seed=facts["weight_base_seed"], num_classes=facts["num_classes"])
    stored = read_caffemodel(FOLDER / f"{name}.caffemodel")
    assert stored.keys() == recipe.keys()
    for layer, blobs in recipe.items():
        for expected, found in zip(blobs, stored[layer].blobs, strict=True):
            np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("file", SUBSETS)
def test_the_old_format_holds_the_same_weights(file: str) -> None:
    whole = file.replace("_v1_subset", "")
    golden_file(f"6_network/{whole}")
    _, _, state = detector_of_caffe((FOLDER / whole).with_suffix(".prototxt"), FOLDER / whole, None)
    base = read_base(FOLDER / file)
    stored = read_caffemodel(FOLDER / file)
    assert len(base) == 2 * len(stored)
    for name in stored:
        ours = f"backbone.{our_name('vgg16', name)}.convolution"
        for part in ("weight", "bias"):
            assert torch.equal(base[f"{ours}.{part}"], state[f"{ours}.{part}"])


@pytest.mark.parametrize("name", NETS)
def test_parameters_are_as_many_as_caffes(name: str) -> None:
    """Folding turns the 2 n values of a Scale layer into n biases."""
    facts, _, model, _, _ = run(name)
    count = dict.fromkeys(("Convolution", "Normalize", "BatchNorm", "Scale"), 0)
    for layer in facts["params"]:
        count[layer["type"]] += sum(int(np.prod(shape)) for shape in layer["shapes"])
    expected = count["Convolution"] + count["Normalize"] + count["Scale"] // 2
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert all(module.norm is None for module in model.modules() if isinstance(module, ConvBlock))
