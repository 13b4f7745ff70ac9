"""A Caffe network description as a graph: layers by name, who makes and who changes which blob."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from singleshot.errors import ModelError
from singleshot.weights.importers.caffe_proto import Message

# The old format's enumeration (V1LayerParameter.LayerType) in text files.
_OLD_KINDS = {
    "CONVOLUTION": "Convolution",
    "RELU": "ReLU",
    "POOLING": "Pooling",
    "INNER_PRODUCT": "InnerProduct",
    "CONCAT": "Concat",
    "FLATTEN": "Flatten",
    "SOFTMAX": "Softmax",
    "DROPOUT": "Dropout",
    "SPLIT": "Split",
}
_CONVOLUTIONS = {"Convolution", "DepthwiseConvolution", "ConvolutionDepthwise"}
_PASSING = {"Permute", "Flatten", "Reshape", "Softmax", "Split", "Dropout"}
_KNOWN = {
    "Input", "ReLU", "Pooling", "Normalize", "BatchNorm", "Scale", "PriorBox", "Concat", "DetectionOutput",
    "MultiBoxLoss", "Eltwise",
    *_CONVOLUTIONS, *_PASSING,
}  # fmt: skip
_TRAINING_ONLY = {"AnnotatedData", "Data", "DetectionEvaluate", "Silence", "SoftmaxWithLoss", "Accuracy"}


@dataclass(frozen=True)
class Layer:
    """One layer of the description."""

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Message

    @property
    def in_place(self) -> bool:
        """Whether it overwrites its input (ReLU, BatchNorm and Scale usually do)."""
        return bool(self.bottoms) and self.bottoms[:1] == self.tops[:1]


class Geometry(NamedTuple):
    """What a convolution or a pooling does, under Caffe's names."""

    num_output: int
    kernel_size: int
    stride: int
    pad: int
    dilation: int
    group: int


def geometry(layer: Layer) -> Geometry:
    """The settings of a convolution or a pooling layer, with Caffe's defaults.

    Raises:
        ModelError: a setting that differs between height and width.
    """
    kind = "pooling_param" if layer.kind == "Pooling" else "convolution_param"
    settings = layer.message.message(kind)

    def side(name: str, usual: int) -> int:
        stem = name.removesuffix("_size")
        sizes = settings.numbers(name) or [settings.number(f"{stem}_{axis}", usual) for axis in "hw"]
        if len(set(sizes)) > 1:
            raise ModelError(f"{layer.name} has {name} {sizes[0]:g} down and {sizes[1]:g} across, expected one number")
        return int(sizes[0])

    return Geometry(
        int(settings.number("num_output", 0)),
        side("kernel_size", 0),
        side("stride", 1),
        side("pad", 0),
        side("dilation", 1),
        int(settings.number("group", 1)),
    )


class Graph:
    """The layers of a network.

    Raises:
        ModelError: a layer of a kind that is not known, or two of one name.
    """

    def __init__(self, net: Message, origin: str) -> None:
        self.net = net
        self.origin = origin
        self.layers: dict[str, Layer] = {}
        self._makers: dict[str, Layer] = {}
        for message in (*net.messages("layer"), *net.messages("layers")):
            kind = message.text("type")
            layer = Layer(
                message.text("name"),
                _OLD_KINDS.get(kind, kind),
                tuple(message.texts("bottom")),
                tuple(message.texts("top")),
                message,
            )
            if layer.kind in _TRAINING_ONLY:
                continue
            if layer.kind not in _KNOWN:
                raise ModelError(
                    f"{origin}: layer {layer.name!r} is of kind {layer.kind!r}, which is not known; "
                    f"known are {', '.join(sorted(_KNOWN))}"
                )
            if layer.name in self.layers:
                raise ModelError(f"{origin} has two layers {layer.name!r}")
            self.layers[layer.name] = layer
            if not layer.in_place:
                self._makers.update(dict.fromkeys(layer.tops, layer))

    def of_kind(self, *kinds: str) -> list[Layer]:
        """All layers of these kinds, in order."""
        return [layer for layer in self.layers.values() if layer.kind in kinds]

    @property
    def convolutions(self) -> list[Layer]:
        """All convolutions, in order."""
        return self.of_kind(*_CONVOLUTIONS)

    @property
    def detector(self) -> Layer:
        """The layer that takes locations, confidences and default boxes: DetectionOutput, or MultiBoxLoss in training.

        Raises:
            ModelError: there is none, or more than one.
        """
        layers = self.of_kind("DetectionOutput") or self.of_kind("MultiBoxLoss")
        if len(layers) != 1 or len(layers[0].bottoms) < 3:
            raise ModelError(
                f"{self.origin} must have one DetectionOutput (or MultiBoxLoss) layer with locations, confidences and "
                f"default boxes; it has {[layer.name for layer in layers]}"
            )
        return layers[0]

    def maker(self, blob: str) -> Layer:
        """The layer that makes a blob (not those that change it in place).

        Raises:
            ModelError: nobody does.
        """
        if blob not in self._makers:
            raise ModelError(f"{self.origin}: no layer makes the blob {blob!r}")
        return self._makers[blob]

    def changes(self, blob: str, kind: str) -> Layer | None:
        """The layer of this kind that changes a blob in place, if any."""
        return next((layer for layer in self.of_kind(kind) if layer.in_place and layer.bottoms[0] == blob), None)

    def source(self, blob: str) -> Layer:
        """The layer behind a blob, looking through layers that only rearrange or squash values."""
        layer = self.maker(blob)
        for _ in range(len(self.layers)):
            if layer.kind not in _PASSING:
                break
            layer = self.maker(layer.bottoms[0])
        return layer

    def joined(self, blob: str) -> list[Layer]:
        """What a Concat behind a blob joins, in order, each looked through as in `source`."""
        concat = self.source(blob)
        if concat.kind != "Concat":
            return [concat]
        return [self.source(bottom) for bottom in concat.bottoms]
