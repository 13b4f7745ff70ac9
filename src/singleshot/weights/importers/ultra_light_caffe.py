"""Ultra-Light-Face from Caffe files: converted from ONNX, so that layers have numbers for names and no detection layer.

They are recognised by their order, and each is checked: what it does, what it sees, and whether a ReLU follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models.layers import ConvBlock
from singleshot.models.ssd import SSD
from singleshot.spec import ModelSpec
from singleshot.weights.importers.caffe import require_same_settings
from singleshot.weights.importers.caffe_graph import Graph, Layer
from singleshot.weights.importers.ultra_light import carried, places, spec_of

_JOINING = {"Concat", "Eltwise"}


def is_ultra_light(graph: Graph) -> bool:
    """Whether a description has no detection layer and as many convolutions as one of the two networks."""
    counts = {len(places(field=field)) for field in (False, True)}
    return not graph.of_kind("DetectionOutput", "MultiBoxLoss", "PriorBox") and len(graph.convolutions) in counts


def from_caffe(
    graph: Graph,
    blobs: Mapping[str, Sequence[np.ndarray]],
    class_names: Sequence[str] | None,
    *,
    size_hw: tuple[int, int] | None,
    origin: str,
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """Specification and tensors of a detector.

    Args:
        graph: of the description.
        blobs: weight and bias of each layer.
        class_names: L names; None for `face`.
        size_hw: height and width of the input that the description states, or that was given.
        origin: file of the weights, for messages.

    Raises:
        ModelError: a layer is missing, left over, or does not do what the network's does; it is named.
    """
    convolutions = graph.convolutions
    field = len(convolutions) == len(places(field=True))
    spec, layer_places = spec_of(size_hw, field=field), places(field=field)
    names = {layer.name: place.target for layer, place in zip(convolutions, layer_places, strict=True)}
    state: dict[str, Tensor] = {}
    for name, parts in blobs.items():
        state |= {
            f"{name}.{part}": torch.from_numpy(blob) for part, blob in zip(("weight", "bias"), parts, strict=False)
        }
        if f"{name}.bias" in state:
            state[f"{name}.bias"] = state[f"{name}.bias"].flatten()
    here = [
        place._replace(original=layer.name, norm=None) for layer, place in zip(convolutions, layer_places, strict=True)
    ]
    spec, state = carried(state, here, class_names, spec, origin=origin)
    model = SSD(spec)
    for layer, place in zip(convolutions, layer_places, strict=True):
        module = model.get_submodule(place.target)
        require_same_settings(graph, layer, module)
        sees = tuple(names[below.name] for below in _seen(graph, layer.bottoms[0]))
        if sees != place.sees:
            raise ModelError(f"{graph.origin}: {layer.name} sees {', '.join(sees)}, expected {', '.join(place.sees)}")
        activated = isinstance(module, ConvBlock) and module.activation == "relu"
        if activated != _activated(graph, layer):
            raise ModelError(f"{graph.origin}: {'no' if activated else 'a'} ReLU behind {layer.name}")
    return spec, state


def _seen(graph: Graph, blob: str) -> list[Layer]:
    """The convolutions behind a blob, through ReLU, joined where they are."""
    layer = graph.maker(blob)
    for _ in range(len(graph.layers)):
        if layer.kind != "ReLU":
            break
        layer = graph.maker(layer.bottoms[0])
    if layer.kind in _JOINING:
        return [below for bottom in layer.bottoms for below in _seen(graph, bottom)]
    return [] if layer.kind == "Input" else [layer]


def _activated(graph: Graph, layer: Layer) -> bool:
    return any(relu.bottoms[:1] == layer.tops[:1] for relu in graph.of_kind("ReLU"))
