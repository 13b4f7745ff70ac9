"""Weights of the authors' Caffe: a whole detector from `.prototxt` and `.caffemodel`, or only a base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from singleshot.errors import ModelError, first_of
from singleshot.models.layers import ConvBlock, MaxPool
from singleshot.models.mobilenetv1 import PAIRS
from singleshot.models.ssd import SSD
from singleshot.models.vgg import LAYERS
from singleshot.spec import ModelSpec
from singleshot.weights.importers.caffe_graph import Geometry, Graph, Layer, geometry
from singleshot.weights.importers.caffe_proto import StoredLayer, read_caffemodel, read_prototxt
from singleshot.weights.importers.caffe_spec import SourceLayers, derive_spec, our_name
from singleshot.weights.importers.torchvision import fold_norm, fully_connected

Blobs = Mapping[str, Sequence[np.ndarray]]
_NORM_EPSILON = 1e-5  # Caffe's default of batch_norm_param.eps


def from_description(
    prototxt: Path,
    blobs: Blobs,
    *,
    class_names: Sequence[str] | None = None,
    size_hw: tuple[int, int] | None = None,
    origin: str,
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """A detector's specification and tensors; batch normalisation is folded into the convolutions.

    Args:
        prototxt: deploy description of the network.
        blobs: weights of each layer, by name.
        class_names: see `derive_spec`.
        size_hw: input size where the description states none.
        origin: file of the weights, for messages.

    Raises:
        ModelError: a layer is unknown, missing, left over or of another shape; the network is wired unlike ours. The
            layer is named.
    """
    graph = Graph(read_prototxt(prototxt), str(prototxt))
    spec, sources = derive_spec(graph, class_names, size_hw=size_hw)
    model = SSD(spec)
    names = our_layers(graph, spec, sources)
    _require_same_wiring(graph, model, names)
    require_same_layers(graph, blobs, origin)
    state: dict[str, Tensor] = {}
    for name, target in names.items():
        layer = graph.layers[name]
        if layer.kind == "Normalize":
            state[f"{target}.scale"] = norm_scale(layer, blobs[name], model.get_parameter(f"{target}.scale"))
            continue
        module = model.get_submodule(target)
        place = f"{target}.convolution" if isinstance(module, ConvBlock) else target
        shape = tuple(model.get_parameter(f"{place}.weight").shape)
        weight, bias = _convolution(graph, layer, blobs, shape, origin)
        state[f"{place}.weight"], state[f"{place}.bias"] = weight, bias
    return spec, state


def read_base(caffemodel: Path, *, whole: bool = False) -> dict[str, Tensor]:
    """The base's tensors in a weight file without its description: a classifier's, or a part of a detector's.

    Layers of VGG-16 (conv1_1 .. fc7; fully connected fc6 and fc7 are subsampled, or left `whole`, as in
    `torchvision.vgg16_base`) or of MobileNet v1 (conv0 .. conv13, with `/bn` and `/scale` folded in); all others are
    left out.

    Raises:
        ModelError: it holds no layer of either base.
    """
    stored = read_caffemodel(caffemodel)
    base: dict[str, Tensor] = {}
    for name, layer in stored.items():
        if name in LAYERS:
            weight, bias = _classifier_layer(name, layer, whole=whole)
        elif name in _MOBILENET_LAYERS:
            weight, bias = _folded_layer(stored, layer)
        else:
            continue
        place = f"backbone.{our_name('mobilenetv1', name)}.convolution"
        base[f"{place}.weight"], base[f"{place}.bias"] = weight, bias
    if not base:
        raise ModelError(
            f"{caffemodel} has no layer of VGG-16 or MobileNet v1; it begins with {', '.join([*stored][:3])}"
        )
    return base


_MOBILENET_LAYERS = {"conv0", *(f"conv{n}{part}" for n in range(1, len(PAIRS) + 1) for part in ("", "/dw"))}


def our_layers(graph: Graph, spec: ModelSpec, sources: Sequence[SourceLayers]) -> dict[str, str]:
    """Where each layer with weights stands in our network: module by Caffe name; BatchNorm and Scale have none."""
    names: dict[str, str] = {}
    for source in sources:
        names[source.location] = f"heads.location.{source.source}"
        names[source.confidence] = f"heads.confidence.{source.source}"
        if source.norm is not None:
            names[source.norm] = f"norms.{source.source}"
    extras = {f"{block.name}_{part}" for block in spec.extras for part in (1, 2)}
    for layer in graph.convolutions:
        if layer.name not in names:
            target = our_name(spec.backbone, layer.name)
            names[layer.name] = f"extras.{target}" if target in extras else f"backbone.{target}"
    return names


def require_same_layers(graph: Graph, blobs: Blobs, origin: str) -> None:
    """Every layer that has weights must have them in the file, and the file no others."""
    wanted = {layer.name for layer in (*graph.convolutions, *graph.of_kind("Normalize", "BatchNorm", "Scale"))}
    missing, extra = sorted(wanted - blobs.keys()), sorted(blobs.keys() - wanted)
    if missing:
        raise ModelError(f"{origin} has no weights of {first_of(missing, 3)}, which {graph.origin} describes")
    if extra:
        raise ModelError(f"{origin} has weights of {first_of(extra, 3)}, which {graph.origin} does not describe")


def _require_same_wiring(graph: Graph, model: SSD, names: Mapping[str, str]) -> None:
    """Sizes, strides, ReLUs and order of the described layers must be those of our network."""
    caffe_names = {place: name for name, place in names.items()}
    previous = _input_blob(graph)
    trunk = [
        name
        for name, module in (*model.backbone.named_children(), *model.extras.named_children())
        if isinstance(module, ConvBlock | MaxPool)
    ]
    for name in trunk:
        place = f"backbone.{name}" if name in dict(model.backbone.named_children()) else f"extras.{name}"
        caffe_name = name if name.startswith("pool") else caffe_names.get(place)
        if caffe_name is None or caffe_name not in graph.layers:
            raise ModelError(f"{graph.origin} has no layer {name}, which a {model.spec.backbone} has")
        layer = graph.layers[caffe_name]
        if layer.bottoms[:1] != (previous,):
            raise ModelError(f"{graph.origin}: {layer.name} sees {layer.bottoms[:1]}, expected {previous!r}")
        module = model.get_submodule(place)
        require_same_settings(graph, layer, module)
        if isinstance(module, ConvBlock) and graph.changes(layer.tops[0], "ReLU") is None:
            raise ModelError(f"{graph.origin}: no ReLU behind {layer.name}")
        previous = layer.tops[0]
    for layer in graph.convolutions:
        try:
            module = model.get_submodule(names[layer.name])
        except AttributeError as error:
            raise ModelError(
                f"{graph.origin}: the convolution {layer.name} has no place in a {model.spec.backbone}"
            ) from error
        require_same_settings(graph, layer, module)


def _input_blob(graph: Graph) -> str:
    inputs = graph.of_kind("Input")
    return inputs[0].tops[0] if inputs else next(iter(graph.net.texts("input")), "data")


def require_same_settings(graph: Graph, layer: Layer, module: nn.Module) -> None:
    """Sizes and strides of a described layer must be those of our module.

    Raises:
        ModelError: names the layer and the setting.
    """
    convolution = module.convolution if isinstance(module, ConvBlock) else module
    if isinstance(convolution, nn.Conv2d):
        (kernel, _), (stride, _), (dilation, _) = convolution.kernel_size, convolution.stride, convolution.dilation
        outputs, padding, groups = convolution.out_channels, int(convolution.padding[0]), convolution.groups
        expected = Geometry(outputs, kernel, stride, padding, dilation, groups)
    else:
        assert isinstance(convolution, MaxPool)
        pool = layer.message.message("pooling_param").text("pool", "MAX")
        if pool not in {"MAX", "0"}:
            raise ModelError(f"{graph.origin}: {layer.name} must be max pooling, got {pool}")
        expected = Geometry(0, convolution.kernel, convolution.stride, convolution.padding, dilation=1, group=1)
    actual = geometry(layer)
    for name, value, wanted in zip(Geometry._fields, actual, expected, strict=True):
        if value != wanted:
            raise ModelError(f"{graph.origin}: {layer.name} has {name} {value}, expected {wanted}")


def _convolution(
    graph: Graph, layer: Layer, blobs: Blobs, shape: tuple[int, ...], origin: str
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the BatchNorm and Scale behind it folded in."""
    weight, bias = weight_and_bias(layer.name, blobs[layer.name], origin)
    if tuple(weight.shape) != shape:
        raise ModelError(f"{origin}: {layer.name} is {tuple(weight.shape)}, expected {shape}")
    top = layer.tops[0]
    norm, scale = graph.changes(top, "BatchNorm"), graph.changes(top, "Scale")
    if norm is None and scale is None:
        return weight, torch.zeros(shape[0]) if bias is None else bias
    epsilon = _NORM_EPSILON if norm is None else norm.message.message("batch_norm_param").number("eps", _NORM_EPSILON)
    return folded(weight, bias, blobs[norm.name] if norm else (), blobs[scale.name] if scale else (), epsilon=epsilon)


def folded(
    weight: Tensor,
    bias: Tensor | None,
    norm: Sequence[np.ndarray],
    scale: Sequence[np.ndarray],
    *,
    epsilon: float = _NORM_EPSILON,
) -> tuple[Tensor, Tensor]:
    """Fold BatchNorm (mean and variance times a factor, and the factor) and Scale (gamma, beta) into a convolution."""
    count = len(weight)
    mean, variance = torch.zeros(count), torch.full((count,), 1 - epsilon)
    if norm:
        factor = float(norm[2].reshape(-1)[0]) if len(norm) > 2 else 1.0
        factor = 1 / factor if factor else 0.0  # Caffe batch_norm_layer.cpp: 0 where nothing was counted
        mean, variance = (torch.from_numpy(blob.reshape(-1) * np.float32(factor)) for blob in norm[:2])
    gamma = torch.from_numpy(scale[0].reshape(-1)) if scale else torch.ones(count)
    beta = torch.from_numpy(scale[1].reshape(-1)) if len(scale) > 1 else torch.zeros(count)
    return fold_norm(weight, bias, gamma, beta, mean, variance, epsilon=epsilon)


def weight_and_bias(name: str, blobs: Sequence[np.ndarray], origin: str) -> tuple[Tensor, Tensor | None]:
    """Filters and biases of a convolution, or None for the biases.

    Raises:
        ModelError: the filters have another number of dimensions than 4.
    """
    weight = torch.from_numpy(blobs[0])
    if weight.ndim != 4:
        raise ModelError(f"{origin}: the filters of {name} must have 4 dimensions, got {tuple(weight.shape)}")
    return weight, torch.from_numpy(blobs[1].reshape(-1)) if len(blobs) > 1 else None


def norm_scale(layer: Layer, blobs: Sequence[np.ndarray], target: Tensor) -> Tensor:
    """The scale of a Normalize layer; one shared value becomes one a channel."""
    settings = layer.message.message("norm_param")
    if settings.flag("across_spatial", default=True) or settings.number("eps", 1e-10) != 1e-10:
        raise ModelError(f"{layer.name}: normalisation over positions, or of another eps than 1e-10, is not known")
    values = torch.from_numpy(blobs[0].reshape(-1))
    if values.numel() not in {1, target.numel()}:
        raise ModelError(f"{layer.name} has {values.numel()} scales for {target.numel()} channels")
    return values.expand(target.numel()).clone()


def _classifier_layer(name: str, layer: StoredLayer, *, whole: bool) -> tuple[Tensor, Tensor]:
    """A VGG layer; fully connected fc6 and fc7 (4096 outputs) become convolutions, subsampled unless `whole`."""
    weight = torch.from_numpy(layer.blobs[0])
    bias = torch.from_numpy(layer.blobs[1].reshape(-1)) if len(layer.blobs) > 1 else torch.zeros(len(weight))
    rows = len(bias)
    if name in {"fc6", "fc7"} and weight.numel() // rows == weight.shape[-1] and weight.shape[-1] > 1:
        return fully_connected(name, weight, bias, whole=whole)
    return weight, bias


def _folded_layer(stored: Mapping[str, StoredLayer], layer: StoredLayer) -> tuple[Tensor, Tensor]:
    weight, bias = weight_and_bias(layer.name, layer.blobs, "the file")
    norm, scale = stored.get(f"{layer.name}/bn"), stored.get(f"{layer.name}/scale")
    if norm is None and scale is None:
        return weight, torch.zeros(len(weight)) if bias is None else bias
    return folded(weight, bias, norm.blobs if norm else (), scale.blobs if scale else ())
