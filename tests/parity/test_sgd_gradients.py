"""The loss and the gradients of a whole network at its first step against Caffe (golden 9).

Loss: 1e-5 relative. Gradients: 1e-5 of each array's largest value; Caffe's own BLAS builds differ by 2e-6 of it.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch

from golden import GOLDEN, arrays, needs_golden
from golden_network import recipe_blobs, recipe_pictures
from singleshot.assign.targets import assign
from singleshot.losses.multibox import multibox_loss
from singleshot.models.ssd import SSD
from singleshot.weights.build import fill
from singleshot.weights.caffe import from_description, our_layers
from singleshot.weights.caffe_graph import Graph
from singleshot.weights.caffe_proto import read_prototxt
from singleshot.weights.caffe_spec import derive_spec

FOLDER = GOLDEN / "9_training"
GRADIENTS = (
    sorted(key for key in np.load(FOLDER / "sgd.npz").files if key.startswith("grad/")) if FOLDER.is_dir() else []
)
LARGE, KEPT = 8000, 4000  # larger arrays are stored thinned out
pytestmark = needs_golden


def truths(rows: np.ndarray, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Caffe's label rows (picture, class, instance, xmin, ymin, xmax, ymax, difficult), padded to equal numbers."""
    rows = rows.reshape(-1, 8)
    most = max(int((rows[:, 0] == i).sum()) for i in range(count))
    boxes, classes = torch.zeros(count, most, 4), torch.zeros(count, most, dtype=torch.int64)
    for i in range(count):
        of_picture = torch.from_numpy(rows[rows[:, 0] == i].astype(np.float32))
        boxes[i, : len(of_picture)] = of_picture[:, 3:7]
        classes[i, : len(of_picture)] = of_picture[:, 1].long()
    return boxes, classes


@cache
def first_step() -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients (by Caffe's layer and blob) of the first batch at the initial weights."""
    facts = json.loads((FOLDER / "sgd.json").read_text())
    prototxt = FOLDER / "train.prototxt"
    blobs = recipe_blobs(facts["params"], seed=facts["weight_base_seed"], num_classes=facts["num_classes"])
    for name, (weight, *_) in blobs.items():
        if name.endswith(("mbox_loc", "mbox_conf")):
            weight *= np.float32(0.125)
    spec, state = from_description(prototxt, blobs, origin="recipe")
    model = SSD(spec).train()
    fill(model, state, origin="recipe")
    pictures = recipe_pictures(facts["image_seeds"][0], facts["batch"], *spec.input_size_hw)
    boxes, classes = truths(arrays("9_training/sgd.npz")["gt0"], facts["batch"])
    predictions = model(torch.from_numpy(pictures))
    loss = multibox_loss(predictions, assign(model.default_boxes, boxes, classes, spec.boxes.variances))
    loss.total.backward()
    graph = Graph(read_prototxt(prototxt), "train.prototxt")
    places = our_layers(graph, *derive_spec(graph))
    gradients: dict[str, np.ndarray] = {}
    for layer, place in places.items():
        parameters = list(model.get_submodule(place).parameters())  # weight, bias; or scale
        for i, parameter in enumerate(parameters):
            assert parameter.grad is not None
            gradients[f"grad/{layer}/{i}"] = parameter.grad.numpy()
    return loss.total.item(), gradients


def test_first_loss_is_caffes() -> None:
    expected = float(arrays("9_training/sgd.npz")["loss0"])
    assert first_step()[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_caffes(name: str) -> None:
    expected = arrays("9_training/sgd.npz")[name]
    flat = first_step()[1][name].reshape(-1)
    if flat.size > LARGE:
        flat = flat[:: max(1, flat.size // KEPT)]
    np.testing.assert_allclose(flat, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_every_gradient_is_compared() -> None:
    assert sorted(first_step()[1]) == GRADIENTS
