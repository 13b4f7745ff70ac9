"""The specification of a Caffe SSD, derived from its network description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from singleshot.errors import ModelError, SingleshotError
from singleshot.models.layers import scaled
from singleshot.models.mobilenetv1 import PAIRS
from singleshot.models.vgg import LAYERS
from singleshot.spec import BoxSpec, ExtraBlock, MapBoxes, ModelSpec, Postprocess, Preprocess
from singleshot.ssd.default_boxes import cell_sizes
from singleshot.variants import SSD300_MOBILENETV1, SSD300_VGG16, VARIANTS
from singleshot.weights.bounds import require_bounds
from singleshot.weights.classes import names_for
from singleshot.weights.importers.caffe_graph import Graph, Layer, geometry
from singleshot.weights.importers.caffe_proto import Message

_BASES = {
    "vgg16": tuple(LAYERS),
    "mobilenetv1": ("conv0", *(f"conv{n}{part}" for n in range(1, len(PAIRS) + 1) for part in ("/dw", ""))),
}
_WIDEST = {"vgg16": ("fc7", 1024), "mobilenetv1": ("conv13", PAIRS[-1][0])}
_MOST_CHANNELS = 65536
LARGEST_SIDE = 8192  # of an input, pixels


@dataclass(frozen=True)
class SourceLayers:
    """The layers of one source map: of the description, in order."""

    source: str  # our name
    norm: str | None
    location: str
    confidence: str
    prior: str


def derive_spec(
    graph: Graph, class_names: Sequence[str] | None = None, *, size_hw: tuple[int, int] | None = None
) -> tuple[ModelSpec, list[SourceLayers]]:
    """Specification and source layers of a described network.

    Args:
        graph: of the description.
        class_names: L names; None takes those that their number suggests, see `names_for`.
        size_hw: input size where the description states none.

    Raises:
        ModelError: the network is no SSD of a known base, or has a setting that we do not have; it is named.
    """
    backbone = _backbone(graph)
    start = SSD300_VGG16 if backbone == "vgg16" else SSD300_MOBILENETV1
    sources = source_layers(graph, backbone)
    width = _width(graph, backbone)
    heads = {layer for source in sources for layer in (source.location, source.confidence)}
    size_hw = input_size(graph, size_hw)
    detector = graph.detector
    of_loss = detector.kind == "MultiBoxLoss"
    settings = detector.message.message("multibox_loss_param" if of_loss else "detection_output_param")
    num_classes = int(settings.number("num_classes", 0))
    kernels = {_convolution(graph.layers[name])[1] for name in heads}
    if len(kernels) != 1:
        raise ModelError(f"{graph.origin}: heads have kernels {sorted(kernels)}; one size is known")
    try:
        spec = ModelSpec(
            name=f"ssd{min(size_hw)}-{backbone}",
            backbone=backbone,
            input_size_hw=size_hw,
            class_names=names_for(num_classes, class_names, graph.origin),
            sources=tuple(source.source for source in sources),
            boxes=boxes_of(graph, sources, size_hw),
            extras=_extras(graph, backbone, heads, width),
            preprocess=_preprocess(graph.net, start.preprocess),
            postprocess=start.postprocess if of_loss else postprocess_of(settings, graph.origin),
            head_kernel=kernels.pop(),
            normalised=tuple(source.source for source in sources if source.norm is not None),
            width=width,
        )
    except ModelError:
        raise
    except SingleshotError as error:
        raise ModelError(f"{graph.origin}: {error}") from error
    require_bounds(spec, graph.origin)
    named = [variant.name for variant in VARIANTS.values() if replace(variant, name=spec.name) == spec]
    return replace(spec, name=named[0]) if named else spec, sources


def our_name(backbone: str, name: str) -> str:
    """Our name of a trunk layer: Caffe's VGG files call the paper's conv8_1 .. conv12_2 conv6_1 .. conv10_2."""
    if backbone == "vgg16" and name.startswith("conv") and name not in LAYERS:
        number, _, part = name[4:].partition("_")
        if number.isdigit() and part:
            return f"conv{int(number) + 2}_{part}"
    return name.replace("/", "_")


def _backbone(graph: Graph) -> str:
    """Which base it is: the one whose first and last layers are there; all others must be, too."""
    for backbone, layers in _BASES.items():
        if {layers[0], layers[-1]} <= graph.layers.keys():
            missing = [name for name in layers if name not in graph.layers]
            if missing:
                raise ModelError(f"{graph.origin} has no layer {missing[0]}, which a {backbone} has")
            return backbone
    some = ", ".join(layer.name for layer in graph.convolutions[:3])
    raise ModelError(
        f"{graph.origin} is no network that is known: neither VGG-16 (conv1_1 .. fc7) nor MobileNet v1 (conv0 .. "
        f"conv13); its convolutions begin with {some or 'nothing'}"
    )


def source_layers(graph: Graph, backbone: str) -> list[SourceLayers]:
    """Follow the detection layer's three inputs back to the heads and default boxes of each map."""
    locations, confidences, priors = (graph.joined(blob) for blob in graph.detector.bottoms[:3])
    if not len(locations) == len(confidences) == len(priors):
        raise ModelError(
            f"{graph.origin}: {len(locations)} location heads, {len(confidences)} confidence heads and {len(priors)} "
            "sets of default boxes; they must be as many"
        )
    all_sources = []
    for location, confidence, prior in zip(locations, confidences, priors, strict=True):
        blobs = {location.bottoms[0], confidence.bottoms[0], prior.bottoms[0]}
        if len(blobs) != 1:
            raise ModelError(f"{graph.origin}: {location.name}, {confidence.name} and {prior.name} see different maps")
        maker = graph.maker(blobs.pop())
        norm = maker if maker.kind == "Normalize" else None
        trunk = graph.maker(norm.bottoms[0]) if norm is not None else maker
        names = (location.name, confidence.name, prior.name)
        all_sources.append(SourceLayers(our_name(backbone, trunk.name), norm.name if norm else None, *names))
    return all_sources


def _width(graph: Graph, backbone: str) -> float:
    """What the channels are multiplied by, from the widest layer (it is the most exact)."""
    layer, full = _WIDEST[backbone]
    return _convolution(graph.layers[layer])[0] / full


def _extras(graph: Graph, backbone: str, heads: set[str], width: float) -> tuple[ExtraBlock, ...]:
    """Pairs of convolutions behind the base; `channels` are those of the full width."""
    layers = [layer for layer in graph.convolutions if layer.name not in _BASES[backbone] and layer.name not in heads]
    names = [our_name(backbone, layer.name) for layer in layers]
    if len(layers) % 2:
        raise ModelError(f"{graph.origin}: extra maps are pairs of convolutions, there are {len(layers)}: {names}")
    blocks = []
    for first, second, name, other in zip(layers[::2], layers[1::2], names[::2], names[1::2], strict=True):
        if not (name.endswith("_1") and other == f"{name[:-2]}_2"):
            raise ModelError(f"{graph.origin}: {first.name} and {second.name} are no pair <name>_1, <name>_2")
        squeeze, *_ = _convolution(first)
        channels, kernel, stride, padding = _convolution(second)
        blocks.append(ExtraBlock(name[:-2], _full(squeeze, width), _full(channels, width), kernel, stride, padding))
    return tuple(blocks)


def _full(channels: int, width: float) -> int:
    """The channels of the full-width network that become `channels` at this width."""
    return next(
        full for full in range(round(channels / width) - 2, _MOST_CHANNELS**2) if scaled(full, width) >= channels
    )


def _convolution(layer: Layer) -> tuple[int, int, int, int]:
    """Outputs, kernel, stride and padding of a convolution."""
    settings = geometry(layer)
    if not 1 <= settings.num_output <= _MOST_CHANNELS:
        raise ModelError(f"{layer.name}: num_output must lie in 1 .. {_MOST_CHANNELS}, got {settings.num_output}")
    return settings.num_output, settings.kernel_size, settings.stride, settings.pad


def input_size(graph: Graph, given: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of the input `data`, as the three ways of stating it give them, else what was given."""
    shapes = [shape.numbers("dim") for shape in graph.net.messages("input_shape")]
    flat = graph.net.numbers("input_dim")
    shapes += [flat[i : i + 4] for i in range(0, len(flat), 4)]
    for layer in graph.of_kind("Input"):
        shapes += [shape.numbers("dim") for shape in layer.message.message("input_param").messages("shape")]
    for shape in shapes:
        if len(shape) == 4 and shape[1] == 3:
            stated = int(shape[2]), int(shape[3])
            if not all(1 <= side <= LARGEST_SIDE for side in stated):
                raise ModelError(f"{graph.origin}: an input of {stated[1]}x{stated[0]} is out of 1 .. {LARGEST_SIDE}")
            if given is not None and given != stated:
                raise ModelError(
                    f"{graph.origin} states an input of {stated[1]}x{stated[0]}, --size says {given[1]}x{given[0]}"
                )
            return stated
    if given is not None:
        return given
    raise ModelError(f"{graph.origin} states no input of 1 x 3 x height x width; give the size with --size WxH")


def boxes_of(graph: Graph, sources: Sequence[SourceLayers], size_hw: tuple[int, int]) -> BoxSpec:
    """PriorBox layers as our default boxes (Caffe prior_box_layer.cpp, LayerSetUp, for the defaults)."""
    settings = [graph.layers[source.prior].message.message("prior_box_param") for source in sources]
    maps = tuple(map_boxes(setting, size_hw) for setting in settings)
    common = {
        (tuple(_variances(setting)), setting.flag("clip", default=False), setting.number("offset", 0.5))
        for setting in settings
    }
    if len(common) != 1:
        raise ModelError(f"{graph.origin}: default boxes of all maps must share variances, clip and offset")
    variances, clip, offset = common.pop()
    return BoxSpec(maps, (variances[0], variances[1], variances[2], variances[3]), clip, offset)


def map_boxes(settings: Message, size_hw: tuple[int, int]) -> MapBoxes:
    """The default boxes of one PriorBox layer, in pixels of an input of this height and width."""
    side = settings.number("img_size", 0)
    stated = settings.number("img_h", side), settings.number("img_w", side)
    across, down = (settings.number("step", settings.number(name, 0)) for name in ("step_w", "step_h"))
    if not across or not down:  # Caffe derives both from the map, where one is missing
        across = down = 0
    boxes = MapBoxes(
        min_sizes=tuple(settings.numbers("min_size")),
        max_sizes=tuple(settings.numbers("max_size")),
        aspect_ratios=tuple(settings.numbers("aspect_ratio")),
        step=across or None,
        flip=settings.flag("flip", default=True),
        step_h=down if down != across else None,
    )
    return _of_input(boxes, stated, size_hw) if all(stated) and stated != size_hw else boxes


def _of_input(boxes: MapBoxes, stated_hw: tuple[float, float], size_hw: tuple[int, int]) -> MapBoxes:
    """Default boxes whose pixels are those of an image of another size (img_size) than the input.

    Caffe divides by that size; the same fractions are other pixels of the input, which differ by axis.
    """
    down, across = (size / stated for size, stated in zip(size_hw, stated_hw, strict=True))
    sizes = cell_sizes(boxes, truncate=BoxSpec.truncate_sizes).astype(float) * (across, down)
    return MapBoxes(
        min_sizes=(),
        aspect_ratios=(),
        step=None if boxes.step is None else boxes.step * across,
        step_h=None if boxes.steps_hw[0] is None else boxes.steps_hw[0] * down,
        sizes_wh=tuple((float(wide), float(high)) for wide, high in sizes),
    )


def _variances(settings: Message) -> list[float]:
    variances = settings.numbers("variance") or [0.1]
    return variances * 4 if len(variances) == 1 else variances[:4]


def postprocess_of(output: Message, origin: str) -> Postprocess:
    """DetectionOutput's settings with Caffe's defaults; what we do differently is refused."""
    if int(output.number("background_label_id", 0)) != 0:
        raise ModelError(f"{origin}: the background must be class 0, got {output.text('background_label_id')}")
    if not output.flag("share_location", default=True) or output.flag("variance_encoded_in_target", default=False):
        raise ModelError(f"{origin}: boxes of each class, and variances encoded in the target, are not known")
    code = output.text("code_type", "CORNER")
    if code not in {"CENTER_SIZE", "2"}:
        raise ModelError(f"{origin}: boxes coded as {code} are not known, only CENTER_SIZE")
    nms = output.message("nms_param")
    return Postprocess(
        score_threshold=output.number("confidence_threshold", -1.0),  # every probability is above
        nms_threshold=nms.number("nms_threshold", 0.3),
        top_k=int(nms.number("top_k", -1)),
        keep_top_k=int(output.number("keep_top_k", -1)),
        nms_eta=nms.number("eta", 1.0),
    )


def _preprocess(net: Message, usual: Preprocess) -> Preprocess:
    """`transform_param` of a data layer where the file has one, else what such networks usually take."""
    for layer in net.messages("layer"):
        settings = layer.message("transform_param")
        means = settings.numbers("mean_value")
        if means:
            blue, green, red = means if len(means) == 3 else means[:1] * 3
            scale = settings.number("scale", 1.0)
            return Preprocess((red, green, blue), (1 / scale,) * 3, channel_order="bgr")
    return usual
