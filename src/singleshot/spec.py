"""What a detector is, as plain data: its default boxes, its preprocessing, its layers. A variant is `replace(...)`.

Counts that follow from others (boxes a cell, K, grid sizes) are derived where they are needed and never typed here.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from singleshot.errors import RequestError, UnknownNameError

# Read by pydantic when a config.json is validated: unknown fields, NaN and text that looks like a number are refused.
FORBID_UNKNOWN_FIELDS = {"extra": "forbid", "allow_inf_nan": False, "strict": True}

OBJECT = "object"
"""The one class of a class-agnostic detector."""
BOX_LIMITS = ("centres", "sizes")
ACTIVATIONS = ("relu", "relu6")
FUSIONS = ("concat", "sum", "top-down")
PYRAMID = "pyramid"
"""The fusion of TensorFlow's FPN, which comes with imported weights."""
PATH_AGGREGATION = "path-aggregation"
"""Top-down, then bottom-up through the backbone's maps (Liu et al. 2018, PANet)."""
PYRAMIDS = (PYRAMID, PATH_AGGREGATION)
"""Fusions of the backbone's maps, from whose coarsest the extra maps go on."""
SCORES = ("softmax", "sigmoid")
TIMM = "timm:"
"""Prefix of a backbone that is a feature extractor of timm: `timm:resnet18`."""
TIMM_NAME = re.compile(r"timm:[a-z0-9_.]+")
"""The names passed on to timm; hub addresses and paths hold other characters."""
GRAPH = "graph"
"""The backbone of a detector that is a graph of another framework: it runs on its engine, and has no layers of ours."""
OWN = "own:"
"""Prefix of a backbone of the user's own, whose code is given when the model is built: `own:tiny_net`."""
TAP_STRIDES = {
    "efficientnetlite0": {"block4_expand": 4, "block6_expand": 8, "block12_expand": 16, "last": 32},
    "mobilenetv1": {"conv3": 4, "conv5": 8, "conv11": 16, "conv13": 32},
    "mobilenetv2": {"block4_expand": 4, "block7_expand": 8, "block14_expand": 16, "last": 32},
    "mobilenetv3": {"block4_expand": 4, "block7_expand": 8, "block13_expand": 16, "last": 32},
    "vgg16": {"conv3_3": 4, "conv4_3": 8, "conv5_3": 16, "fc7": 16},
}
"""Named maps of our backbones, fine before coarse, and their strides; a map of timm can replace them."""


@dataclass(frozen=True)
class MapBoxes:
    """Default boxes of one feature map (Caffe's PriorBox layer; paper section 2.2).

    Attributes:
        min_sizes: pixels of the network input; each gives a square.
        max_sizes: one for each min size, or none: adds a square of sqrt(min x max).
        aspect_ratios: width / height beside 1; each also gives its inverse when `flip`.
        step: distance of two centres in pixels; None derives it from input and map size.
        step_h: the same from row to row, where it is another one.
        sizes_wh: width and height of each box of a cell in pixels, instead of sizes and ratios: TensorFlow's boxes.
        offset: position of the centre inside its cell, where the map has its own; None is `BoxSpec.offset`.
    """

    min_sizes: tuple[float, ...]
    max_sizes: tuple[float, ...] = ()
    aspect_ratios: tuple[float, ...] = (2.0,)
    step: float | None = None
    flip: bool = True
    sizes_wh: tuple[tuple[float, float], ...] = ()
    offset: float | None = None
    step_h: float | None = None

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS

    def __post_init__(self) -> None:
        if self.max_sizes and len(self.max_sizes) != len(self.min_sizes):
            raise RequestError(
                f"max_sizes must be as many as min_sizes or none, got {self.max_sizes} for {self.min_sizes}"
            )
        if self.sizes_wh:
            if self.min_sizes or self.aspect_ratios or min(min(size) for size in self.sizes_wh) <= 0:
                raise RequestError(
                    f"sizes_wh must be above 0 and stand alone, got {self.sizes_wh} beside min sizes {self.min_sizes} "
                    f"and ratios {self.aspect_ratios}"
                )
            return
        if not self.min_sizes or min(self.min_sizes) <= 0 or min(self.aspect_ratios, default=1) <= 0:
            raise RequestError(f"box sizes and ratios must be above 0, got {self.min_sizes} and {self.aspect_ratios}")

    @property
    def ratios(self) -> tuple[float, ...]:
        """All ratios beside 1 in Caffe's order, without repeats: 2, 1/2, 3, 1/3."""
        ratios = [1.0]
        for ratio in self.aspect_ratios:
            if all(abs(ratio - other) >= 1e-6 for other in ratios):
                ratios += [ratio, 1 / ratio] if self.flip else [ratio]
        return tuple(ratios[1:])

    @property
    def sizes(self) -> tuple[float, ...]:
        """The sizes to speak of in pixels: the min sizes, or the different roots of the areas of `sizes_wh`."""
        return self.min_sizes or tuple(dict.fromkeys(round((w * h) ** 0.5, 1) for w, h in self.sizes_wh))

    @property
    def steps_hw(self) -> tuple[float | None, float | None]:
        """Distances of two centres from row to row and from column to column, pixels; None as in `step`."""
        return self.step if self.step_h is None else self.step_h, self.step

    @property
    def boxes_per_cell(self) -> int:
        """Number of default boxes at each position of the map."""
        return len(self.sizes_wh) or len(self.min_sizes) * (1 + len(self.ratios)) + len(self.max_sizes)


@dataclass(frozen=True)
class BoxSpec:
    """Default boxes of a whole network: one `MapBoxes` a source map.

    Attributes:
        variances: the coder divides centre offsets by the first two and log sizes by the last two.
        clip: cut the boxes to the image (the paper's models do not).
        offset: position of the centre inside its cell.
        truncate_sizes: Caffe cuts min and max sizes to whole pixels.
    """

    maps: tuple[MapBoxes, ...]
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    clip: bool = False
    offset: float = 0.5
    truncate_sizes: bool = True

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS


@dataclass(frozen=True)
class Preprocess:
    """From a decoded RGB image to the network's input: resize to the input size, then (pixel - mean) / std.

    Attributes:
        mean_rgb: subtracted from 0..255 pixels; also the colour that the expand augmentation fills with.
        std_rgb: divides afterwards.
        channel_order: the order in which the network takes its channels, `rgb` or `bgr`.
    """

    mean_rgb: tuple[float, float, float] = (123.0, 117.0, 104.0)
    std_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: str = "bgr"

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS

    def __post_init__(self) -> None:
        if self.channel_order not in {"rgb", "bgr"}:
            raise UnknownNameError("channel order", self.channel_order, ["rgb", "bgr"])


@dataclass(frozen=True)
class Postprocess:
    """From scored boxes to detections (Caffe DetectionOutput).

    Attributes:
        score_threshold: a class score counts above this (strictly).
        nms_threshold: a box is suppressed when its IoU with a better one of its class is above this.
        top_k: candidates a class before NMS, -1 for all.
        keep_top_k: detections an image after NMS, -1 for all.
        nms_eta: adaptive NMS: while a class's threshold is above 0.5, each kept box multiplies it by this; 1 is plain.
        scores: how class scores come from the network's logits: `softmax` over background and classes, or a `sigmoid`
            of each, which leaves the background unused (TensorFlow's detectors).
        across_classes: each box has its best class only, and a better box of any class suppresses it (the fast NMS of
            TensorFlow Lite).
    """

    score_threshold: float = 0.01
    nms_threshold: float = 0.45
    top_k: int = 400
    keep_top_k: int = 200
    nms_eta: float = 1.0
    scores: str = "softmax"
    across_classes: bool = False

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS

    def __post_init__(self) -> None:
        if self.scores not in SCORES:
            raise UnknownNameError("scores", self.scores, SCORES)


@dataclass(frozen=True)
class ExtraBlock:
    """One extra feature map after the backbone: 1x1 to `squeeze` channels, then kernel x kernel to `channels`.

    The two convolutions are called `<name>_1` and `<name>_2`; the map is the second one's. A squeeze of 0 leaves the
    first out. A `linear` one has no activation after it (the inverted residuals and bare convolutions of some ports).
    With `tensorflow_padding` the second pads as TensorFlow's SAME does, and `padding` is not used.
    """

    name: str
    squeeze: int
    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0
    linear: bool = False
    tensorflow_padding: bool = False

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS


@dataclass(frozen=True)
class Fusion:
    """How source maps are enriched by coarser ones before the heads, see `models.fusion`.

    Attributes:
        kind: `concat` or `sum` of two maps (Feature-Fused SSD), `top-down` through all (RetinaNet), or `pyramid`:
            top-down through the backbone's maps, the extra maps going on from the coarsest of these (TensorFlow's FPN),
            or `path-aggregation`: likewise, then bottom-up, and the result beside the backbone's own maps (PANet).
        fine: the source map that is enriched; none for those that go through all maps.
        coarse: the map that is fused with it, a source or another map of the backbone.
        channels: of all maps after a fusion that goes through all of them.
    """

    kind: str
    fine: str = ""
    coarse: str = ""
    channels: int = 256

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS

    def __post_init__(self) -> None:
        if self.kind not in (*FUSIONS, *PYRAMIDS):
            raise UnknownNameError("fusion", self.kind, FUSIONS)
        through_all = self.kind in {"top-down", *PYRAMIDS}
        if through_all == bool(self.fine or self.coarse):
            rule = "fine and coarse must be empty" if through_all else "name fine and coarse"
            raise RequestError(f"fusion {self.kind}: {rule}")


@dataclass(frozen=True)
class GridHead:
    """One fully connected layer instead of convolutional predictors, see `models.heads`.

    Attributes:
        cells: side of the grid that the source map is pooled to.
        channels: that the grid is reduced to.
    """

    cells: int = 7
    channels: int = 256

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS

    def __post_init__(self) -> None:
        if min(self.cells, self.channels) < 1:
            raise RequestError(
                f"cells and channels of a grid head must be 1 or more, got {self.cells} and {self.channels}"
            )


@dataclass(frozen=True)
class SharedHead:
    """Heads whose filters all maps share, each map with a scale and bias of its own (TensorFlow's FPNLite).

    Attributes:
        channels: of the separable layers before the predictors.
        depth: how many there are.
    """

    channels: int = 128
    depth: int = 4

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS

    def __post_init__(self) -> None:
        if self.channels < 1 or self.depth < 1:
            raise RequestError(
                f"channels and depth of a shared head must be 1 or more, got {self.channels} and {self.depth}"
            )


@dataclass(frozen=True)
class Compatibility:
    """Where the weights of other projects need a network that differs from ours in details.

    Attributes:
        tensorflow_padding: pad strided convolutions at the bottom right only, as TensorFlow's SAME does.
        activation: of MobileNet v1 and of extra maps that are not separable, `relu` or `relu6`.
        lite_activation: activation of the separable layers, `relu6` or `relu`.
        lite_norm: whether the separable layers have batch normalisation; else it is folded, and they have biases.
        full_heads: sources whose heads are full convolutions although the others are separable.
        box_limits: limits of default boxes besides `BoxSpec.clip`: `sizes`, so that no box is larger than the image
            (torchvision), and `centres`, so that none lies outside (ssd.pytorch and its descendants have both).
    """

    tensorflow_padding: bool = False
    activation: str = "relu"
    lite_activation: str = "relu6"
    lite_norm: bool = True
    full_heads: tuple[str, ...] = ()
    box_limits: tuple[str, ...] = ()

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS

    def __post_init__(self) -> None:
        for name in self.box_limits:
            if name not in BOX_LIMITS:
                raise UnknownNameError("limit of default boxes", name, BOX_LIMITS)
        for name in (self.activation, self.lite_activation):
            if name not in ACTIVATIONS:
                raise UnknownNameError("activation", name, ACTIVATIONS)


@dataclass(frozen=True)
class ModelSpec:
    """A detector without its weights.

    Attributes:
        name: the variant it was made from, as `--model` takes it; on a backbone of timm `ssd300-timm-resnet18`.
        backbone: a name of `models.ssd.BACKBONES`, `timm:NAME`, or `own:NAME`.
        input_size_hw: height and width of the network input, pixels.
        class_names: L foreground names.
        sources: the source maps in order of stride; names of backbone taps or of extra blocks (`conv8_2`).
        boxes: default boxes, one entry for each source.
        extras: the extra blocks, in order, after the backbone's last map.
        head_kernel: side of the head's convolutions.
        separable: extra maps and heads made of depthwise + pointwise convolutions (SSDLite).
        normalised: sources whose map goes through a learnt L2 normalisation (ParseNet).
        fusion: how source maps are enriched by coarser ones; None for the paper's network.
        grid_head: replaces the convolutional heads on the one source map (YOLO-like); None for SSD.
        shared_head: replaces the heads by some that all maps share; None for SSD.
        width: multiplies the channels of backbone and extra maps (the heads follow).
        batch_norm: keep batch normalisation in the backbone; else it is folded into convolutions with bias. A backbone
            of timm always keeps its own; there this concerns the extra maps alone, where they are not separable.
        class_agnostic: propose objects of all classes as the one class `object` (MultiBox).
        compatibility: details that weights of other projects need.
    """

    name: str
    backbone: str
    input_size_hw: tuple[int, int]
    class_names: tuple[str, ...]
    sources: tuple[str, ...]
    boxes: BoxSpec
    extras: tuple[ExtraBlock, ...]
    preprocess: Preprocess = field(default_factory=Preprocess)
    postprocess: Postprocess = field(default_factory=Postprocess)
    separable: bool = False
    head_kernel: int = 3
    normalised: tuple[str, ...] = ()
    fusion: Fusion | None = None
    grid_head: GridHead | None = None
    shared_head: SharedHead | None = None
    width: float = 1.0
    batch_norm: bool = False
    class_agnostic: bool = False
    compatibility: Compatibility = field(default_factory=Compatibility)

    __pydantic_config__ = FORBID_UNKNOWN_FIELDS

    def __post_init__(self) -> None:
        if len(self.sources) != len(self.boxes.maps):
            raise RequestError(f"{len(self.sources)} source maps but default boxes for {len(self.boxes.maps)}")
        if not self.class_names or len(set(self.class_names)) != len(self.class_names):
            raise RequestError(f"class names must be one or more and different, got {list(self.class_names)}")
        if self.class_agnostic and self.class_names != (OBJECT,):
            raise RequestError(f"a class-agnostic model has the one class {OBJECT}, got {list(self.class_names)}")
        for name in self.compatibility.full_heads:
            if name not in self.sources:
                raise UnknownNameError("source map with a full head", name, self.sources)
        if self.grid_head is not None and len(self.sources) != 1:
            raise RequestError(f"a grid head takes one source map, got {len(self.sources)}: {', '.join(self.sources)}")
        if self.shared_head is not None and len({boxes.boxes_per_cell for boxes in self.boxes.maps}) != 1:
            raise RequestError("a shared head takes the same number of default boxes a cell on every map")
        if self.backbone.startswith(TIMM) and TIMM_NAME.fullmatch(self.backbone) is None:
            raise RequestError(
                f"a backbone of timm is {TIMM}NAME, with a-z, 0-9, _ and . in NAME, got {self.backbone!r}"
            )
        if min(self.input_size_hw) < 1:
            raise RequestError(f"input size must be positive, got {self.input_size_hw}")

    @property
    def num_classes(self) -> int:
        """C = L + 1: the foreground classes and background, which is number 0 inside the network."""
        return len(self.class_names) + 1

    @property
    def is_quality_aware(self) -> bool:
        """Whether class scores also say how well a box fits: sigmoids, one default box a cell (recipe `aligned`)."""
        one_a_cell = all(boxes.boxes_per_cell == 1 for boxes in self.boxes.maps)
        return self.postprocess.scores == "sigmoid" and one_a_cell

    def with_fusion(self, kind: str) -> ModelSpec:
        """The same detector with fused maps; `concat` and `sum` fuse the first source with the next coarser map.

        Raises:
            UnknownNameError: no such fusion; RequestError: a detector with a pyramid of its own.
        """
        if kind not in FUSIONS:
            raise UnknownNameError("fusion", kind, FUSIONS)
        if self.fusion is not None and self.fusion.kind in PYRAMIDS:
            raise RequestError(f"{self.name} has a feature pyramid of its own: leave --fusion out")
        if kind == "top-down":
            return replace(self, fusion=Fusion(kind), normalised=())
        fine, coarse = self.sources[0], "conv5_3" if self.backbone == "vgg16" else self.sources[1]
        normalised = tuple(name for name in self.normalised if name != fine)
        return replace(self, fusion=Fusion(kind, fine, coarse), normalised=normalised)

    def with_backbone(self, name: str) -> ModelSpec:
        """The same detector on a feature extractor of timm, whose maps replace those of the same stride.

        VGG-16 ends at stride 16; there the map of stride 32 replaces the first extra map, so that all grids stay the
        same; steps follow the maps. L2 normalisation is dropped: it is for a backbone without normalisation. The
        preprocessing stays; `models.timm_backbone.timm_preprocess` gives timm's.

        Args:
            name: `timm:NAME`, or `own:NAME`.

        Raises:
            RequestError: another name, or this detector has a map that no map of timm can replace.
        """
        if not name.startswith((TIMM, OWN)):
            raise RequestError(f"a backbone to replace {self.backbone} is {TIMM}NAME or your own, got {name!r}")
        places, extras = self._places_by_stride()
        fusion = self.fusion
        if fusion is not None:
            fine, coarse = (places.get(tap, tap) for tap in (fusion.fine, fusion.coarse))
            fusion = replace(fusion, fine=fine, coarse=coarse)
        return replace(
            self,
            name=self.name.replace(self.backbone.replace(":", "-"), name.replace(":", "-")),
            backbone=name,
            sources=tuple(places.get(tap, tap) for tap in self.sources),
            boxes=replace(
                self.boxes, maps=tuple(replace(boxes, step=None, step_h=None, offset=None) for boxes in self.boxes.maps)
            ),
            extras=extras,
            normalised=(),
            fusion=fusion,
            width=1.0,
            batch_norm=True,
            compatibility=replace(
                self.compatibility,
                tensorflow_padding=False,
                full_heads=tuple(places.get(tap, tap) for tap in self.compatibility.full_heads),
            ),
        )

    def _places_by_stride(self) -> tuple[dict[str, str], tuple[ExtraBlock, ...]]:
        """The map of another backbone that replaces each of ours, by stride, and the extra blocks that stay.

        Raises:
            RequestError: a source map that none replaces.
        """
        extras, places = self.extras, {f"stride{stride}": f"stride{stride}" for stride in (4, 8, 16, 32)}
        if not self.backbone.startswith((TIMM, OWN)):
            places = {tap: f"stride{stride}" for tap, stride in TAP_STRIDES.get(self.backbone, {}).items()}
        if self.backbone == "vgg16" and extras:
            places[f"{extras[0].name}_2"] = "stride32"
            extras = extras[1:]
        kept = {f"{block.name}_2" for block in extras}
        for tap in self.sources:
            if tap not in places and tap not in kept:
                raise RequestError(
                    f"no backbone of timm can replace {self.backbone} in {self.name}: no map replaces {tap}"
                )
        return places, extras

    def with_maps(self, sources: tuple[str, ...], maps: tuple[MapBoxes, ...]) -> ModelSpec:
        """The same detector with these source maps and their boxes; extra blocks that none of them needs are dropped.

        Args:
            sources: names, in order of stride.
            maps: the default boxes of each.
        """
        used = {*sources, *(() if self.fusion is None else (self.fusion.coarse,))}
        last = max((place for place, block in enumerate(self.extras, 1) if f"{block.name}_2" in used), default=0)
        return replace(
            self,
            sources=sources,
            boxes=replace(self.boxes, maps=maps),
            extras=self.extras[:last],
            normalised=tuple(name for name in self.normalised if name in sources),
            compatibility=replace(
                self.compatibility,
                full_heads=tuple(name for name in self.compatibility.full_heads if name in sources),
            ),
        )

    def with_input_size(self, height: int, width: int) -> ModelSpec:
        """The same detector for another input size: box sizes follow the shorter side, steps follow the maps."""
        if (height, width) == self.input_size_hw:
            return self
        factor = min(height, width) / min(self.input_size_hw)
        maps = tuple(
            replace(
                boxes,
                min_sizes=tuple(size * factor for size in boxes.min_sizes),
                max_sizes=tuple(size * factor for size in boxes.max_sizes),
                step=None,
                step_h=None,
                sizes_wh=tuple((wide * factor, high * factor) for wide, high in boxes.sizes_wh),
                offset=None,
            )
            for boxes in self.boxes.maps
        )
        return replace(self, input_size_hw=(height, width), boxes=replace(self.boxes, maps=maps))


def migrate_spec(values: Any) -> Any:
    """A `ModelSpec` as plain values, of any version, with its fields where they are today.

    Earlier versions had the fields of `Compatibility` in the spec itself, and `box_limits` as `boxes.limit`. Fields
    that came later get their defaults. What is no specification stays, for the validation to refuse.
    """
    if not isinstance(values, dict):
        return values
    spec = dict(values)
    if "compatibility" not in spec:
        compatibility = asdict(Compatibility())
        for name in ("tensorflow_padding", "lite_activation", "full_heads"):
            if name in spec:
                compatibility[name] = spec.pop(name)
        if isinstance(spec.get("boxes"), dict) and "limit" in spec["boxes"]:
            spec["boxes"] = dict(spec["boxes"])
            compatibility["box_limits"] = spec["boxes"].pop("limit")
        spec["compatibility"] = compatibility
    spec["compatibility"] = _completed(spec["compatibility"], Compatibility)
    for name, kind in (("postprocess", Postprocess), ("extras", ExtraBlock)):
        if name in spec:
            spec[name] = _completed(spec[name], kind)
    if isinstance(spec.get("boxes"), dict) and "maps" in spec["boxes"]:
        spec["boxes"] = spec["boxes"] | {"maps": _completed(spec["boxes"]["maps"], MapBoxes)}
    return _completed(spec, ModelSpec)


def _completed(values: Any, kind: type) -> Any:
    """Plain values of a dataclass, or of many, with the defaults of the fields that they lack."""
    if isinstance(values, list | tuple):
        return [_completed(item, kind) for item in values]
    if not isinstance(values, dict):
        return values
    defaults = {entry.name: entry.default for entry in fields(kind) if entry.default is not MISSING}
    return defaults | values
