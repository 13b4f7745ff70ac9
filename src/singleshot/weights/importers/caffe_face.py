"""OpenCV's face detector (`deploy.prototxt`, `res10_300x300_ssd_iter_140000.caffemodel`): an SSD300 on a ResNet-10.

Its layers are recognised by name, and each is checked: what it does, what it sees, and whether a ReLU follows. Batch
normalisation is folded: into the convolution in front of it; behind a sum into both addends; in front of the network
into the preprocessing, so that the zeros around the image stay zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from singleshot.errors import ModelError, RequestError
from singleshot.models.layers import BACKBONE_NORM_EPSILON, ConvBlock
from singleshot.models.ssd import SSD
from singleshot.spec import ExtraBlock, ModelSpec, Preprocess
from singleshot.weights.classes import names_for
from singleshot.weights.importers.caffe import (
    folded,
    norm_scale,
    require_same_layers,
    require_same_settings,
    weight_and_bias,
)
from singleshot.weights.importers.caffe_graph import Graph, Layer, geometry
from singleshot.weights.importers.caffe_spec import (
    SourceLayers,
    boxes_of,
    input_size,
    postprocess_of,
    source_layers,
)

Blobs = Mapping[str, Sequence[np.ndarray]]

BACKBONE = "resnet10-face"
MEAN_BGR = (104.0, 177.0, 123.0)
"""What OpenCV's samples for this network subtract; the description does not say."""
_CONVOLUTIONS = {
    "conv1_h": "conv1",
    "layer_64_1_conv1_h": "block1.first",
    "layer_64_1_conv2_h": "block1.second",
    "layer_128_1_conv1_h": "block2.first",
    "layer_128_1_conv2": "block2.second",
    "layer_128_1_conv_expand_h": "block2.shortcut",
    "layer_256_1_conv1": "block3.first",
    "layer_256_1_conv2": "block3.second",
    "layer_256_1_conv_expand": "block3.shortcut",
    "layer_512_1_conv1_h": "block4.first",
    "layer_512_1_conv2_h": "block4.second",
    "layer_512_1_conv_expand_h": "block4.shortcut",
}
_SUMS = {
    "block2": ("block1.second", "conv1"),
    "block3": ("block2.second", "block2.shortcut"),
    "block4": ("block3.second", "block3.shortcut"),
}
_SEES = {
    "conv1": (),
    "block1.first": ("conv1",),
    **{f"{block}.{part}": parts for block, parts in _SUMS.items() for part in ("first", "shortcut")},
    **{f"block{number}.second": (f"block{number}.first",) for number in (1, 2, 3, 4)},
}
_BLOCK4 = ("block4.second", "block4.shortcut")
_FIRST_SUM = "layer_64_1_sum"
_MAPS = {"layer_256_1_bn1": "block2", "last_relu": "block4"}
_PASSED = {"ReLU", "BatchNorm", "Scale", "Pooling", "Normalize"}


def is_face_detector(graph: Graph) -> bool:
    """Whether a description has the convolutions of this network's backbone, and its normalised input."""
    return graph.layers.keys() >= {*_CONVOLUTIONS, "data_bn", "data_scale"}


def from_caffe(
    graph: Graph, blobs: Blobs, class_names: Sequence[str] | None, *, size_hw: tuple[int, int] | None, origin: str
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """Specification and tensors of the detector.

    Args:
        graph: of the description.
        blobs: weights of each layer, by name.
        class_names: the name of its class; None for `face`.
        size_hw: input size where the description states none.
        origin: file of the weights, for messages.

    Raises:
        ModelError: a layer is missing, left over, or does not do what the network's does; it is named.
    """
    require_same_layers(graph, blobs, origin)
    sources = [replace(source, source=_our_map(source.source)) for source in source_layers(graph, BACKBONE)]
    places = _places(graph, sources)
    preprocess, signs = _preprocess(graph, blobs)
    spec = _spec(graph, sources, class_names, size_hw, preprocess)
    model = SSD(spec)
    _require_same_network(graph, model, places, sources)
    state: dict[str, Tensor] = {}
    for layer in graph.convolutions:
        target = places[layer.name]
        if isinstance(model.get_submodule(target), ConvBlock):
            target += ".convolution"
        weight, bias = weight_and_bias(layer.name, blobs[layer.name], origin)
        expected = tuple(model.get_parameter(f"{target}.weight").shape)
        if tuple(weight.shape) != expected:
            raise ModelError(f"{origin}: {layer.name} is {tuple(weight.shape)}, expected {expected}")
        if places[layer.name].startswith("backbone."):
            weight, bias = _with_norms(graph, layer, weight, bias, blobs)
        state[f"{target}.weight"] = weight
        state[f"{target}.bias"] = torch.zeros(len(weight)) if bias is None else bias
    first = "backbone.conv1.convolution.weight"
    state[first] = state[first] * signs.view(1, -1, 1, 1)
    scale, shift = _Norm(graph, graph.layers[_FIRST_SUM].tops[0]).scale_and_shift(blobs)
    state["backbone.block1.scale.weight"], state["backbone.block1.scale.bias"] = scale, shift
    for source in sources:
        if source.norm is not None:
            name = f"norms.{source.source}.scale"
            state[name] = norm_scale(graph.layers[source.norm], blobs[source.norm], model.get_parameter(name))
    return spec, state


class _Norm:
    """The BatchNorm and the Scale behind a blob; `top` is the blob after both.

    Raises:
        ModelError: there is none.
    """

    def __init__(self, graph: Graph, blob: str) -> None:
        norms = [layer for layer in graph.of_kind("BatchNorm") if layer.bottoms[:1] == (blob,)]
        self.top = norms[0].tops[0] if norms else ""
        scale = graph.changes(self.top, "Scale")
        if len(norms) != 1 or scale is None:
            raise ModelError(f"{graph.origin}: no BatchNorm and Scale behind {blob}")
        self.norm, self.scale = norms[0], scale

    def scale_and_shift(self, blobs: Blobs) -> tuple[Tensor, Tensor]:
        """What both do to each channel: x * scale + shift."""
        channels = len(blobs[self.scale.name][0])
        scale, shift = self.folded_into(torch.ones(channels, 1, 1, 1), None, blobs)
        return scale.flatten(), shift

    def folded_into(self, weight: Tensor, bias: Tensor | None, blobs: Blobs) -> tuple[Tensor, Tensor]:
        """The filters and biases of a convolution in front of them, with both folded in."""
        epsilon = self.norm.message.message("batch_norm_param").number("eps", BACKBONE_NORM_EPSILON)
        return folded(weight, bias, blobs[self.norm.name], blobs[self.scale.name], epsilon=epsilon)


def _with_norms(
    graph: Graph, layer: Layer, weight: Tensor, bias: Tensor | None, blobs: Blobs
) -> tuple[Tensor, Tensor | None]:
    """A convolution of the backbone with the normalisation behind it, or behind the sum that it is part of."""
    top = layer.tops[0]
    sums = [addition for addition in graph.of_kind("Eltwise") if top in addition.bottoms]
    if not sums:
        return _Norm(graph, top).folded_into(weight, bias, blobs)
    if sums[0].name == _FIRST_SUM:
        return weight, bias  # the input is added to it: `block1.scale` does both
    norm = _Norm(graph, sums[0].tops[0])
    weight, bias = norm.folded_into(weight, bias, blobs)
    if top != sums[0].bottoms[0]:  # what is added to a sum is added once
        bias = bias - norm.scale_and_shift(blobs)[1]
    return weight, bias


def _our_map(name: str) -> str:
    """Our name of a map, or of a convolution of an extra map: Caffe's conv6_2_h is the paper's conv8_2."""
    if name in _MAPS:
        return _MAPS[name]
    number, _, part = name.removesuffix("_h").removeprefix("conv").partition("_")
    return f"conv{int(number) + 2}_{part}" if number.isdigit() else name


def _places(graph: Graph, sources: Sequence[SourceLayers]) -> dict[str, str]:
    """Where each convolution stands in our network."""
    places = {name: f"backbone.{place}" for name, place in _CONVOLUTIONS.items()}
    for source in sources:
        places[source.location] = f"heads.location.{source.source}"
        places[source.confidence] = f"heads.confidence.{source.source}"
    return places | {
        layer.name: f"extras.{_our_map(layer.name)}" for layer in graph.convolutions if layer.name not in places
    }


def _spec(
    graph: Graph,
    sources: Sequence[SourceLayers],
    class_names: Sequence[str] | None,
    size_hw: tuple[int, int] | None,
    preprocess: Preprocess,
) -> ModelSpec:
    settings = graph.detector.message.message("detection_output_param")
    num_classes = int(settings.number("num_classes", 0))
    if class_names is None and num_classes == 2:
        class_names = ("face",)
    heads = {name for source in sources for name in (source.location, source.confidence)}
    extras = [layer for layer in graph.convolutions if layer.name not in {*_CONVOLUTIONS, *heads}]
    blocks = []
    for first, second in zip(extras[::2], extras[1::2], strict=False):
        shape = geometry(second)
        blocks.append(
            ExtraBlock(
                _our_map(second.name).removesuffix("_2"),
                geometry(first).num_output,
                shape.num_output,
                shape.kernel_size,
                shape.stride,
                shape.pad,
            )
        )
    size_hw = input_size(graph, size_hw)
    try:
        return ModelSpec(
            name=f"ssd300-{BACKBONE}",
            backbone=BACKBONE,
            input_size_hw=size_hw,
            class_names=names_for(num_classes, class_names, graph.origin),
            sources=tuple(source.source for source in sources),
            boxes=boxes_of(graph, sources, size_hw),
            extras=tuple(blocks),
            preprocess=preprocess,
            postprocess=postprocess_of(settings, graph.origin),
            normalised=tuple(source.source for source in sources if source.norm is not None),
        )
    except RequestError as error:
        raise ModelError(f"{graph.origin}: {error}") from error


def _preprocess(graph: Graph, blobs: Blobs) -> tuple[Preprocess, Tensor]:
    """The BatchNorm and Scale of the input as mean and deviation, and the sign that conv1 has to give each channel.

    gamma (x - m) / s + beta = sign (x - mean) / std, with std = s / |gamma| and mean = m - beta s / gamma.
    """
    norm = _Norm(graph, "data")
    scale, shift = norm.scale_and_shift(blobs)
    factor = scale.double()
    if (factor == 0).any():
        raise ModelError(f"{graph.origin}: {norm.scale.name} multiplies a colour by 0")
    mean = torch.tensor(MEAN_BGR, dtype=torch.float64) - shift.double() / factor
    blue, green, red = mean.tolist()
    std = (1 / factor.abs()).tolist()
    return Preprocess((red, green, blue), (std[2], std[1], std[0]), "bgr"), factor.sign().float()


def _require_same_network(graph: Graph, model: SSD, places: Mapping[str, str], sources: Sequence[SourceLayers]) -> None:
    """Settings, inputs and ReLUs of all convolutions must be those of our network."""
    sees = {f"backbone.{place}": tuple(f"backbone.{below}" for below in seen) for place, seen in _SEES.items()}
    below: tuple[str, ...] = tuple(f"backbone.{place}" for place in _BLOCK4)
    maps = {"block2": sees["backbone.block3.first"], "block4": below}
    for block in model.spec.extras:
        for part in (1, 2):
            sees[f"extras.{block.name}_{part}"] = below
            below = (f"extras.{block.name}_{part}",)
        maps[f"{block.name}_2"] = below
    for source in sources:
        if source.source not in maps:
            raise ModelError(f"{graph.origin}: {source.location} sees {source.source}, expected {', '.join(maps)}")
        sees[f"heads.location.{source.source}"] = sees[f"heads.confidence.{source.source}"] = maps[source.source]
    for layer in graph.convolutions:
        place = places[layer.name]
        if place not in sees:
            raise ModelError(f"{graph.origin}: the convolution {layer.name} has no place in a {BACKBONE}")
        module = model.get_submodule(place)
        require_same_settings(graph, layer, module)
        seen = tuple(places[under.name] for under in _seen(graph, layer.bottoms[0]))
        if seen != sees[place]:
            raise ModelError(f"{graph.origin}: {layer.name} sees {', '.join(seen)}, expected {', '.join(sees[place])}")
        activated = isinstance(module, ConvBlock) and module.activation == "relu"
        if activated != (graph.changes(layer.tops[0], "ReLU") is not None):
            raise ModelError(f"{graph.origin}: {'no' if activated else 'a'} ReLU behind {layer.name}")
    pool = graph.of_kind("Pooling")
    if len(pool) != 1:
        raise ModelError(f"{graph.origin} must have one pooling layer, it has {len(pool)}")
    require_same_settings(graph, pool[0], model.get_submodule("backbone.pool1"))
    for addition in graph.of_kind("Eltwise"):
        blob = _Norm(graph, addition.tops[0]).top
        if not any(relu.bottoms[:1] == (blob,) for relu in graph.of_kind("ReLU")):
            raise ModelError(f"{graph.origin}: no ReLU behind {addition.name}")


def _seen(graph: Graph, blob: str) -> list[Layer]:
    """The convolutions behind a blob: through normalisation, ReLU and pooling, both where two are added."""
    if blob == "data":
        return []
    layer = graph.maker(blob)
    if layer.kind == "Eltwise":
        return [under for bottom in layer.bottoms for under in _seen(graph, bottom)]
    return _seen(graph, layer.bottoms[0]) if layer.kind in _PASSED else [layer]
