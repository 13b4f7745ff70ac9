"""A detector of TensorFlow's as OpenVINO reads it, cut before its own decoding and NMS: `.tflite`, `.pb`, SavedModel.

What its parts are is read off the graph, never off names: scores are what a sigmoid or softmax without a convolution
behind it gives; boxes are what the exponential of their sizes is taken of; the image is where the way from the first
convolution to the input stops being arithmetic. Default boxes and the coder's scales come from running the decoding.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from singleshot.boxes import cxcywh_to_xyxy
from singleshot.errors import ModelError, RequestError
from singleshot.graphs.graph_def import frozen_graph
from singleshot.graphs.graph_files import require_graph
from singleshot.graphs.graph_walk import (
    before,
    comes_from,
    downstream,
    leads_to,
    length_of,
    parameters_of,
    shape_of,
    variable_inputs,
)
from singleshot.graphs.tfjs import TFJSWeights
from singleshot.graphs.tflite import TFLiteFile, read_tflite
from singleshot.runtime.openvino_core import core, openvino, opset9
from singleshot.shapes import Float32, UInt8
from singleshot.spec import Postprocess, Preprocess

PIXELS = Preprocess((127.5,) * 3, (127.5,) * 3, "rgb")
"""What TensorFlow's MobileNets take, where a file does not say: pixels / 127.5 - 1."""
DEFAULT_SCALES = (10.0, 10.0, 5.0, 5.0)
"""Of the box coder, y, x, height, width: TensorFlow's, where a file does not say."""
DEFAULT_LIMITS = Postprocess(nms_threshold=0.6, keep_top_k=100)
ASSUMED = "NMS at an IoU of 0.6, at most 100 detections, as TensorFlow's detectors have: not read from the file"
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_ARITHMETIC = ("Add", "Subtract", "Multiply", "Divide", "Convert", "ConvertLike", "Transpose", "FakeQuantize", "Pad")
AFFINE = {"Add": opset9.add, "Subtract": opset9.subtract, "Multiply": opset9.multiply, "Divide": opset9.divide}
LARGEST_DIFFERENCE = 1e-3
"""Of a score before its activation from the whole graph's, relative where that exceeds 1: float32 of another order."""
_ROUNDING = ("Convert", "FakeQuantize")
_SHAPING = ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Convert", "FakeQuantize")


@dataclass(frozen=True, eq=False)
class DetectorGraph:
    """A detector's graph and what it says of itself.

    Attributes:
        model: takes `images` (1, H, W, 3), 8-bit RGB of the input size; gives `offsets` (1, K, 4), in the coder's
            order y, x, height, width, and `scores` (1, K, C) before the activation.
        input_size_hw: height and width of its input.
        preprocess: from pixels to the first layer; it is part of the model, too.
        anchors: the default boxes, xyxy as fractions of the image; None where the file has none.
        rounding: by how much they may have been rounded when the file was quantised, fractions of the image.
        variances: of the box coder, x, y, width, height.
        background: whether the first column of the scores is the background's.
        columns: C.
        postprocess: thresholds, limits and the activation of the scores.
        labels: lines of a label file inside the file; None where there is none.
        remarks: what was guessed or converted, a line each.
        origin: file, for messages.
    """

    model: openvino.Model
    input_size_hw: tuple[int, int]
    preprocess: Preprocess
    anchors: Float32[np.ndarray, "K 4"] | None
    rounding: float
    variances: tuple[float, float, float, float]
    background: bool
    columns: int
    postprocess: Postprocess
    labels: tuple[str, ...] | None
    remarks: tuple[str, ...]
    origin: str

    @property
    def num_labels(self) -> int:
        """How many ids the scores have beside background, ids that no class has included."""
        return self.columns - self.background

    @property
    def boxes(self) -> int:
        """K."""
        return int(self.model.outputs[0].shape[1])

    def run(self, image: UInt8[np.ndarray, "H W 3"]) -> tuple[Float32[np.ndarray, "K 4"], Float32[np.ndarray, "K C"]]:
        """Offsets and scores before the activation, of an RGB image of the input size."""
        results = _compiled(self.model)(image[None])
        return np.array(results[0])[0], np.array(results[1])[0]


def read_detector_graph(
    path: Path, *, size_hw: tuple[int, int] | None = None, tfjs: TFJSWeights | None = None
) -> DetectorGraph:
    """Read a `.tflite` file, a frozen `.pb`, a SavedModel folder or a graph of TensorFlow.js.

    Args:
        path: which.
        size_hw: input size, where the graph takes images of any.
        tfjs: what a `model.json` holds.

    Raises:
        RequestError: the size is not the graph's, or it says none. ModelError: it is damaged, or no SSD.
    """
    try:
        if path.suffix == ".tflite":
            graph = _of_tflite(read_tflite(path), str(path))
        elif tfjs is not None:
            graph = _of_tfjs(tfjs, size_hw, str(path))
        else:
            require_graph(path)
            graph = graph_of_model(_read(path, str(path)), size_hw, str(path))
    except (
        RuntimeError,
        ValueError,
        IndexError,
        ArithmeticError,
    ) as error:  # OpenVINO's, of a graph unlike any detector's
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(f"{path} is built in a way that is not read: {reason}") from error
    if size_hw is not None and size_hw != graph.input_size_hw:
        height, width = graph.input_size_hw
        raise RequestError(f"{path} takes images of {width}x{height}: leave --size out")
    return graph


def evaluate(outputs: Sequence[openvino.Output]) -> list[np.ndarray]:
    """The values of outputs of a graph that depend on none of its inputs."""
    model = openvino.Model([opset9.result(output) for output in outputs], parameters_of(outputs), "constants")
    zeros = [np.zeros(tuple(port.shape), port.element_type.to_dtype()) for port in model.inputs]
    results = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(zeros)
    return [np.array(results[place]) for place in range(len(outputs))]


def _of_tfjs(file: TFJSWeights, size_hw: tuple[int, int] | None, origin: str) -> DetectorGraph:
    content = frozen_graph(file.topology or {}, file.tensors, origin)
    with tempfile.TemporaryDirectory(prefix="singleshot-") as folder:  # as for .tflite
        frozen = Path(folder) / "frozen.pb"
        frozen.write_bytes(content)
        graph = graph_of_model(_read(frozen, origin), size_hw, origin)
    return replace(graph, rounding=file.rounding, remarks=(*file.remarks, *graph.remarks))


def _of_tflite(file: TFLiteFile, origin: str) -> DetectorGraph:
    with tempfile.TemporaryDirectory(prefix="singleshot-") as folder:  # OpenVINO reads this format from a file only
        cut = Path(folder) / "cut.tflite"
        cut.write_bytes(file.content)
        model = _read(cut, origin)
    results = [before(result.input(0).get_source_output(), _ROUNDING) for result in model.get_results()]
    boxes, scores = _heads(results, origin)
    scores, activation = _before_activation(scores)
    remarks = [] if not file.weights else [file.weights]
    preprocess = PIXELS
    if file.input_scale is not None:
        scale, zero = file.input_scale
        preprocess = Preprocess((zero,) * 3, (1 / scale,) * 3, "rgb")
    else:
        remarks.append("pixels / 127.5 - 1, as TensorFlow's detectors take them: the file does not say")
    options, postprocess = (
        file.post_process,
        replace(DEFAULT_LIMITS, scores=activation or "sigmoid"),
    )
    scales, background, columns = DEFAULT_SCALES, True, length_of(scores, -1)
    if options is not None:
        scales = (options.y_scale, options.x_scale, options.h_scale, options.w_scale)
        background = columns == options.num_classes + 1
        _require_fit(file, boxes, columns, origin)
        postprocess = replace(
            postprocess,
            nms_threshold=options.nms_iou_threshold,
            keep_top_k=options.max_detections,
            score_threshold=max(options.nms_score_threshold, Postprocess.score_threshold),
            top_k=-1,
            across_classes=not options.use_regular_nms,
        )
    else:
        remarks.append(ASSUMED)
    if options is None and activation is None:
        remarks.append("sigmoid scores whose first column is background, as TensorFlow's have: the file does not say")
    (parameter,) = model.get_parameters()
    return DetectorGraph(
        _with_pixels(parameter, boxes, scores, preprocess),
        file.input_size_hw,
        preprocess,
        None if file.anchors is None else _xyxy(file.anchors),
        file.rounding,
        _variances(scales),
        background,
        columns,
        postprocess,
        file.labels,
        tuple(remarks),
        origin,
    )


def _require_fit(file: TFLiteFile, boxes: openvino.Output, columns: int, origin: str) -> None:
    """Refuse a post-process whose default boxes or classes are not those of the heads."""
    assert file.anchors is not None
    assert file.post_process is not None
    count, classes = length_of(boxes, 1), file.post_process.num_classes
    if len(file.anchors) != count:
        raise ModelError(f"{origin} holds {len(file.anchors)} default boxes, but its heads give {count}")
    if columns not in {classes, classes + 1}:
        raise ModelError(f"{origin} gives {columns} scores a box, its post-process has {classes} classes")


def _heads(results: Sequence[openvino.Output], origin: str) -> tuple[openvino.Output, openvino.Output]:
    """Box encodings (1, K, 4) and class scores (1, K, C) among a graph's results."""
    shapes = [shape_of(result) for result in results]
    boxes = [place for place, shape in enumerate(shapes) if len(shape) == 3 and shape[0] == 1 and shape[2] == 4]
    for place in boxes:
        for other, shape in enumerate(shapes):
            if other != place and len(shape) == 3 and shape[:2] == shapes[place][:2]:
                return results[place], results[other]
    raise ModelError(
        f"{origin} is no SSD: expected box encodings [1, K, 4] and class scores [1, K, C], it gives "
        f"{', '.join(map(str, shapes))}"
    )


def graph_of_model(model: openvino.Model, size_hw: tuple[int, int] | None, origin: str) -> DetectorGraph:
    """A detector from a whole graph with its decoding, as the Object Detection API freezes it; the model is changed.

    Args:
        model: from 8-bit images of any size to boxes and scores.
        size_hw: input size, where the graph does not resize to one.
        origin: file, for messages.

    Raises:
        RequestError: no size. ModelError: it is no SSD; says what was expected.
    """
    whole, nodes = model.clone(), model.get_ordered_ops()
    limits, about_limits = _nms_limits(model)
    image = _image(nodes, origin)
    height, width = _image_size(image, size_hw, origin)
    pixels = opset9.parameter([1, height, width, 3], np.uint8, name="images")
    prepared = _before_resizing(image, opset9.convert(pixels, np.float32).output(0))
    for target in list(image.get_target_inputs()):
        target.replace_source_output(prepared)
    activations = [node for node in nodes if node.get_type_name() in {"Sigmoid", "Softmax"}]
    ends = [node for node in activations if not leads_to(node, _CONVOLUTIONS) and comes_from(node, _CONVOLUTIONS)]
    exponentials = [node for node in nodes if node.get_type_name() == "Exp" and comes_from(node, _CONVOLUTIONS)]
    if len(ends) != 1 or len(exponentials) < 2:
        raise ModelError(
            f"{origin} is no SSD: expected the scores' sigmoid or softmax and the exponential of box sizes, it holds "
            f"{len(ends)} and {len(exponentials)} behind its convolutions"
        )
    scores = _joined(ends[0].input(0).get_source_output())
    boxes = _joined(exponentials[0].input(0).get_source_output())
    shaped = openvino.Model([opset9.result(_rows(boxes, 4)), opset9.result(scores)], [pixels], "heads")
    shaped.validate_nodes_and_infer_types()
    offsets, logits = (result.input(0).get_source_output() for result in shaped.get_results())
    shapes = shape_of(offsets), shape_of(logits)
    if len(shapes[1]) != 3 or shapes[0][1] != shapes[1][1]:
        raise ModelError(f"{origin} is no SSD: boxes {shapes[0]} do not go with class scores {shapes[1]}")
    anchors, scales = _decoded(boxes, exponentials, (1, height, width, 3), origin)
    preprocess = _preprocessing(nodes, origin)
    sizes = replace(limits, scores=ends[0].get_type_name().lower())
    shaped.inputs[0].get_tensor().set_names({"images"})
    graph = DetectorGraph(
        _named(offsets, logits, pixels),
        (height, width),
        preprocess,
        _xyxy(anchors),
        0.0,
        _variances(scales),
        True,
        shapes[1][2],
        sizes,
        None,
        (about_limits, "the first column of scores is taken as background"),
        origin,
    )
    _require_equal(graph, whole, scores.get_node().get_friendly_name())
    return graph


def _before_resizing(image: openvino.Output, pixels: openvino.Output) -> openvino.Output:
    """The sums and products with constants that a graph applies to its input before it resizes it, applied to pixels.

    They commute with resizing, which is linear; the graph is cut behind it. Later ones stay in the graph.
    """
    parameters = parameters_of([image])
    if len(parameters) != 1 or image.get_node().get_type_name() == "Parameter":
        return pixels
    current, prepared = parameters[0].output(0), pixels
    while True:
        followers = [target.get_node() for target in current.get_target_inputs()]
        followers = [node for node in followers if node.get_type_name() in {*AFFINE, "Convert"}]
        if len(followers) != 1 or len(variable_inputs(followers[0])) != 1:
            return prepared
        (node,) = followers
        if node.get_type_name() in AFFINE:
            sources = [port.get_source_output() for port in node.inputs()]
            sides = [prepared if source == current else source for source in sources]
            prepared = AFFINE[node.get_type_name()](*sides).output(0)
        current = node.output(0)


def _require_equal(graph: DetectorGraph, whole: openvino.Model, scores: str) -> None:
    """Refuse a graph that was cut wrongly: its scores, of noise of the input size, are the whole graph's.

    Args:
        graph: what was cut out.
        whole: the graph as it was.
        scores: name of the operation that gives the scores of both, before their activation.

    Raises:
        ModelError: they differ, so that something is done to images that was not understood.
    """
    parameters = whole.get_parameters()
    node = next(node for node in whole.get_ops() if node.get_friendly_name() == scores)
    image = np.random.default_rng(0).integers(0, 256, (*graph.input_size_hw, 3), np.uint8)
    kind = parameters[0].output(0).element_type
    if len(parameters) == 1 and kind != openvino.Type.string:
        part = openvino.Model([opset9.result(node.output(0))], parameters, "scores")
        expected = np.array(_compiled(part)(image[None].astype(kind.to_dtype()))[0])
        apart = np.abs(graph.run(image)[1] - expected.reshape(-1, graph.columns))
        if (apart <= LARGEST_DIFFERENCE * np.maximum(1, np.abs(expected.reshape(-1, graph.columns)))).all():
            return
    raise ModelError(f"{graph.origin} prepares its images in a way that is not known: its scores would be others")


def _nms_limits(model: openvino.Model) -> tuple[Postprocess, str]:
    """The limits of NMS that a graph's own operations have, and what to say of them; the default ones without any.

    The limit of boxes is one class's: TensorFlow's detectors have the same for all classes together.
    """
    limits = set()
    for node in _with_bodies(model):
        if node.get_type_name() == "NonMaxSuppression" and node.get_input_size() == 6:
            values = tuple(_least(node.input(place).get_source_output()) for place in (2, 3, 4))
            limits.add(values)
    if len(limits) != 1:
        return DEFAULT_LIMITS, ASSUMED
    most, iou, score = limits.pop()
    if most is None or iou is None or score is None or most < 1 or not 0 < iou <= 1:
        return DEFAULT_LIMITS, ASSUMED
    lowest = max(round(score, 6), Postprocess.score_threshold)
    settings = Postprocess(lowest, nms_threshold=round(iou, 6), top_k=-1, keep_top_k=int(most))
    return settings, f"NMS at an IoU of {iou:g}, at most {most:g} detections, read from the graph"


def _with_bodies(model: openvino.Model) -> Iterator[Any]:
    """The operations of a graph and of its loops' bodies."""
    for node in model.get_ordered_ops():
        yield node
        if node.get_type_name() in {"Loop", "TensorIterator"}:
            yield from _with_bodies(node.get_function())


def _least(output: openvino.Output) -> float | None:
    """A number that depends on no input, or the least of those in a Minimum; None where there is none."""
    node = output.get_node()
    if not comes_from(node, ("Parameter",)):
        value = evaluate([output])[0]
        return float(value.reshape(-1)[0]) if value.size == 1 else None
    if node.get_type_name() != "Minimum":
        return None
    values = (_least(port.get_source_output()) for port in node.inputs())
    return min((value for value in values if value is not None), default=None)


def _image(nodes: Sequence[Any], origin: str) -> openvino.Output:
    """The resized image: where the way from the first convolution to the input stops being arithmetic."""
    first = next((node for node in nodes if node.get_type_name() in _CONVOLUTIONS), None)
    if first is None:
        raise ModelError(f"{origin} is no SSD: it has no convolution")
    return before(first.input(0).get_source_output(), _ARITHMETIC)


def _image_size(image: openvino.Output, size_hw: tuple[int, int] | None, origin: str) -> tuple[int, int]:
    shape = image.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) != 4:
        raise ModelError(f"{origin} takes {shape}, expected images [1, H, W, 3]")
    sides = [shape[place].get_length() if shape[place].is_static else None for place in (1, 2)]
    if None not in sides:
        return sides[0], sides[1]  # type: ignore[return-value]
    if size_hw is None:
        raise RequestError(f"{origin} takes images of any size: give --size WIDTHxHEIGHT, such as 300x300")
    return size_hw


def _decoded(
    boxes: openvino.Output, exponentials: Sequence[Any], image_shape: tuple[int, ...], origin: str
) -> tuple[Float32[np.ndarray, "K 4"], tuple[float, ...]]:
    """Default boxes (ycenter, xcenter, height, width) and scales of the coder, by decoding zeros and ones."""
    shape = shape_of(boxes)
    offsets = opset9.parameter(shape, np.float32, name="offsets")
    targets = list(boxes.get_target_inputs())
    for target in targets:
        target.replace_source_output(offsets.output(0))
    decoded = _decoding(exponentials, math.prod(shape) // 4)
    if decoded is None:
        raise ModelError(f"{origin} decodes its boxes in a way that is not known")
    parameters = parameters_of([decoded])
    compiled = _compiled(openvino.Model([opset9.result(decoded)], parameters, "decoding"))
    anchors, ones = (
        _centres(np.array(compiled(_inputs(parameters, offsets, np.full(shape, value, np.float32), image_shape))[0]))
        for value in (0, 1)
    )
    for target in targets:
        target.replace_source_output(boxes)
    with np.errstate(all="ignore"):
        shifts = (ones[:, :2] - anchors[:, :2]) / anchors[:, 2:]
        growth = np.log(ones[:, 2:] / anchors[:, 2:])
        scales = 1 / np.median(np.concatenate([shifts, growth], axis=1), axis=0)
    if not np.isfinite(scales).all() or not np.isfinite(anchors).all() or min(scales) <= 0:
        raise ModelError(f"{origin} decodes its boxes in a way that is not known")
    return anchors.astype(np.float32), tuple(round(float(scale), 4) for scale in scales)


def _inputs(
    parameters: Sequence[Any], offsets: Any, values: np.ndarray, image_shape: tuple[int, ...]
) -> list[np.ndarray]:
    """The offsets, and a black image for each other input."""
    name = offsets.get_name()
    return [
        values if parameter.get_name() == name else np.zeros(image_shape, parameter.output(0).element_type.to_dtype())
        for parameter in parameters
    ]


def _decoding(exponentials: Sequence[Any], count: int) -> openvino.Output | None:
    """The first output behind both exponentials that holds all boxes, corners y1, x1, y2, x2."""
    followers = [downstream(node) for node in exponentials[:2]]
    for name, node in followers[0].items():
        if name in followers[1]:
            for output in node.outputs():
                shape = shape_of(output)
                if len(shape) >= 2 and shape[-1] == 4 and shape[-2] in {count, -1}:
                    return output
    return None


def _centres(corners: np.ndarray) -> np.ndarray:
    """Rows y1, x1, y2, x2 as ycenter, xcenter, height, width."""
    corners = corners.reshape(-1, 4)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def _preprocessing(nodes: Sequence[Any], origin: str) -> Preprocess:
    """Mean and standard deviation, by what the first convolution gets of a black and of a white image."""
    first = next(node for node in nodes if node.get_type_name() in _CONVOLUTIONS)
    source = first.input(0).get_source_output()
    pixels = parameters_of([source])
    compiled = core().compile_model(
        openvino.Model([opset9.result(source)], pixels, "pixels"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    shape = tuple(pixels[0].output(0).shape)
    black, white = (np.array(compiled(np.full(shape, level, np.uint8))[0]) for level in (0, 255))
    height, width = black.shape[2] // 2, black.shape[3] // 2
    low, high = black[0, :, height, width].astype(np.float64), white[0, :, height, width].astype(np.float64)
    if low.shape != (3,) or not (high > low).all():
        raise ModelError(f"{origin} prepares its images in a way that is not known")
    deviation = 255 / (high - low)
    values = [tuple(round(float(value), 4) for value in row) for row in (-low * deviation, deviation)]
    return Preprocess(values[0], values[1], "rgb")  # type: ignore[arg-type]


def _with_pixels(
    parameter: Any, boxes: openvino.Output, scores: openvino.Output, preprocess: Preprocess
) -> openvino.Model:
    """The graph with 8-bit images as its input, normalised inside where it takes floats."""
    shape, kind = list(parameter.output(0).shape), parameter.output(0).element_type
    pixels = opset9.parameter(shape, np.uint8, name="images")
    if kind == openvino.Type.f32:
        mean, deviation = (np.array(values, np.float32) for values in (preprocess.mean_rgb, preprocess.std_rgb))
        prepared = opset9.divide(opset9.subtract(opset9.convert(pixels, np.float32), mean), deviation)
    elif kind == openvino.Type.u8:
        prepared = opset9.convert(pixels, np.uint8)
    else:
        floats = opset9.convert(pixels, np.float32)
        prepared = opset9.convert(opset9.subtract(floats, np.float32(128)), kind.to_dtype())
    for target in list(parameter.output(0).get_target_inputs()):
        target.replace_source_output(prepared.output(0))
    return _named(boxes, scores, pixels)


def _named(boxes: openvino.Output, scores: openvino.Output, pixels: Any) -> openvino.Model:
    pixels.output(0).get_tensor().set_names({"images"})
    model = openvino.Model([opset9.result(boxes), opset9.result(scores)], [pixels], "detector")
    for result, name in zip(model.get_results(), ("offsets", "scores"), strict=True):
        result.output(0).get_tensor().set_names({name})
    return model


def _before_activation(scores: openvino.Output) -> tuple[openvino.Output, str | None]:
    """The scores before their sigmoid or softmax, and which of both; as they are where neither stands there."""
    source = before(scores, _SHAPING)
    kind = source.get_node().get_type_name()
    if kind in {"Sigmoid", "Softmax"}:
        return source.get_node().input(0).get_source_output(), kind.lower()
    return scores, None


def _joined(output: openvino.Output) -> openvino.Output:
    """Up from an output to where the maps' predictions are joined: (1, K, C), or the only map's convolution."""
    current = output
    while current.get_node().get_type_name() not in {"Concat", *_CONVOLUTIONS}:
        sources = variable_inputs(current.get_node())
        if not sources:
            break
        previous, current = current, sources[0]
        if current.get_node().get_type_name() in _CONVOLUTIONS:
            return previous
    return current


def _rows(boxes: openvino.Output, columns: int) -> openvino.Output:
    return opset9.reshape(boxes, np.array([1, -1, columns]), special_zero=False).output(0)


def _xyxy(boxes_yxhw: Float32[np.ndarray, "K 4"]) -> Float32[np.ndarray, "K 4"]:
    return np.ascontiguousarray(cxcywh_to_xyxy(boxes_yxhw[:, [1, 0, 3, 2]]), np.float32)


def _variances(scales: Sequence[float]) -> tuple[float, float, float, float]:
    y, x, height, width = scales
    return 1 / x, 1 / y, 1 / width, 1 / height


def _compiled(model: openvino.Model) -> Any:
    # By default the plugin rounds activations to 8 bits before layers of 8-bit weights: raw outputs differ by 0.08.
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    return core().compile_model(model, "CPU", exact)


def _read(path: Path, origin: str) -> openvino.Model:
    try:
        return core().read_model(path)
    except (RuntimeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
        reason = (
            "it finds no graph in it"
            if "Unable to read the model" in str(error)
            else lines[-1].replace(str(path), "it")
        )
        raise ModelError(f"{origin} cannot be read by OpenVINO: {reason}") from error
