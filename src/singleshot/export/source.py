"""What is exported: a network of ours, or the graph of another framework, with what an export is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from singleshot.errors import RequestError
from singleshot.export.openvino_ir import quantised_layers, to_openvino, with_results
from singleshot.models.ssd import SSD
from singleshot.preprocess import to_network_input
from singleshot.runtime.backends import load_engine
from singleshot.runtime.engine import RAW, ROWS, Backend
from singleshot.runtime.openvino_core import core, openvino, opset9
from singleshot.runtime.torch_backend import TorchBackend
from singleshot.shapes import Float32, UInt8
from singleshot.spec import ModelSpec
from singleshot.ssd.tensors import probabilities
from singleshot.weights.folder import ModelFolder

Image = UInt8[np.ndarray, "H W 3"]
RawOutputs = tuple[np.ndarray, np.ndarray]
"""Offsets (B, K, 4) and probabilities (B, K, C)."""


class Source(Protocol):
    """A detector to export."""

    @property
    def spec(self) -> ModelSpec:
        """What it is."""

    @property
    def default_boxes(self) -> Float32[np.ndarray, "K 4"]:
        """Corners as fractions of the image."""

    @property
    def largest_batch(self) -> int | None:
        """Images at once that its graph takes; None for any number."""

    def backend(self) -> Backend:
        """It runs as it is."""

    def raw_outputs(self, images: Sequence[Image]) -> RawOutputs:
        """What an export must give for these images."""

    def openvino_graph(self, outputs: str) -> openvino.Model:
        """Its graph in fp32, see `to_openvino`."""


@dataclass(frozen=True, eq=False)
class NetworkSource:
    """A network of ours, in evaluation mode; its export takes any number of images."""

    network: SSD
    largest_batch: int | None = None

    @property
    def spec(self) -> ModelSpec:
        """Of the network."""
        return self.network.spec

    @property
    def default_boxes(self) -> Float32[np.ndarray, "K 4"]:
        """Of the network."""
        boxes: np.ndarray = self.network.default_boxes.numpy()
        return boxes

    def backend(self) -> TorchBackend:
        """The network in torch, on the processor."""
        return TorchBackend(self.network, torch.device("cpu"))

    @torch.inference_mode()
    def raw_outputs(self, images: Sequence[Image]) -> RawOutputs:
        """Of the network in torch, fp32."""
        self.network.eval()
        offsets, scores = [], []
        for image in images:
            inputs = torch.from_numpy(to_network_input(image, self.spec.input_size_hw, self.spec.preprocess))[None]
            predictions = self.network(inputs)
            offsets.append(predictions.offsets[0].numpy())
            scores.append(probabilities(predictions.logits, self.spec.postprocess.scores)[0].numpy())
        return np.stack(offsets), np.stack(scores)

    def openvino_graph(self, outputs: str) -> openvino.Model:
        """See `to_openvino`."""
        return to_openvino(self.network, outputs=outputs)


@dataclass(frozen=True, eq=False)
class GraphSource:
    """A detector that is the graph of another framework, as `graphs.engine` writes it; it takes one image at a time.

    Its reference is OpenVINO's run of the graph that was imported: there is no other program here that runs it.
    """

    folder: ModelFolder
    files: Mapping[str, bytes]
    default_boxes: Float32[np.ndarray, "K 4"]
    largest_batch: int | None = 1

    @classmethod
    def of(cls, folder: ModelFolder, *, engine: str, precision: str) -> GraphSource:
        """A graph's folder, for an export of this engine and precision.

        Raises:
            RequestError: an engine or a precision that a graph cannot be exported for; says why.
            ModelError, HashError: the folder is not whole.
        """
        assert folder.export is not None
        if engine != "openvino":
            raise RequestError(
                f"{folder.path} is a graph for OpenVINO and exports as --format openvino alone: --format {engine} is "
                f"made from a network of ours, which it is not: {folder.not_trainable}"
            )
        if folder.export.precision != "fp32":
            raise RequestError(
                f"{folder.path} is exported in {folder.export.precision}: give the imported graph that it came from"
            )
        backend = load_engine(folder)
        source = cls(folder, folder.engine_files(), backend.default_boxes)
        quantised = quantised_layers(core().read_model(*source.files.values()))
        if quantised and precision == "int8":
            raise RequestError(
                f"{folder.path} has 8-bit weights already, in {quantised} of its layers: export it in fp32 or bf16, "
                "which keep them"
            )
        return source

    @property
    def spec(self) -> ModelSpec:
        """Of the folder."""
        return self.folder.spec

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the graph's weights."""
        assert self.folder.export is not None
        return self.folder.hashes[self.folder.export.files[-1]]

    def backend(self) -> Backend:
        """The imported graph in OpenVINO, fp32."""
        return load_engine(self.folder)

    def raw_outputs(self, images: Sequence[Image]) -> RawOutputs:
        """Of the imported graph in OpenVINO, fp32."""
        backend = load_engine(self.folder)
        each = [[part.copy() for part in backend.predict([image])] for image in images]
        offsets, scores = (np.concatenate(parts) for parts in zip(*each, strict=True))
        return offsets, scores

    def openvino_graph(self, outputs: str) -> openvino.Model:
        """The imported graph with the results that are asked for."""
        model = core().read_model(*self.files.values())
        computed = {name: model.output(name).get_node().input_value(0) for name in RAW[:2]}
        if outputs == "rows":
            variances = np.tile(np.array(self.spec.boxes.variances, np.float32), (len(self.default_boxes), 1))
            of_box = opset9.constant(np.concatenate([self.default_boxes, variances], axis=1)[None])
            computed[ROWS] = opset9.concat([computed[RAW[1]], computed[RAW[0]], of_box], 2).output(0)
        return with_results(computed, model.get_parameters(), self.spec, self.default_boxes, outputs)
