"""The network: backbone, extra maps, heads, and their initial weights. Images in, raw predictions out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from singleshot.errors import RequestError, UnknownNameError
from singleshot.models.backbone import Backbone
from singleshot.models.efficientnetlite import EfficientNetLite0
from singleshot.models.extras import ExtraMaps
from singleshot.models.fusion import Fused, PathAggregation, Pyramid, channels_after
from singleshot.models.heads import GridMap, Heads, SharedHeads, class_layers, fully_connected_heads
from singleshot.models.layers import L2Norm, ScaleAndShift
from singleshot.models.mobilenetv1 import MobileNetV1
from singleshot.models.mobilenetv2 import MobileNetV2
from singleshot.models.mobilenetv3 import MobileNetV3
from singleshot.models.own_backbone import BackboneFactory, OwnBackbone
from singleshot.models.resnet10 import ResNet10
from singleshot.models.timm_backbone import TimmBackbone
from singleshot.models.ultralight import UltraLight, UltraLightRFB
from singleshot.models.vgg import VGG16, VGG16Full, VGG16Undilated
from singleshot.shapes import Float
from singleshot.spec import OWN, PATH_AGGREGATION, PYRAMIDS, TIMM, ModelSpec
from singleshot.ssd.default_boxes import caffe_default_boxes
from singleshot.ssd.tensors import Predictions

Part = TypeVar("Part", bound=nn.Module)
LITE_DEVIATION = 0.03  # of SSDLite's new layers, as in TensorFlow's Object Detection and torchvision

AnyPyramid: TypeAlias = Pyramid | PathAggregation

BACKBONES: dict[str, type[Backbone]] = {
    "vgg16": VGG16,
    "vgg16-full": VGG16Full,
    "vgg16-undilated": VGG16Undilated,
    "mobilenetv1": MobileNetV1,
    "mobilenetv2": MobileNetV2,
    "mobilenetv3": MobileNetV3,
    "efficientnetlite0": EfficientNetLite0,
    "resnet10-face": ResNet10,
    "ultralight-slim": UltraLight,
    "ultralight-rfb": UltraLightRFB,
}


class SSD(nn.Module):
    """A single shot detector built from its specification (paper figure 2).

    Layers carry the paper's names: `backbone.conv4_3`, `backbone.fc7`, `extras.conv8_2`, `norms.conv4_3`,
    `heads.location.conv4_3`, `heads.confidence.fc7`.

    Attributes:
        spec: what it was built from.
        map_sizes_hw: height and width of each source map, as the heads see it, at the spec's input size.
        default_boxes: (K, 4) float32, fractions of the image; follows the model's device and is not saved.

    Args:
        spec: the specification; the grids follow from its input size.
        seed: of the initial weights, see `initialise`.
        backbone: makes the backbone where the spec has one of the user's own.

    Raises:
        UnknownNameError: a backbone or a source map that does not exist; the message names the nearest.
        RequestError: the input is so small that a map vanishes.
    """

    default_boxes: Tensor

    def __init__(self, spec: ModelSpec, *, seed: int = 0, backbone: BackboneFactory | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.backbone, self.pyramid, self.extras = _build_trunk(spec, seed=seed, factory=backbone)
        shapes = _map_shapes(spec, self.backbone, self.pyramid, self.extras)
        with torch.device("meta"):
            norms = nn.ModuleDict({name: L2Norm(shapes[name][0]) for name in spec.normalised})
            fuses = None if self.pyramid is not None else spec.fusion
            fusion = Fused(spec, fuses, shapes) if fuses is not None else None
            grid, heads = _build_heads(spec, channels_after(spec.fusion, shapes, spec.sources))
        self.fusion = None if fusion is None else _allocated(fusion)
        self.norms, self.heads = _allocated(norms), _allocated(heads)
        self.grid = None if grid is None else _allocated(grid)
        initialise(self, seed)
        self.map_sizes_hw = _grids(spec, shapes)
        boxes = caffe_default_boxes(
            spec.boxes, self.map_sizes_hw, spec.input_size_hw, limits=spec.compatibility.box_limits
        )
        self.register_buffer("default_boxes", torch.as_tensor(boxes, dtype=torch.float32), persistent=False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Predictions:
        """Raw offsets (B, K, 4) and logits (B, K, C); rows by map, then y, x, box, as `default_boxes`."""
        maps = self.source_maps(images)
        if self.fusion is not None:
            maps = self.fusion(maps)
        for name, norm in self.norms.items():
            maps[name] = norm(maps[name])
        if self.grid is not None:
            maps = {name: self.grid(maps[name]) for name in self.spec.sources}
        return self.heads(maps)  # type: ignore[no-any-return]

    def source_maps(self, images: Float[Tensor, "B 3 H W"]) -> dict[str, Tensor]:
        """The maps before fusion and normalisation, in order of `spec.sources`, then the coarse map of the fusion.

        A pyramid's maps are those after it.
        """
        return _source_maps(self.spec, self.backbone, self.pyramid, self.extras, images)


def grid_sizes(spec: ModelSpec, *, backbone: BackboneFactory | None = None) -> tuple[tuple[int, int], ...]:
    """Height and width of each source map of a specification, as the heads see it, without setting any weight.

    Raises:
        UnknownNameError, RequestError: as `SSD`.
    """
    return _grids(spec, _map_shapes(spec, *_build_trunk(spec, factory=backbone)))


def _grids(spec: ModelSpec, shapes: Mapping[str, tuple[int, int, int]]) -> tuple[tuple[int, int], ...]:
    if spec.grid_head is not None:
        return ((spec.grid_head.cells, spec.grid_head.cells),)
    return tuple(shapes[name][1:] for name in spec.sources)


def _source_maps(
    spec: ModelSpec, backbone: Backbone, pyramid: AnyPyramid | None, extras: ExtraMaps, images: Tensor
) -> dict[str, Tensor]:
    maps: dict[str, Tensor] = backbone(images)
    if pyramid is not None:
        maps = pyramid(maps)
    maps.update(extras(maps[backbone.LAST]))
    return {name: maps[name] for name in _wanted(spec)}


def _wanted(spec: ModelSpec) -> tuple[str, ...]:
    """The source maps, and the map that is fused with one of them."""
    coarse = spec.fusion.coarse if spec.fusion is not None else ""
    return (*spec.sources, coarse) if coarse and coarse not in spec.sources else spec.sources


def _map_shapes(
    spec: ModelSpec, backbone: Backbone, pyramid: AnyPyramid | None, extras: ExtraMaps
) -> dict[str, tuple[int, int, int]]:
    """Channels, height and width of each source map."""
    pyramid_and_extras = [part for part in (pyramid, extras) if part is not None]
    return _measured(
        spec, backbone, lambda images: _source_maps(spec, backbone, pyramid, extras, images), *pyramid_and_extras
    )


def _measured(
    spec: ModelSpec, backbone: Backbone, forward: Callable[[Tensor], Mapping[str, Tensor]], *others: nn.Module
) -> dict[str, tuple[int, int, int]]:
    """Channels, height and width of each map of a forward pass of the smallest batch, mostly an empty one.

    That costs nothing. (The meta device would do, too, but for that torch loads its compiler.)
    """
    height, width = spec.input_size_hw
    if backbone.only_size_hw not in {None, spec.input_size_hw}:
        only = "x".join(map(str, reversed(backbone.only_size_hw)))
        raise RequestError(f"{spec.backbone} takes an input of {only} alone, got {width}x{height}: --input-size {only}")
    for part in (backbone, *others):
        part.eval()  # training-mode batch normalisation refuses a single value
    try:
        with torch.no_grad():
            maps = forward(torch.zeros(backbone.SMALLEST_BATCH, 3, height, width))
    except AssertionError as error:  # some networks of timm refuse a size so
        reason = f": {error}" if str(error) else "; take another --input-size"
        raise RequestError(f"{spec.backbone} does not take an input of {width}x{height}{reason}") from error
    except RuntimeError as error:
        raise RequestError(
            f"an input of {width}x{height} is too small for {spec.name}: a map would have no positions "
            f"({str(error).splitlines()[0]}); take a larger size or fewer extra maps"
        ) from error
    for part in (backbone, *others):
        part.train()
    return {name: (x.shape[1], x.shape[2], x.shape[3]) for name, x in maps.items()}


def _build_trunk(
    spec: ModelSpec, *, seed: int = 0, factory: BackboneFactory | None = None
) -> tuple[Backbone, AnyPyramid | None, ExtraMaps]:
    """Backbone, pyramid and extra maps with unset weights: built on the meta device, which draws no random numbers.

    A backbone that sets its own weights takes them from the seed.
    """
    with torch.device("meta"):
        backbone = _build_backbone(spec, seed, factory)
    backbone = backbone if backbone.HAS_WEIGHTS else _allocated(backbone)
    pyramid = _build_pyramid(spec, backbone)
    with torch.device("meta"):
        extras = ExtraMaps(
            backbone.out_channels if pyramid is None else pyramid.out_channels,
            spec.extras,
            width=spec.width,
            separable=spec.separable,
            bare=isinstance(pyramid, Pyramid),
            compatibility=spec.compatibility,
            batch_norm=spec.batch_norm,
        )
    return backbone, pyramid, _allocated(extras)


def _build_pyramid(spec: ModelSpec, backbone: Backbone) -> AnyPyramid | None:
    """The feature pyramid over those source maps that are the backbone's; None where the spec has none.

    Raises:
        RequestError: the backbone's last map is no source.
    """
    if spec.fusion is None or spec.fusion.kind not in PYRAMIDS:
        return None
    sources = [name for name in spec.sources if name in backbone.wanted]
    if backbone.LAST not in sources:
        raise RequestError(f"a pyramid goes down from {backbone.LAST}, which is no source map of {spec.name}")
    shapes = _measured(spec, backbone, backbone)
    with torch.device("meta"):
        channels = {name: shapes[name][0] for name in sources}
        pyramid: AnyPyramid
        if spec.fusion.kind == PATH_AGGREGATION:
            pyramid = PathAggregation(channels, channels=spec.fusion.channels, light=spec.compatibility)
        else:
            light = spec.compatibility if spec.separable else None
            pyramid = Pyramid(channels, channels=spec.fusion.channels, light=light)
    return _allocated(pyramid)


def _build_heads(spec: ModelSpec, channels: Mapping[str, int]) -> tuple[GridMap | None, Heads | SharedHeads]:
    """The predictors, and the `GridMap` before those of a grid head."""
    boxes_per_cell = [boxes.boxes_per_cell for boxes in spec.boxes.maps]
    if spec.grid_head is not None:
        (name,), (boxes,) = spec.sources, boxes_per_cell
        grid = GridMap(channels[name], spec.grid_head, width=spec.width, batch_norm=spec.batch_norm)
        return grid, fully_connected_heads(
            name, grid.out_channels, spec.grid_head, boxes_per_cell=boxes, num_classes=spec.num_classes
        )
    if spec.shared_head is not None:
        if len(set(channels.values())) != 1:
            raise RequestError(f"a shared head takes source maps of the same channels, got {dict(channels)}")
        return None, SharedHeads(
            spec.sources,
            next(iter(channels.values())),
            spec.shared_head,
            boxes_per_cell=boxes_per_cell[0],
            num_classes=spec.num_classes,
            kernel=spec.head_kernel,
            activation=spec.compatibility.lite_activation,
        )
    return None, Heads(
        channels,
        boxes_per_cell,
        num_classes=spec.num_classes,
        kernel=spec.head_kernel,
        separable=[name for name in spec.sources if spec.separable and name not in spec.compatibility.full_heads],
        activation=spec.compatibility.lite_activation,
        norm=spec.compatibility.lite_norm,
    )


def _allocated(module: Part) -> Part:
    """The module with memory for its tensors, whose values are unset.

    (`to_empty` would do, too, but for that torch loads its compiler and sympy: two seconds.)
    """
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(torch.empty(parameter.shape)))
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return module


def _build_backbone(spec: ModelSpec, seed: int, factory: BackboneFactory | None) -> Backbone:
    if spec.backbone.startswith(OWN):
        return _own_backbone(spec, seed, factory)
    from_timm = spec.backbone.startswith(TIMM)
    if not from_timm and spec.backbone not in BACKBONES:
        raise UnknownNameError("backbone", spec.backbone, [*BACKBONES, f"{TIMM}NAME"])
    kind = TimmBackbone if from_timm else BACKBONES[spec.backbone]
    extras = {f"{block.name}_2" for block in spec.extras}
    _require_maps(spec, {*kind.TAPS, *extras})
    options: dict[str, Any] = {"width": spec.width}
    options |= {"name": spec.backbone, "seed": seed} if from_timm else {"batch_norm": spec.batch_norm}
    if kind.PADS_AS_TENSORFLOW:
        options["tensorflow_padding"] = spec.compatibility.tensorflow_padding
        if kind is MobileNetV1:
            options["activation"] = spec.compatibility.activation
    elif spec.compatibility.tensorflow_padding:
        raise RequestError(f"tensorflow_padding is for MobileNets, not for {spec.backbone}")
    return kind([name for name in _wanted(spec) if name not in extras], **options)


def _own_backbone(spec: ModelSpec, seed: int, factory: BackboneFactory | None) -> Backbone:
    if factory is None:
        raise RequestError(
            f"{spec.name} has a backbone of your own, {spec.backbone}: give its code again (--backbone "
            "PACKAGE.MODULE:FUNCTION of ssd evaluate, detect and export), or take an export of it"
        )
    extras = {f"{block.name}_2" for block in spec.extras}
    _require_maps(spec, {*OwnBackbone.TAPS, *extras})
    taps = [name for name in _wanted(spec) if name not in extras]
    return OwnBackbone(taps, name=spec.backbone, factory=factory, seed=seed)


def _require_maps(spec: ModelSpec, known: Collection[str]) -> None:
    """Raises UnknownNameError or RequestError where the spec names a map that the network does not have."""
    for name in _wanted(spec):
        if name not in known:
            raise UnknownNameError(f"source map of {spec.backbone}", name, sorted(known))
    for name in spec.normalised:
        if name not in spec.sources:
            raise RequestError(f"{name} is to be normalised but is no source map; sources: {', '.join(spec.sources)}")
    if spec.fusion is not None and spec.fusion.fine and spec.fusion.fine not in spec.sources:
        raise UnknownNameError("source map to fuse", spec.fusion.fine, spec.sources)


@torch.no_grad()
def initialise(model: SSD, seed: int, *, object_probability: float | None = None) -> None:
    """Set all weights: Xavier by fan-in, biases 0, L2 scales 20 (Caffe's `xavier` and `constant` fillers).

    W ~ U(-sqrt(3 / fan_in), sqrt(3 / fan_in)), fan_in = values of a filter (Caffe filler.hpp, XavierFiller). The new
    layers of a separable network (extra maps and heads of SSDLite) are normal with deviation 0.03 instead. A backbone
    that sets its own weights keeps them.

    Args:
        model: any SSD; its tensors are overwritten.
        seed: the same seed gives the same weights on every machine with this torch.
        object_probability: see `set_prior_probability`. None: biases 0, as Caffe.
    """
    generator = torch.Generator().manual_seed(seed)
    new = [part for part in (model.pyramid, model.extras, model.fusion, model.heads) if part is not None]
    lite = {layer for part in new for layer in part.modules()} if model.spec.separable else set()
    done = set(model.backbone.modules()) if model.backbone.HAS_WEIGHTS else set()
    for module in model.modules():
        if module in done:
            continue
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            values = torch.empty(module.weight.shape)
            if module in lite:
                values.normal_(0.0, LITE_DEVIATION, generator=generator)
            else:
                # The kernel of our deconvolutions is their stride, so that an output pixel sees one value a channel.
                fan_in = module.weight[0].numel() if isinstance(module, nn.Conv2d) else module.in_channels
                bound = math.sqrt(3 / fan_in)
                values.uniform_(-bound, bound, generator=generator)
            module.weight.copy_(values)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, ScaleAndShift):
            module.weight.fill_(1.0)
            module.bias.zero_()
        elif isinstance(module, L2Norm):
            module.scale.fill_(module.start)
    if object_probability is not None:
        set_prior_probability(model, object_probability)


@torch.no_grad()
def set_prior_probability(model: SSD, object_probability: float) -> None:
    """Prior-probability bias of the heads (Lin et al. 2017, section 4.1, for a softmax).

    All foreground classes together start with this probability: with the other logits 0, the background's bias b gives
    it e^b / (e^b + L) = 1 - p, so b = log(L (1 - p) / p). With sigmoids every class starts with it.
    """
    count = model.spec.num_classes
    sigmoid = model.spec.postprocess.scores == "sigmoid"
    bias = math.log((count - 1) * (1 - object_probability) / object_probability)
    for layer in class_layers(model.heads):
        assert layer.bias is not None
        if sigmoid:
            layer.bias.fill_(-math.log((1 - object_probability) / object_probability))
        else:
            layer.bias[::count] = bias
