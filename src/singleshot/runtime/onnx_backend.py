"""Detection with ONNX Runtime: the network and its normalisation in the graph, our own post-processing, no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from singleshot.errors import ModelError, RequestError
from singleshot.machine import usable_cores
from singleshot.runtime.engine import RAW, raw_detections, require_fit, resized
from singleshot.shapes import Float32, UInt8
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections

if TYPE_CHECKING:
    import onnxruntime

Images = Sequence[UInt8[np.ndarray, "H W 3"]]


OTHER_FILES = re.compile(rb"[\x00\x08]location")
"""The key for a file that holds weights, after its length of 8 in any of protobuf's encodings."""


class OnnxBackend:
    """Runs an exported model on batches of decoded images.

    Args:
        spec: what the model is.
        model: the file's content.
        origin: for messages.
        threads: cores to use; None: all that this process may use.

    Raises:
        RequestError: ONNX Runtime is not installed.
        ModelError: it cannot read the file, or the file is not one that `ssd export` writes, or refers to other files.
    """

    def __init__(self, spec: ModelSpec, model: bytes, *, origin: str, threads: int | None = None) -> None:
        self.spec = spec
        self._origin, self._model = origin, model
        self._threads = threads or usable_cores()
        if OTHER_FILES.search(model):
            raise ModelError(f"{origin} keeps weights in other files, which is not read: they may be anywhere")
        self._session = self._started(self._threads)
        inputs, results = self._session.get_inputs(), self._session.get_outputs()
        require_fit(spec, [port.shape for port in inputs], {port.name: port.shape for port in results}, origin)
        kinds = [port.type for port in (inputs[0], *results) if port.name in {inputs[0].name, *RAW}]
        if kinds != ["tensor(uint8)", *["tensor(float)"] * 3]:
            raise ModelError(f"{origin} does not take 8-bit images or does not give float32: {', '.join(kinds)}")
        self.default_boxes = self.run(self._session, [np.zeros((*spec.input_size_hw, 3), np.uint8)], RAW[2:])[0]

    def __call__(self, images: Images, *, score_threshold: float | None = None) -> list[RawDetections]:
        """Detections of each image, see `Backend`.

        One image after another: a processor gains nothing from batches.
        """
        worker = _Worker(self, self._session)
        return [worker(image, score_threshold=score_threshold) for image in images]

    def predict(self, images: Images) -> tuple[Float32[np.ndarray, "B K 4"], Float32[np.ndarray, "B K C"]]:
        """Encoded boxes and probabilities."""
        offsets, probabilities = self.run(self._session, images, RAW[:2])
        return offsets, probabilities

    def outputs(self, images: Images) -> dict[str, np.ndarray]:
        """All results of the graph by name, as other programs get them."""
        names = [result.name for result in self._session.get_outputs()]
        return dict(zip(names, self.run(self._session, images, names), strict=True))

    def workers(self) -> tuple[_Worker, ...]:
        """A session whose runs take one thread each; they may overlap."""
        session = self._started(1)
        return tuple(_Worker(self, session) for _ in range(self._threads))

    def run(self, session: onnxruntime.InferenceSession, images: Images, names: Sequence[str]) -> list[np.ndarray]:
        """These results of the graph, computed by a session of it."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True  # NMS is not run where its results are not asked for
        buffer = resized(images, self.spec.input_size_hw)
        return session.run(list(names), {session.get_inputs()[0].name: buffer}, options)  # type: ignore[no-any-return]

    def _started(self, threads: int) -> onnxruntime.InferenceSession:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise RequestError(
                f"{self._origin} needs ONNX Runtime, which is not installed: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own classes have no narrower base
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ModelError(f"{self._origin} cannot be read by ONNX Runtime: {reason}") from error


class _Worker:
    """An `InferenceWorker` of a session."""

    def __init__(self, backend: OnnxBackend, session: onnxruntime.InferenceSession) -> None:
        self._backend, self._session = backend, session

    def __call__(self, image: UInt8[np.ndarray, "H W 3"], *, score_threshold: float | None = None) -> RawDetections:
        """Detections of one image."""
        backend = self._backend
        results = backend.run(self._session, [image], RAW[:2])
        return raw_detections(backend.spec, backend.default_boxes, *results, score_threshold=score_threshold)[0]
