"""Detection with OpenVINO: the network and its preprocessing in the graph, our own post-processing, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from singleshot.errors import ModelError
from singleshot.postprocess import postprocess
from singleshot.runtime.cores import usable_cores
from singleshot.runtime.quiet_openvino import openvino
from singleshot.weights.folder import read_export

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import UInt8

    from singleshot.postprocess import Found
    from singleshot.spec import ModelSpec

HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""What the engine computes in, by the model's precision; where the processor has no bf16, the engine takes f32."""


class OpenVINOBackend:
    """Runs an exported model on batches of decoded pictures; one compiled graph a batch size."""

    def __init__(self, spec: ModelSpec, model: openvino.Model, *, precision: str, threads: int | None = None) -> None:
        self.spec = spec
        self._model = model
        self._precision = precision
        self._threads = threads
        self._requests: dict[int, _Request] = {}
        self._lanes: tuple[_Request, ...] = ()

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> OpenVINOBackend:
        """An exported model's folder.

        Raises:
            ModelError, HashError: it is not whole, or not what OpenVINO reads.
        """
        configuration, files = read_export(folder)
        assert configuration.export is not None
        if configuration.export.engine != "openvino":
            raise ModelError(f"{folder} is exported for {configuration.export.engine}, not for openvino")
        model = read_model(files, origin=str(folder))
        return cls(configuration.model, model, precision=configuration.export.precision, threads=threads)

    def __call__(self, pictures: Sequence[UInt8[np.ndarray, "H W 3"]]) -> list[Found]:
        """Detections of each picture, boxes as fractions of it."""
        return self.request(len(pictures)).detect(pictures)

    def request(self, count: int) -> _Request:
        """What detects in this many pictures at once."""
        if count not in self._requests:
            options = engine_options(self._precision, self._threads)
            self._requests[count] = _Request(self._compiled(count, options), self.spec)
        return self._requests[count]

    def lanes(self) -> tuple[_Request, ...]:
        """One request a core, each on a thread of its own."""
        if not self._lanes:
            count = self._threads or usable_cores()
            options = engine_options(self._precision, count) | {"NUM_STREAMS": count, "PERFORMANCE_HINT": "THROUGHPUT"}
            compiled = self._compiled(1, options)
            self._lanes = tuple(_Request(compiled, self.spec) for _ in range(count))
        return self._lanes

    def _compiled(self, count: int, options: Mapping[str, object]) -> openvino.CompiledModel:
        model = self._model.clone()
        model.reshape([count, *self.spec.input_size_hw, 3])
        return openvino.Core().compile_model(model, "CPU", dict(options))


class _Request:
    """A compiled graph with its own memory; one thread at a time."""

    def __init__(self, compiled: openvino.CompiledModel, spec: ModelSpec) -> None:
        self._spec = spec
        self._request = compiled.create_infer_request()
        self._buffer = self._request.get_input_tensor().data

    def predict(self, pictures: Sequence[UInt8[np.ndarray, "H W 3"]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets (B, K, 4), probabilities (B, K, C) and default boxes (K, 4); the memory is the engine's."""
        resize_into(self._buffer, pictures)
        self._request.infer(share_inputs=True)
        offsets, scores, default_boxes = (self._request.get_output_tensor(i).data for i in range(3))
        return offsets, scores, default_boxes

    def detect(self, pictures: Sequence[UInt8[np.ndarray, "H W 3"]]) -> list[Found]:
        """Detections of as many pictures as the graph takes."""
        offsets, scores, default_boxes = self.predict(pictures)
        variances, settings = self._spec.boxes.variances, self._spec.postprocess
        return [
            postprocess(of_one, scores_of_one, default_boxes, variances, settings)
            for of_one, scores_of_one in zip(offsets, scores, strict=True)
        ]

    def __call__(self, picture: UInt8[np.ndarray, "H W 3"]) -> Found:
        """Detections of one picture."""
        return self.detect([picture])[0]


def engine_options(precision: str, threads: int | None = None) -> dict[str, object]:
    """How OpenVINO compiles a model of this precision."""
    options: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


def resize_into(buffer: UInt8[np.ndarray, "B h w 3"], pictures: Sequence[UInt8[np.ndarray, "H W 3"]]) -> None:
    """The first step of `preprocess.to_network_input`; the graph does the others."""
    _, height, width, _ = buffer.shape
    for picture, place in zip(pictures, buffer, strict=True):
        cv2.resize(picture, (width, height), dst=place, interpolation=cv2.INTER_LINEAR)


def read_model(files: Mapping[str, bytes], *, origin: str) -> openvino.Model:
    """The graph of an engine's files (`.xml` first, then its weights).

    Raises:
        ModelError: OpenVINO cannot read it.
    """
    try:
        return openvino.Core().read_model(*files.values())
    except (RuntimeError, TypeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(f"{origin} cannot be read by OpenVINO: {reason}") from error
