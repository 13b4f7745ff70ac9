"""The network: base, extra maps, heads. Images in, raw predictions out, in training as in inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from singleshot.errors import RequestError, UnknownNameError
from singleshot.models.backbone import Backbone
from singleshot.models.extras import ExtraMaps
from singleshot.models.fusion import Fused, channels_after
from singleshot.models.grid_head import GridMap, fully_connected_heads
from singleshot.models.heads import Heads
from singleshot.models.initialise import initialise
from singleshot.models.layers import L2Norm
from singleshot.models.mobilenetv1 import MobileNetV1
from singleshot.models.mobilenetv2 import MobileNetV2
from singleshot.models.mobilenetv3 import MobileNetV3
from singleshot.models.timm_base import TimmBase
from singleshot.models.ultralight import UltraLight, UltraLightRFB
from singleshot.models.vgg import VGG16, VGG16Full
from singleshot.shapes import Float
from singleshot.spec import TIMM, ModelSpec
from singleshot.ssd.default_boxes import caffe_default_boxes
from singleshot.ssd.tensors import Predictions

Part = TypeVar("Part", bound=nn.Module)

BACKBONES: dict[str, type[Backbone]] = {
    "vgg16": VGG16,
    "vgg16-full": VGG16Full,
    "mobilenetv1": MobileNetV1,
    "mobilenetv2": MobileNetV2,
    "mobilenetv3": MobileNetV3,
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
        spec: any; the grids follow from its input size.
        seed: of the starting weights, see `initialise`.

    Raises:
        UnknownNameError: a backbone or a source map that does not exist; the nearest names are offered.
        RequestError: the input is so small that a map vanishes.
    """

    default_boxes: Tensor

    def __init__(self, spec: ModelSpec, *, seed: int = 0) -> None:
        super().__init__()
        self.spec = spec
        self.backbone, self.extras = _build_trunk(spec, seed=seed)
        shapes = _map_shapes(spec, self.backbone, self.extras)
        with torch.device("meta"):
            norms = nn.ModuleDict({name: L2Norm(shapes[name][0]) for name in spec.normalised})
            fusion = Fused(spec, spec.fusion, shapes) if spec.fusion is not None else None
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
        """The maps before fusion and normalisation, in order of `spec.sources`, then what is fused beside them."""
        return _source_maps(self.spec, self.backbone, self.extras, images)


def grid_sizes(spec: ModelSpec) -> tuple[tuple[int, int], ...]:
    """Height and width of each source map of a specification, as the heads see it, without setting any weight.

    Raises:
        UnknownNameError, RequestError: as `SSD`.
    """
    return _grids(spec, _map_shapes(spec, *_build_trunk(spec)))


def _grids(spec: ModelSpec, shapes: Mapping[str, tuple[int, int, int]]) -> tuple[tuple[int, int], ...]:
    if spec.grid_head is not None:
        return ((spec.grid_head.cells, spec.grid_head.cells),)
    return tuple(shapes[name][1:] for name in spec.sources)


def _source_maps(spec: ModelSpec, backbone: Backbone, extras: ExtraMaps, images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = backbone(images)
    found.update(extras(found[backbone.LAST]))
    return {name: found[name] for name in _wanted(spec)}


def _wanted(spec: ModelSpec) -> tuple[str, ...]:
    """The source maps, and the map that is fused with one of them."""
    beside = spec.fusion.coarse if spec.fusion is not None else ""
    return (*spec.sources, beside) if beside and beside not in spec.sources else spec.sources


def _map_shapes(spec: ModelSpec, backbone: Backbone, extras: ExtraMaps) -> dict[str, tuple[int, int, int]]:
    """Channels, height and width of each source map, from a forward of the smallest batch, mostly of no images.

    That costs nothing. (The meta device would do as well, but torch loads its compiler for that.)
    """
    height, width = spec.input_size_hw
    if backbone.only_size_hw not in {None, spec.input_size_hw}:
        only = "x".join(map(str, reversed(backbone.only_size_hw)))
        raise RequestError(f"{spec.backbone} takes an input of {only} alone, got {width}x{height}: --input-size {only}")
    backbone.eval()  # training-mode batch normalisation refuses a single value
    extras.eval()
    try:
        with torch.no_grad():
            maps = _source_maps(spec, backbone, extras, torch.zeros(backbone.SMALLEST_BATCH, 3, height, width))
    except AssertionError as error:  # with which some networks of timm refuse a size
        reason = f": {error}" if str(error) else "; take another --input-size"
        raise RequestError(f"{spec.backbone} does not take an input of {width}x{height}{reason}") from error
    except RuntimeError as error:
        raise RequestError(
            f"an input of {width}x{height} is too small for {spec.name}: a map would have no positions "
            f"({str(error).splitlines()[0]}); take a larger size or fewer extra maps"
        ) from error
    backbone.train()
    extras.train()
    return {name: (x.shape[1], x.shape[2], x.shape[3]) for name, x in maps.items()}


def _build_trunk(spec: ModelSpec, *, seed: int = 0) -> tuple[Backbone, ExtraMaps]:
    """Base and extra maps with unset weights: built on the meta device, which draws no random numbers.

    A base that sets its own weights takes them from the seed.
    """
    with torch.device("meta"):
        backbone = _build_backbone(spec, seed)
        extras = ExtraMaps(
            backbone.out_channels,
            spec.extras,
            width=spec.width,
            separable=spec.separable,
            lite_activation=spec.compatibility.lite_activation,
            batch_norm=spec.batch_norm,
        )
    return backbone if backbone.HAS_WEIGHTS else _allocated(backbone), _allocated(extras)


def _build_heads(spec: ModelSpec, channels: Mapping[str, int]) -> tuple[GridMap | None, Heads]:
    """The predictors, and what stands before them where they are a grid's."""
    boxes_per_cell = [boxes.boxes_per_cell for boxes in spec.boxes.maps]
    if spec.grid_head is not None:
        (name,), (boxes,) = spec.sources, boxes_per_cell
        grid = GridMap(channels[name], spec.grid_head, width=spec.width, batch_norm=spec.batch_norm)
        return grid, fully_connected_heads(
            name, grid.out_channels, spec.grid_head, boxes_per_cell=boxes, num_classes=spec.num_classes
        )
    return None, Heads(
        channels,
        boxes_per_cell,
        num_classes=spec.num_classes,
        kernel=spec.head_kernel,
        separable=[name for name in spec.sources if spec.separable and name not in spec.compatibility.full_heads],
        activation=spec.compatibility.lite_activation,
    )


def _allocated(module: Part) -> Part:
    """The module with memory for its tensors, whose values are unset.

    (`to_empty` would do as well, but torch loads its compiler and sympy for that: two seconds.)
    """
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(torch.empty(parameter.shape)))
        for name, buffer in list(part.named_buffers(recurse=False)):
            setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return module


def _build_backbone(spec: ModelSpec, seed: int) -> Backbone:
    of_timm = spec.backbone.startswith(TIMM)
    if not of_timm and spec.backbone not in BACKBONES:
        raise UnknownNameError("backbone", spec.backbone, [*BACKBONES, f"{TIMM}NAME"])
    kind = TimmBase if of_timm else BACKBONES[spec.backbone]
    extras = {f"{block.name}_2" for block in spec.extras}
    for name in _wanted(spec):
        if name not in extras and name not in kind.TAPS:
            raise UnknownNameError(f"source map of {spec.backbone}", name, [*kind.TAPS, *extras])
    for name in spec.normalised:
        if name not in spec.sources:
            raise RequestError(f"{name} is to be normalised but is no source map; sources: {', '.join(spec.sources)}")
    if spec.fusion is not None and spec.fusion.fine and spec.fusion.fine not in spec.sources:
        raise UnknownNameError("source map to fuse", spec.fusion.fine, spec.sources)
    taps = [name for name in _wanted(spec) if name not in extras]
    options: dict[str, Any] = {"width": spec.width}
    options |= {"name": spec.backbone, "seed": seed} if of_timm else {"batch_norm": spec.batch_norm}
    if kind.PADS_AS_TENSORFLOW:
        options["tensorflow_padding"] = spec.compatibility.tensorflow_padding
    elif spec.compatibility.tensorflow_padding:
        raise RequestError(f"tensorflow_padding is for MobileNets, not for {spec.backbone}")
    return kind(taps, **options)
