"""TensorFlow's SSDs on MobileNet v1 and v2, with and without a feature pyramid, as networks of ours.

Every layer of the graph gets a place in one of ours; whether the two are the same network is then computed, by running
both (`require_equal`). Batch normalisation is folded into convolutions, as in all backbones here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from singleshot.errors import ModelError
from singleshot.models import mobilenetv1
from singleshot.models.mobilenetv2 import MobileNetV2
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.preprocess import to_network_input
from singleshot.shapes import Float32, UInt8
from singleshot.spec import (
    PYRAMID,
    BoxSpec,
    Compatibility,
    ExtraBlock,
    Fusion,
    MapBoxes,
    ModelSpec,
    Postprocess,
    Preprocess,
    SharedHead,
)
from singleshot.weights.build import fill
from singleshot.weights.importers.tensorflow import layer_names
from singleshot.weights.importers.tensorflow_boxes import boxes_of_graph
from singleshot.weights.importers.tensorflow_layers import GraphLayers, Layer

LARGEST_DIFFERENCE = 1e-4
"""Between the raw outputs of a graph and of our network, relative where they are larger than 1."""
SHARED_DIFFERENCE = 1e-3
"""Of shared filters between two maps, relative to the largest: they are stored once a map, with a scale folded in."""
_TO_XYWH = (1, 0, 3, 2)
"""TensorFlow's boxes are ycenter, xcenter, height, width."""

Found = tuple[ModelSpec, dict[str, Tensor]]
RawOutputs = tuple[Float32[np.ndarray, "K 4"], Float32[np.ndarray, "K C"]]


@dataclass(frozen=True, eq=False)
class DetectorFacts:
    """What a graph says of itself beside its layers.

    Attributes:
        input_size_hw: height and width of its input.
        class_names: a name for each class, without background; None for an id that no class has, which is cut off.
        anchors: xyxy, fractions of the image; None where it holds none.
        rounding: see `boxes_of_graph`.
        variances: of the box coder, x, y, width, height.
        preprocess: from pixels to its input.
        postprocess: thresholds, limits, and how scores come from its last layer.
        background: whether the first column of its scores is the background's.
        origin: file, for messages.
    """

    input_size_hw: tuple[int, int]
    class_names: tuple[str | None, ...]
    anchors: Float32[np.ndarray, "K 4"] | None
    rounding: float
    variances: tuple[float, float, float, float]
    preprocess: Preprocess
    postprocess: Postprocess
    background: bool
    origin: str

    @property
    def columns(self) -> list[int]:
        """The column of each score that is kept, background first; -1 where the graph has no column for it."""
        first = 1 if self.background else 0
        kept = [first + number for number, name in enumerate(self.class_names) if name is not None]
        return [0 if self.background else -1, *kept]


def read_detector(graph: GraphLayers, facts: DetectorFacts) -> Found:
    """Specification and tensors of a graph that is one of our networks.

    Raises:
        ModelError: it is none; says what was expected and what stands there.
    """
    backbone, names = _backbone(graph, facts.origin)
    reader = _Reader(graph, facts, backbone, names)
    spec, state = reader.pyramid() if reader.laterals else reader.single_maps()
    height, width = facts.input_size_hw
    grids = grid_sizes(spec)
    boxes = boxes_of_graph(
        facts.anchors,
        [boxes.boxes_per_cell for boxes in spec.boxes.maps],
        grids,
        facts.input_size_hw,
        variances=facts.variances,
        rounding=facts.rounding,
        origin=facts.origin,
    )
    kind = {True: "fpnlite", False: "lite" if spec.separable else ""}[spec.shared_head is not None]
    return replace(spec, name=f"ssd{kind}{min(height, width)}-{spec.backbone}", boxes=boxes), state


def require_equal(
    spec: ModelSpec,
    state: Mapping[str, Tensor],
    run: Callable[[UInt8[np.ndarray, "H W 3"]], RawOutputs],
    facts: DetectorFacts,
) -> float:
    """The largest difference between the raw outputs of a graph and of our network, on an image of noise.

    Args:
        spec: of our network.
        state: its tensors.
        run: the graph: an RGB image of the input size -> offsets (y, x, h, w) and scores before the activation.
        facts: of the graph.

    Raises:
        ModelError: they differ by more than `LARGEST_DIFFERENCE`: it is another network.
    """
    network = SSD(spec)
    fill(network, state, origin=facts.origin)
    network.eval()
    image = np.random.default_rng(0).integers(0, 256, (*facts.input_size_hw, 3), np.uint8)
    offsets, logits = run(image)
    with torch.inference_mode():
        ours = network(torch.from_numpy(to_network_input(image, facts.input_size_hw, spec.preprocess))[None])
    first = 0 if facts.background else 1
    pairs = (
        (ours.offsets[0].numpy(), offsets[:, _TO_XYWH]),
        (ours.logits[0].numpy()[:, first:], logits[:, facts.columns[first:]]),
    )
    furthest = 0.0
    for actual, expected in pairs:
        if actual.shape != expected.shape:
            raise ModelError(f"{facts.origin} gives raw outputs of {expected.shape}, our network {actual.shape}")
        furthest = max(furthest, float((np.abs(actual - expected) / np.maximum(1, np.abs(expected))).max()))
    if not furthest <= LARGEST_DIFFERENCE:
        raise ModelError(
            f"{facts.origin} has the layers of {spec.name}, but computes something else: raw outputs differ by "
            f"{furthest:.2g} (limit {LARGEST_DIFFERENCE:g})"
        )
    return furthest


def _backbone(graph: GraphLayers, origin: str) -> tuple[str, dict[int, str]]:
    """MobileNet v1 or v2, and our name of each of its layers by number."""
    third = next((layer for layer in graph.layers if layer.distance == 3), None)
    if third is None:
        raise ModelError(f"{origin} is no MobileNet: it has {len(graph.layers)} convolutions")
    kind = "mobilenetv2" if third.activation == "none" else "mobilenetv1"
    pairs = range(1, len(mobilenetv1.PAIRS) + 1)
    of_v1 = ["conv0", *(name for number in pairs for name in (f"conv{number}_dw", f"conv{number}"))]
    names = layer_names() if kind == "mobilenetv2" else of_v1
    for number, layer in enumerate(graph.layers):
        before = graph.before(number)
        if layer.distance == len(names) == len(before) + 1:
            order = sorted((*before, number), key=lambda place: graph.layers[place].distance)
            return kind, dict(zip(order, names, strict=True))
    raise ModelError(f"{origin} has no chain of {len(names)} convolutions from the image, as {kind} has")


class _Reader:
    """Gives every layer of one graph its place.

    Attributes:
        laterals: layers of a feature pyramid on the backbone's maps, fine before coarse; none without one.
        state: tensors under our names, so far.
    """

    def __init__(self, graph: GraphLayers, facts: DetectorFacts, backbone: str, names: Mapping[int, str]) -> None:
        self.graph, self.facts, self.backbone, self.names = graph, facts, backbone, names
        self.state: dict[str, Tensor] = {}
        for number, name in names.items():
            self._block(f"backbone.{name}", graph.layers[number])
        heads = {*graph.location, *graph.confidence}
        self.others = sorted(set(range(len(graph.layers))) - set(names) - heads, key=self._distance)
        coarsest = max(names, key=self._distance)
        inside = [number for number in self.others if set() < self._layer(number).feeds <= set(names)]
        pointwise = [number for number in inside if self._layer(number).kernel == 1 and not self._activated(number)]
        self.laterals = sorted(pointwise, key=lambda number: max(map(self._distance, self._layer(number).feeds)))
        if self.laterals and coarsest not in self._layer(self.laterals[-1]).feeds:
            raise ModelError(f"{facts.origin}: a feature pyramid that does not begin at the last map of {backbone}")

    def single_maps(self) -> Found:
        """A detector with heads of each map."""
        sources, lite = self._heads()
        extras = self._extras(lite=lite)
        known = {number: self._tap(number) for number in self.names} | extras
        names = tuple(self._known(known, source) for source in sources)
        for place, name in enumerate(names):
            for kind, number, rows in self._head_layers(place):
                target = f"heads.{kind}.{name}"
                if lite:
                    self._block(f"{target}.depthwise", self._layer(self._depthwise(number)))
                    target = f"{target}.pointwise"
                self._plain(target, rows)
        blocks = tuple(self._extra_block(name.removesuffix("_2"), lite=lite) for name in extras.values())
        kernel = self._layer(self._depthwise(self.graph.location[0]) if lite else self.graph.location[0]).kernel
        return self._spec(names, blocks, lite=lite, kernel=kernel), self.state

    def pyramid(self) -> Found:
        """A detector with a feature pyramid and shared heads (FPNLite)."""
        fine_names = [self._tap(max(self._layer(number).feeds, key=self._distance)) for number in self.laterals]
        for name, number in zip(fine_names, self.laterals, strict=True):
            self._plain(f"pyramid.lateral.{name}", self._layer(number))
        by_map = {self.laterals[-1]: fine_names[-1]}
        pairs = self._separable_pairs()
        above = self.laterals[-1]
        for name, lateral in list(zip(fine_names, self.laterals, strict=True))[-2::-1]:
            smooth = next((pair for pair in pairs if self._layer(pair[0]).feeds == {lateral, above}), None)
            if smooth is None:
                raise ModelError(f"{self.facts.origin}: a feature pyramid whose map at {name} is not smoothed")
            self._separable(f"pyramid.smooth.{name}", *smooth)
            above = smooth[1]
            by_map[above] = name
        extras: list[str] = []
        last = self.laterals[-1]
        while following := next((pair for pair in pairs if self._is_extra(pair, last)), None):
            extras.append(f"extra{len(extras) + 1}")
            self._separable(f"extras.{extras[-1]}_2", *following)
            last = following[1]
            by_map[last] = f"{extras[-1]}_2"
        towers = [self._tower(place, by_map) for place in range(len(self.graph.location))]
        names = tuple(self._known(by_map, source) for source, _ in towers)
        self._shared(names, [tower for _, tower in towers])
        channels = self._layer(self.laterals[-1]).outputs
        depth, outputs = len(towers[0][1]), self._layer(towers[0][1][-1][1]).outputs
        blocks = tuple(
            ExtraBlock(name, 0, round(channels / self._width), stride=2, tensorflow_padding=True) for name in extras
        )
        spec = self._spec(names, blocks, lite=True, kernel=self._layer(self._depthwise(self.graph.location[0])).kernel)
        return replace(
            spec, fusion=Fusion(PYRAMID, channels=channels), shared_head=SharedHead(outputs, depth)
        ), self.state

    def _spec(self, sources: tuple[str, ...], extras: tuple[ExtraBlock, ...], *, lite: bool, kernel: int) -> ModelSpec:
        """The specification, but for its name and with default boxes that are only counted."""
        counts = [self._layer(number).outputs // 4 for number in self.graph.location]
        stem = self._layer(min(self.names, key=self._distance))
        relu6 = stem.activation if stem.activation != "none" else "relu"
        return ModelSpec(
            name=self.backbone,
            backbone=self.backbone,
            input_size_hw=self.facts.input_size_hw,
            class_names=tuple(name for name in self.facts.class_names if name is not None),
            sources=sources,
            boxes=BoxSpec(tuple(MapBoxes((), (), (), sizes_wh=((1.0, 1.0),) * count) for count in counts)),
            extras=extras,
            preprocess=self.facts.preprocess,
            postprocess=self.facts.postprocess,
            separable=lite,
            head_kernel=kernel,
            width=self._width,
            compatibility=Compatibility(
                tensorflow_padding=True, activation=relu6, lite_activation=relu6, lite_norm=not lite
            ),
        )

    @property
    def _width(self) -> float:
        """What the backbone's channels are multiplied by."""
        stem = self._layer(min(self.names, key=self._distance)).outputs
        return stem / (MobileNetV2.STEM_CHANNELS if self.backbone == "mobilenetv2" else mobilenetv1.STEM)

    def _heads(self) -> tuple[list[int], bool]:
        """The layer that gives each source map, and whether the heads are separable."""
        first = self._depthwise(self.graph.location[0])
        lite = self._layer(first).depthwise and first not in self.names
        sources = [self._depthwise(self._depthwise(number) if lite else number) for number in self.graph.location]
        return sources, lite

    def _extras(self, *, lite: bool) -> dict[int, str]:
        """Carries the extra maps over; returns the name of each by the number of its layer."""
        in_heads = {self._depthwise(number) for number in (*self.graph.location, *self.graph.confidence) if lite}
        chain = [number for number in self.others if number not in in_heads]
        parts = ("_1", "_2.depthwise", "_2.pointwise") if lite else ("_1", "_2")
        if len(chain) % len(parts):
            raise ModelError(
                f"{self.facts.origin} has {len(chain)} layers between {self.backbone} and its heads, expected "
                f"{len(parts)} for each extra map"
            )
        extras: dict[int, str] = {}
        for place, number in enumerate(chain):
            block, part = divmod(place, len(parts))
            name = f"conv{14 + block}" if self.backbone == "mobilenetv1" else f"extra{1 + block}"
            self._block(f"extras.{name}{parts[part]}", self._layer(number))
            if part == len(parts) - 1:
                extras[number] = f"{name}_2"
        return extras

    def _extra_block(self, name: str, *, lite: bool) -> ExtraBlock:
        weights = [self.state[f"extras.{name}_1.convolution.weight"]]
        last = f"extras.{name}_2.pointwise" if lite else f"extras.{name}_2"
        weights.append(self.state[f"{last}.convolution.weight"])
        squeeze, channels = (round(len(weight) / self._width) for weight in weights)
        return ExtraBlock(name, squeeze, channels, stride=2, tensorflow_padding=True)

    def _head_layers(self, place: int) -> list[tuple[str, int, Layer]]:
        """The two predictors of a map: our name, the layer's number, and the layer with rows in our order."""
        location, confidence = self.graph.location[place], self.graph.confidence[place]
        boxes = self._layer(location).outputs // 4
        return [
            ("location", location, _rows(self._layer(location), boxes, _TO_XYWH, self.facts.origin)),
            ("confidence", confidence, _rows(self._layer(confidence), boxes, self.facts.columns, self.facts.origin)),
        ]

    def _separable_pairs(self) -> list[tuple[int, int]]:
        """Depthwise layers and the pointwise ones that follow them, outside the backbone, fine before coarse."""
        pairs = []
        for number in self.others:
            feeds = self._layer(number).feeds
            if len(feeds) == 1 and self._layer(next(iter(feeds))).depthwise and not self._layer(number).depthwise:
                pairs.append((next(iter(feeds)), number))
        return pairs

    def _is_extra(self, pair: tuple[int, int], last: int) -> bool:
        depthwise = self._layer(pair[0])
        return depthwise.stride == 2 and depthwise.feeds == {last}

    def _tower(self, place: int, by_map: Mapping[int, str]) -> tuple[int, list[tuple[int, int]]]:
        """The source map of a head, and the separable layers between, first one first."""
        tower: list[tuple[int, int]] = []
        number = self._depthwise(self._depthwise(self.graph.location[place]))
        while number not in by_map:
            depthwise = self._depthwise(number)
            tower.insert(0, (depthwise, number))
            feeds = self._layer(depthwise).feeds
            if len(feeds) != 1:
                raise ModelError(f"{self.facts.origin}: the head of map {place + 1} has no source map")
            (number,) = feeds
        return number, tower

    def _shared(self, names: Sequence[str], towers: Sequence[Sequence[tuple[int, int]]]) -> None:
        """Carries shared heads over: filters of the first map, and a scale and a bias of each map."""
        if len({len(tower) for tower in towers}) != 1 or not towers[0]:
            raise ModelError(f"{self.facts.origin}: heads of {[len(tower) for tower in towers]} layers are not shared")
        for level, (depthwise, pointwise) in enumerate(towers[0]):
            base = self._layer(pointwise)
            self.state[f"heads.tower.{level}.depthwise.weight"] = self._unbiased(depthwise)
            self.state[f"heads.tower.{level}.pointwise.weight"] = torch.from_numpy(base.weight)
            for name, tower in zip(names, towers, strict=True):
                self._require_same(depthwise, tower[level][0])
                layer = self._layer(tower[level][1])
                norm = f"heads.norms.{name}.{level}"
                self.state[f"{norm}.weight"] = torch.from_numpy(_scales(layer, base, self.facts.origin))
                self.state[f"{norm}.bias"] = torch.from_numpy(layer.bias)
        for place in range(len(names)):
            for kind, number, rows in self._head_layers(place):
                depthwise = self._depthwise(number)
                if place == 0:
                    self.state[f"heads.{kind}.depthwise.weight"] = self._unbiased(depthwise)
                    self._plain(f"heads.{kind}.pointwise", rows)
                first = self.graph.location[0] if kind == "location" else self.graph.confidence[0]
                self._require_same(self._depthwise(first), depthwise)
                self._require_same(first, number)

    def _require_same(self, first: int, other: int) -> None:
        a, b = self._layer(first).weight, self._layer(other).weight
        if a.shape != b.shape or np.abs(a - b).max() > SHARED_DIFFERENCE * np.abs(a).max():
            raise ModelError(f"{self.facts.origin}: heads of a feature pyramid that are not shared between its maps")

    def _unbiased(self, number: int) -> Tensor:
        layer = self._layer(number)
        if not layer.depthwise or layer.bias.any() or layer.activation != "none":
            raise ModelError(f"{self.facts.origin}: a shared head whose layers are no plain separable convolutions")
        return torch.from_numpy(layer.weight)

    def _separable(self, target: str, depthwise: int, pointwise: int) -> None:
        self._block(f"{target}.depthwise", self._layer(depthwise))
        self._block(f"{target}.pointwise", self._layer(pointwise))

    def _block(self, target: str, layer: Layer) -> None:
        self._plain(f"{target}.convolution", layer)

    def _plain(self, target: str, layer: Layer) -> None:
        self.state[f"{target}.weight"] = torch.from_numpy(layer.weight)
        self.state[f"{target}.bias"] = torch.from_numpy(layer.bias)

    def _layer(self, number: int) -> Layer:
        return self.graph.layers[number]

    def _distance(self, number: int) -> int:
        return self.graph.layers[number].distance

    def _activated(self, number: int) -> bool:
        return self._layer(number).activation != "none"

    def _depthwise(self, pointwise: int) -> int:
        """The only layer that feeds this one."""
        feeds = self._layer(pointwise).feeds
        if len(feeds) != 1:
            raise ModelError(f"{self.facts.origin}: {len(feeds)} layers feed a head's convolution, expected one")
        return next(iter(feeds))

    def _tap(self, number: int) -> str:
        """Our name of the map that a layer of the backbone gives."""
        block, _, part = self.names[number].partition(".")
        return {"expand": f"{block}_expand", "project": block}.get(part, block)

    def _known(self, names: Mapping[int, str], number: int) -> str:
        if number not in names:
            raise ModelError(f"{self.facts.origin}: a head on a map that no network here has")
        return names[number]


def _rows(layer: Layer, boxes: int, columns: Sequence[int], origin: str) -> Layer:
    """The layer with these columns of each box alone, in this order; -1 is a column of zeros."""
    if boxes < 1 or layer.outputs % boxes or max(columns) >= layer.outputs // boxes:
        raise ModelError(
            f"{origin}: {layer.outputs} filters of a head do not fit {boxes} boxes of {max(columns) + 1} columns"
        )
    count = layer.outputs // boxes
    places = [box * count + column if column >= 0 else layer.outputs for box in range(boxes) for column in columns]
    weight = np.concatenate([layer.weight, np.zeros_like(layer.weight[:1])])[places]
    bias = np.append(layer.bias, np.float32(0))[places]
    return replace(layer, weight=weight, bias=bias)


def _scales(layer: Layer, base: Layer, origin: str) -> Float32[np.ndarray, " C"]:
    """The factor of each filter of a layer over the same one of another map: least squares.

    Raises:
        ModelError: the filters are not proportional.
    """
    of_layer, of_base = (each.weight.reshape(each.outputs, -1).astype(np.float64) for each in (layer, base))
    if of_layer.shape != of_base.shape:
        raise ModelError(f"{origin}: heads of a feature pyramid with {of_layer.shape} and {of_base.shape} filters")
    scales = (of_layer * of_base).sum(axis=1) / np.maximum((of_base**2).sum(axis=1), np.finfo(np.float64).tiny)
    if np.abs(of_layer - scales[:, None] * of_base).max() > SHARED_DIFFERENCE * np.abs(of_layer).max():
        raise ModelError(f"{origin}: heads of a feature pyramid that are not shared between its maps")
    return scales.astype(np.float32)  # type: ignore[no-any-return]
