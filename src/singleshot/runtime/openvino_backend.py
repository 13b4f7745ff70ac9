"""Detection with OpenVINO: the network and its normalisation in the graph, our own post-processing, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from threading import Lock

import numpy as np

from singleshot.errors import ModelError
from singleshot.machine import usable_cores
from singleshot.runtime.engine import RAW, raw_detections, require_fit, resize_into, resized
from singleshot.runtime.openvino_core import core, openvino
from singleshot.runtime.winograd import with_winograd
from singleshot.shapes import Float32, UInt8
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections

Images = Sequence[UInt8[np.ndarray, "H W 3"]]


HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""OpenVINO's precision hint by the model's precision; a processor without bf16 computes in f32."""


class OpenVINOBackend:
    """Runs an exported model on batches of decoded images; one compiled graph a batch size.

    Args:
        spec: what the model is.
        files: the graph and its weights.
        precision: `fp32`, `bf16` or `int8`.
        origin: for messages.
        threads: cores to use; None: all that this process may use.

    Raises:
        ModelError: OpenVINO cannot read the files, or they are not a graph that `ssd export` writes.
    """

    def __init__(
        self, spec: ModelSpec, files: Mapping[str, bytes], *, precision: str, origin: str, threads: int | None = None
    ) -> None:
        self.spec = spec
        self._model = _read(files, origin)
        results = {output.any_name: _lengths(output) for output in self._model.outputs if output.names}
        require_fit(spec, [_lengths(port) for port in self._model.inputs], results, origin)
        if self._model.inputs[0].element_type != openvino.Type.u8:
            raise ModelError(f"{origin} takes {self._model.inputs[0].element_type}, not 8-bit images")
        self.default_boxes = _constant(self._model, RAW[2], origin)
        self._origin = origin
        self._lock = Lock()
        self._precision = precision
        self._threads = threads
        self._requests: dict[int, _Request] = {}
        self._workers: tuple[_Request, ...] = ()

    def __call__(self, images: Images, *, score_threshold: float | None = None) -> list[RawDetections]:
        """Detections of each image, see `Backend`.

        One image after another: a processor gains nothing from batches.
        """
        request = self._request(1)
        return [request(image, score_threshold=score_threshold) for image in images]

    def predict(self, images: Images) -> tuple[Float32[np.ndarray, "B K 4"], Float32[np.ndarray, "B K C"]]:
        """Encoded boxes and probabilities; overwritten by the next call for as many images."""
        return self._request(len(images)).predict(images)

    def outputs(self, images: Images) -> dict[str, np.ndarray]:
        """All results of the graph by name, as other programs get them."""
        names = [output.any_name for output in self._model.outputs]
        compiled = self._compiled(len(images), {"PERFORMANCE_HINT": "LATENCY"}, names)
        results = compiled(resized(images, self.spec.input_size_hw))
        return {name: np.array(results[name]) for name in names}

    def workers(self) -> tuple[_Request, ...]:
        """A compiled graph for each core; streams of one graph were slower, as their threads wait by spinning."""
        if not self._workers:
            options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
            self._workers = tuple(
                _Request(self._compiled(1, options, RAW[:2]), self) for _ in range(self._threads or usable_cores())
            )
        return self._workers

    def _request(self, count: int) -> _Request:
        """The request for so many images at once, compiled when it is first needed."""
        with self._lock:  # several threads may share a backend
            if count not in self._requests:
                threads = {} if self._threads is None else {"INFERENCE_NUM_THREADS": self._threads}
                options = {"PERFORMANCE_HINT": "LATENCY"} | threads
                self._requests[count] = _Request(self._compiled(count, options, RAW[:2]), self)
            return self._requests[count]

    def _compiled(self, count: int, options: Mapping[str, object], names: Sequence[str]) -> openvino.CompiledModel:
        """The part of the graph that these results need."""
        model = self._model.clone()
        results = [model.output(name).get_node() for name in names]
        part = openvino.Model(results, model.get_parameters(), self.spec.name)
        part.reshape([count, *self.spec.input_size_hw, 3])
        _require_equal_sizes(part, self._origin)
        if self._precision == "fp32" and count == 1:
            part = with_winograd(part)
        return core().compile_model(part, "CPU", {"INFERENCE_PRECISION_HINT": HINTS[self._precision], **options})


class _Request:
    """A compiled graph with its input and results in arrays of ours; an `InferenceWorker`."""

    def __init__(self, compiled: openvino.CompiledModel, backend: OpenVINOBackend) -> None:
        self._backend = backend
        self._lock = Lock()
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._buffer = np.zeros(tuple(compiled.inputs[0].shape), np.uint8)
        self._request.set_input_tensor(openvino.Tensor(self._buffer, shared_memory=True))
        self._results = [np.zeros(tuple(output.shape), np.float32) for output in compiled.outputs]
        for place, result in enumerate(self._results):
            self._request.set_output_tensor(place, openvino.Tensor(result, shared_memory=True))

    def predict(self, images: Images) -> tuple[Float32[np.ndarray, "B K 4"], Float32[np.ndarray, "B K C"]]:
        """Encoded boxes and probabilities, overwritten by the next call."""
        resize_into(self._buffer, images)
        self._request.infer()
        offsets, probabilities = self._results
        return offsets, probabilities

    def __call__(self, image: UInt8[np.ndarray, "H W 3"], *, score_threshold: float | None = None) -> RawDetections:
        """Detections of one image."""
        spec, default_boxes = self._backend.spec, self._backend.default_boxes
        with self._lock:  # its buffers hold one image at a time
            return raw_detections(spec, default_boxes, *self.predict([image]), score_threshold=score_threshold)[0]


def _read(files: Mapping[str, bytes], origin: str) -> openvino.Model:
    try:
        return core().read_model(*files.values())
    except (RuntimeError, TypeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(f"{origin} cannot be read by OpenVINO: {reason}") from error


def _require_equal_sizes(model: openvino.Model, origin: str) -> None:
    """Refuse a Reshape that changes the number of values: OpenVINO accepts it and writes past the end.

    Raises:
        ModelError: names the operation.
    """
    for node in model.get_ops():
        ends = (node.input_value(0), node.output(0)) if node.get_type_name() == "Reshape" else ()
        if ends and all(port.get_partial_shape().is_static for port in ends):
            before, after = (math.prod(port.get_shape()) for port in ends)
            if before != after:
                raise ModelError(f"{origin} is damaged: {node.get_friendly_name()} turns {before} values into {after}")


def _lengths(port: openvino.Output) -> list[int | str | None]:
    shape = port.partial_shape
    return [] if shape.rank.is_dynamic else [side.get_length() if side.is_static else None for side in shape]


def _constant(model: openvino.Model, name: str, origin: str) -> np.ndarray:
    node = model.output(name).get_node().input_value(0).get_node()
    if node.get_type_name() != "Constant":
        raise ModelError(f"{origin} computes its {name}, which are constant in every graph of ours")
    return np.array(node.get_data(), np.float32)
