"""Detection with ONNX Runtime: the network and its normalisation in the graph, our own post-processing, no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from singleshot.errors import ModelError, RequestError
from singleshot.runtime.engine import RAW, found_in, require_fit, resize_into, usable_cores
from singleshot.shapes import Float32, UInt8
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import Found

if TYPE_CHECKING:
    import onnxruntime

Images = Sequence[UInt8[np.ndarray, "H W 3"]]


OTHER_FILES = re.compile(rb"[\x00\x08]location")
"""The key under which ONNX names a file that holds weights (its length, 8, before it, in any encoding of 8)."""


class OnnxBackend:
    """Runs an exported model on batches of decoded images.

    Args:
        spec: what the model is.
        model: the file's content.
        origin: for messages.
        threads: cores to use; None: all that this process may use.

    Raises:
        RequestError: ONNX Runtime is not installed.
        ModelError: it cannot read the file, or the file is not a graph of ours, or refers to other files.
    """

    def __init__(self, spec: ModelSpec, model: bytes, *, origin: str, threads: int | None = None) -> None:
        self.spec = spec
        self._origin, self._model = origin, model
        self._threads = threads or usable_cores()
        if OTHER_FILES.search(model):
            raise ModelError(f"{origin} keeps weights in other files, which is not read: they may be anywhere")
        self._session = self._started(self._threads)
        inputs, results = self._session.get_inputs(), self._session.get_outputs()
        require_fit(spec, [one.shape for one in inputs], {one.name: one.shape for one in results}, origin)
        kinds = [one.type for one in (inputs[0], *results) if one.name in {inputs[0].name, *RAW}]
        if kinds != ["tensor(uint8)", *["tensor(float)"] * 3]:
            raise ModelError(f"{origin} does not take 8-bit images or does not give float32: {', '.join(kinds)}")
        self.default_boxes = self._run(self._session, RAW[2:], np.zeros((1, *spec.input_size_hw, 3), np.uint8))[0]

    def __call__(self, images: Images) -> list[Found]:
        """Detections of each image, boxes as fractions of it.

        One image after another: a processor gains nothing from batches.
        """
        return [self.detect(self._session, image) for image in images]

    def predict(self, images: Images) -> tuple[Float32[np.ndarray, "B K 4"], Float32[np.ndarray, "B K C"]]:
        """Encoded boxes and probabilities."""
        offsets, probabilities = self._run(self._session, RAW[:2], self._resized(images))
        return offsets, probabilities

    def outputs(self, images: Images) -> dict[str, np.ndarray]:
        """All results of the graph, as somebody sees them who runs the file without us."""
        names = [one.name for one in self._session.get_outputs()]
        return dict(zip(names, self._run(self._session, names, self._resized(images)), strict=True))

    def lanes(self) -> tuple[_Lane, ...]:
        """One session's runs on one thread each; runs of a session may overlap."""
        session = self._started(1)
        return tuple(_Lane(self, session) for _ in range(self._threads))

    def detect(self, session: onnxruntime.InferenceSession, image: UInt8[np.ndarray, "H W 3"]) -> Found:
        """Detections of one image in another session of the same model."""
        return found_in(self.spec, self.default_boxes, *self._run(session, RAW[:2], self._resized([image])))[0]

    def _resized(self, images: Images) -> UInt8[np.ndarray, "B h w 3"]:
        buffer = np.empty((len(images), *self.spec.input_size_hw, 3), np.uint8)
        resize_into(buffer, images)
        return buffer

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
        except Exception as error:  # its own classes, which derive from nothing narrower
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ModelError(f"{self._origin} cannot be read by ONNX Runtime: {reason}") from error

    def _run(
        self, session: onnxruntime.InferenceSession, names: Sequence[str], buffer: UInt8[np.ndarray, "B h w 3"]
    ) -> list[np.ndarray]:
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True  # NMS is not run where its results are not asked for
        return session.run(list(names), {session.get_inputs()[0].name: buffer}, options)  # type: ignore[no-any-return]


class _Lane:
    def __init__(self, backend: OnnxBackend, session: onnxruntime.InferenceSession) -> None:
        self._backend, self._session = backend, session

    def __call__(self, image: UInt8[np.ndarray, "H W 3"]) -> Found:
        """Detections of one image."""
        return self._backend.detect(self._session, image)
