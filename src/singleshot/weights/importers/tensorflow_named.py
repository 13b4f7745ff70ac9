"""SSD MobileNetV1 as named tensors without a graph, as face-api stores its face detector.

Names are those of TensorFlow's Object Detection API. Batch normalisation is folded into all convolutions but the
depthwise ones; strides, padding, ReLU6, the box coder and the sigmoid of the scores are what these names stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from singleshot.errors import ModelError
from singleshot.models.mobilenetv1 import PAIRS
from singleshot.shapes import Float32
from singleshot.spec import Postprocess, Preprocess
from singleshot.weights.importers.tensorflow_layers import GraphLayers, Layer

VARIANCES = (0.1, 0.1, 0.2, 0.2)
"""Of the box coder, x, y, width, height: they stand in the program, not in the file."""
POSTPROCESS = Postprocess(nms_threshold=0.5, top_k=-1, keep_top_k=100, scores="sigmoid")
ASSUMED = (
    "box coder of 10, 10, 5, 5, sigmoid scores behind a column of background, NMS at an IoU of 0.5, at most 100 "
    "detections, as face-api has: not in the file"
)
FITTED = "images are resized to the input, where face-api pads them to a square: boxes differ where they are oblong"
EPSILON = np.float64(np.float32(0.001))
"""Of batch normalisation."""
SOURCES = (10, 12)
"""Pairs of the backbone, from 0, whose results have heads."""
LARGEST_SIDE = 8192
"""Of an input, pixels."""
_ANCHORS, _SIZE = "Output/extra_dim", "Preprocessor/ResizeImage/size"
_FACTOR, _SHIFT = "Preprocessor/mul/x", "Preprocessor/sub/y"


@dataclass(frozen=True, eq=False)
class NamedDetector:
    """What the tensors say.

    Attributes:
        layers: of the network.
        input_size_hw: height and width of its input.
        preprocess: from pixels to its input.
        anchors: default boxes, xyxy as fractions of the image.
        columns: of the scores, background first.
    """

    layers: GraphLayers
    input_size_hw: tuple[int, int]
    preprocess: Preprocess
    anchors: Float32[np.ndarray, "K 4"]
    columns: int


def read_named(tensors: Mapping[str, np.ndarray], origin: str) -> NamedDetector:
    """Give every tensor its place.

    Raises:
        ModelError: one is missing, has another shape than its place, or is left over; says which.
    """
    return _Reader(tensors, origin).read()


class _Reader:
    """Builds the layers; `left` are the names that have no place yet."""

    def __init__(self, tensors: Mapping[str, np.ndarray], origin: str) -> None:
        self.tensors, self.origin = tensors, origin
        self.left = set(tensors)
        self.layers: list[Layer] = []

    def read(self) -> NamedDetector:
        last, sources = self._backbone()
        while f"Prediction/Conv2d_{2 * (len(sources) - len(SOURCES))}_pointwise/weights" in self.tensors:
            first = 2 * (len(sources) - len(SOURCES))
            squeeze = self._folded(f"Prediction/Conv2d_{first}_pointwise", last)
            last = self._folded(f"Prediction/Conv2d_{first + 1}_pointwise", squeeze, stride=2)
            sources.append(last)
        heads = [
            [self._head(f"Prediction/BoxPredictor_{place}/{kind}", source) for place, source in enumerate(sources)]
            for kind in ("BoxEncodingPredictor", "ClassPredictor")
        ]
        size, factor, shift = self._size(), self._number(_FACTOR), self._number(_SHIFT)
        if not 0 < factor < 1e6 or not abs(shift) < 1e6:
            raise ModelError(f"{self.origin}: pixels are multiplied by {factor:g}, less {shift:g}: no preparation")
        anchors = self._tensor(_ANCHORS, "1 K 4")[0][:, [1, 0, 3, 2]]
        self._require_all()
        return NamedDetector(
            GraphLayers(tuple(self.layers), tuple(heads[0]), tuple(heads[1])),
            size,
            Preprocess((round(shift / factor, 4),) * 3, (round(1 / factor, 4),) * 3, "rgb"),
            np.ascontiguousarray(anchors, np.float32),
            self._columns(heads),
        )

    def _backbone(self) -> tuple[int, list[int]]:
        """The last layer, and those that have heads."""
        last, sources = self._folded("MobilenetV1/Conv2d_0_pointwise", None, stride=2), []
        for place, (_, stride) in enumerate(PAIRS):
            last = self._depthwise(f"MobilenetV1/Conv2d_{place + 1}_depthwise", last, stride)
            last = self._folded(f"MobilenetV1/Conv2d_{place + 1}_pointwise", last)
            sources += [last] if place in SOURCES else []
        return last, sources

    def _folded(self, name: str, feed: int | None, *, stride: int = 1) -> int:
        return self._convolution(name, "convolution_bn_offset", feed, stride, "relu6")

    def _head(self, name: str, feed: int) -> int:
        return self._convolution(name, "biases", feed, 1, "none")

    def _convolution(self, name: str, bias: str, feed: int | None, stride: int, activation: str) -> int:
        weight = self._tensor(f"{name}/weights", "h w I O").transpose(3, 2, 0, 1)
        inputs = 3 if feed is None else self.layers[feed].outputs
        if weight.shape[1] != inputs:
            raise ModelError(f"{self.origin}: {name}/weights takes {weight.shape[1]} channels, it gets {inputs}")
        offsets = self._vector(f"{name}/{bias}", len(weight))
        return self._add(weight, offsets, feed, stride, activation)

    def _depthwise(self, name: str, feed: int, stride: int) -> int:
        weight = self._tensor(f"{name}/depthwise_weights", "h w O 1").transpose(2, 3, 0, 1)
        count = self.layers[feed].outputs
        if weight.shape[:2] != (count, 1):
            raise ModelError(f"{self.origin}: {name}/depthwise_weights has {weight.shape[0]} filters, expected {count}")
        gamma, beta, mean, variance = (
            self._vector(f"{name}/BatchNorm/{part}", count).astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        if variance.min() < 0:
            raise ModelError(f"{self.origin}: {name}/BatchNorm/moving_variance is negative")
        scale = gamma / np.sqrt(variance + EPSILON)
        return self._add(weight * scale[:, None, None, None], beta - mean * scale, feed, stride, "relu6")

    def _add(self, weight: np.ndarray, bias: np.ndarray, feed: int | None, stride: int, activation: str) -> int:
        distance = 1 if feed is None else self.layers[feed].distance + 1
        filters = np.ascontiguousarray(weight, np.float32)
        feeds = frozenset[int]() if feed is None else frozenset({feed})
        depthwise = len(self.layers) > 0 and filters.shape[1] == 1 and activation != "none"
        self.layers.append(Layer(filters, bias.astype(np.float32), depthwise, stride, activation, distance, feeds))
        return len(self.layers) - 1

    def _columns(self, heads: list[list[int]]) -> int:
        """Scores a box: the same in each map."""
        pairs = [
            (self.layers[boxes].outputs, self.layers[scores].outputs) for boxes, scores in zip(*heads, strict=True)
        ]
        (boxes, scores) = pairs[0]
        columns = int(4 * scores // boxes)
        if columns < 2 or any(boxes % 4 or scores != boxes // 4 * columns for boxes, scores in pairs):
            raise ModelError(f"{self.origin}: heads of {pairs} filters, expected 4 a box and 2 or more scores a box")
        return columns

    def _size(self) -> tuple[int, int]:
        height, width = (int(side) for side in self._vector(_SIZE, 2))
        if not 1 <= min(height, width) <= max(height, width) <= LARGEST_SIDE:
            raise ModelError(f"{self.origin}: an input of {width}x{height}, expected sides of 1 .. {LARGEST_SIDE:,}")
        return height, width

    def _number(self, name: str) -> float:
        return float(self._tensor(name, ""))

    def _vector(self, name: str, count: int) -> np.ndarray:
        values = self._tensor(name, "n")
        if len(values) != count:
            raise ModelError(f"{self.origin}: {name} has {len(values)} numbers, expected {count}")
        return values

    def _tensor(self, name: str, axes: str) -> np.ndarray:
        """A tensor with these axes; `1` is one of length 1."""
        if name not in self.tensors:
            raise ModelError(f"{self.origin} holds no tensor {name}: it is no SSD MobileNetV1 as face-api stores it")
        values, sides = self.tensors[name], axes.split()
        fits = values.ndim == len(sides) and all(
            side > 0 and (axis != "1" or side == 1) for side, axis in zip(values.shape, sides, strict=True)
        )
        if not fits or (sides[:2] == ["h", "w"] and values.shape[0] != values.shape[1]):
            raise ModelError(f"{self.origin}: {name} has the shape {list(values.shape)}, expected [{', '.join(sides)}]")
        self.left.discard(name)
        return values

    def _require_all(self) -> None:
        """Refuse weights without a place; numbers of the decoding that TensorFlow left there have none."""
        left = sorted(name for name in self.left if self.tensors[name].dtype.kind == "f")
        if left:
            raise ModelError(f"{self.origin} holds {left[0][:80]!r}, which no SSD MobileNetV1 here has")
