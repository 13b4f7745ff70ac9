"""Golden 9: the reduced SSD300 that Caffe trained for a few iterations, its batches and its weights."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import torch

from golden import GOLDEN, arrays
from golden_network import recipe_blobs, recipe_images
from singleshot.models.ssd import SSD
from singleshot.weights.build import fill
from singleshot.weights.importers.caffe import from_description, our_layers
from singleshot.weights.importers.caffe_graph import Graph
from singleshot.weights.importers.caffe_proto import read_prototxt
from singleshot.weights.importers.caffe_spec import derive_spec

FOLDER = GOLDEN / "9_training"
PROTOTXT = FOLDER / "train.prototxt"
LARGE, KEPT = 8000, 4000  # larger arrays are stored thinned out


@cache
def facts() -> dict[str, Any]:
    """Content of sgd.json."""
    return json.loads((FOLDER / "sgd.json").read_text())  # type: ignore[no-any-return]


def initial_model() -> SSD:
    """The network before the first iteration: the recipe's weights, those of the heads divided by 8."""
    blobs = recipe_blobs(facts()["params"], seed=facts()["weight_base_seed"], num_classes=facts()["num_classes"])
    for name, (weight, *_) in blobs.items():
        if name.endswith(("mbox_loc", "mbox_conf")):
            weight *= np.float32(0.125)
    spec, state = from_description(PROTOTXT, blobs, origin="recipe")
    model = SSD(spec).train()
    fill(model, state, origin="recipe")
    return model


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Network input, ground-truth boxes and classes of batch `number`."""
    count = facts()["batch"]
    images = recipe_images(facts()["image_seeds"][number], count, *derive()[0].input_size_hw)
    return torch.from_numpy(images), *ground_truth(arrays("9_training/sgd.npz")[f"gt{number}"], count)


def ground_truth(rows: np.ndarray, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Caffe's label rows (image, class, instance, xmin, ymin, xmax, ymax, difficult), padded to equal numbers."""
    rows = rows.reshape(-1, 8)
    most = max(int((rows[:, 0] == i).sum()) for i in range(count))
    boxes, classes = torch.zeros(count, most, 4), torch.zeros(count, most, dtype=torch.int64)
    for i in range(count):
        of_image = torch.from_numpy(rows[rows[:, 0] == i].astype(np.float32))
        boxes[i, : len(of_image)] = of_image[:, 3:7]
        classes[i, : len(of_image)] = of_image[:, 1].long()
    return boxes, classes


@cache
def derive() -> Any:
    """Specification and source layers of the prototxt."""
    return derive_spec(Graph(read_prototxt(PROTOTXT), "train.prototxt"))


def by_caffe_name(model: SSD) -> dict[str, torch.nn.Parameter]:
    """The parameters as `<Caffe layer>/<blob number>`."""
    places = our_layers(Graph(read_prototxt(PROTOTXT), "train.prototxt"), *derive())
    return {
        f"{layer}/{number}": parameter
        for layer, place in places.items()
        for number, parameter in enumerate(model.get_submodule(place).parameters())  # weight, bias; or scale
    }


def thinned(values: np.ndarray) -> np.ndarray:
    """As the golden file stores an array."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // KEPT)] if flat.size > LARGE else flat
