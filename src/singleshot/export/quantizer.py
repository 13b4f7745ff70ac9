"""An OpenVINO graph's files at a lower precision: all layers, or all but those that cost the most accuracy."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np

from singleshot.export.calibration import AccuracyDrop, CalibrationData
from singleshot.export.mixed_precision import choose_high_precision
from singleshot.export.openvino_ir import halve_weights, in_full_precision, layer_names, serialised
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.runtime.openvino_core import openvino
from singleshot.shapes import UInt8
from singleshot.spec import ModelSpec

RANKING_IMAGES = 16
"""Images that layers are ranked on; each layer costs the loading of a graph."""


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Makes the engine's files of one graph at one precision.

    Attributes:
        spec: of the network.
        graph: in fp32.
        precision: `fp32`, `bf16` or `int8`.
        data: images for activation ranges and for the mAP; int8 needs them.
    """

    spec: ModelSpec
    graph: openvino.Model
    precision: str
    data: CalibrationData | None

    def files(self, high_precision: Collection[str] = (), *, quietly: bool = False) -> dict[str, bytes]:
        """The engine's files with these layers at the higher precision."""
        graph = self._quantized(high_precision, quietly=quietly) if self.precision == "int8" else self.graph
        return self._stored(graph, high_precision)

    def mixed_precision_files(
        self, max_map_drop: float, map_before: float, on_stage: Callable[[str], None]
    ) -> tuple[dict[str, bytes], AccuracyDrop]:
        """Files with as few layers at the higher precision as `max_map_drop` allows.

        Args:
            max_map_drop: mAP that may be lost on the validation images, 0..1.
            map_before: mAP of the source on them.
            on_stage: called with a few words at the beginning of each stage.

        Raises:
            VerificationError: more is lost with half of the layers at the higher precision.
        """
        data = self.data
        assert data is not None
        images = data.calibration_images(self.spec.input_size_hw, RANKING_IMAGES)
        exact = _outputs(self._engine(serialised(self.graph), "fp32"), images)
        lowered = self._quantized((), quietly=True) if self.precision == "int8" else self.graph

        def error(high_precision: Sequence[str]) -> float:
            draft = (
                in_full_precision(lowered, high_precision, as_in=self.graph) if self.precision == "int8" else lowered
            )
            return _relative_error(_outputs(self._engine(self._stored(draft, high_precision)), images), exact)

        mixed = choose_high_precision(
            layer_names(self.graph),
            min_map=map_before - max_map_drop,
            build=lambda high_precision: self.files(high_precision, quietly=True),
            error=error,
            mean_ap=lambda files: data.mean_ap(self._engine(files)),
            on_stage=on_stage,
        )
        return dict(mixed.files), data.accuracy_drop(map_before, mixed.map_after, mixed.blocks)

    def _quantized(self, high_precision: Collection[str], *, quietly: bool) -> openvino.Model:
        assert self.data is not None
        images = self.data.calibration_images(self.spec.input_size_hw)
        return quantize_graph(self.graph.clone(), images, high_precision=high_precision, quietly=quietly)

    def _stored(self, graph: openvino.Model, high_precision: Collection[str]) -> dict[str, bytes]:
        stored = graph.clone()
        halve_weights(stored, only_exact=self.precision != "bf16", high_precision=high_precision)
        return serialised(stored, high_precision=high_precision if self.precision == "bf16" else ())

    def _engine(self, files: Mapping[str, bytes], precision: str | None = None) -> OpenVINOBackend:
        return OpenVINOBackend(self.spec, files, precision=precision or self.precision, origin="the export")


def quantize_graph(
    model: openvino.Model,
    images: Sequence[UInt8[np.ndarray, "1 h w 3"]],
    *,
    high_precision: Collection[str] = (),
    quietly: bool = False,
) -> openvino.Model:
    """The graph with 8-bit convolutions (NNCF's post-training quantization with fast bias correction).

    Args:
        model: the graph in fp32.
        images: the range of activations is measured on them.
        high_precision: names of layers that are not quantized.
        quietly: without progress bars.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # NNCF has torch look for a GPU's compiler
    import nncf

    with redirect_stdout(io.StringIO() if quietly else sys.stderr):  # its bars
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            subset_size=len(images),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=list(high_precision)) if high_precision else None,
        )


def _outputs(backend: OpenVINOBackend, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Encoded boxes and probabilities of all images, each (1, H, W, 3)."""
    each = [[part.copy() for part in backend.predict(list(image))] for image in images]
    return [np.concatenate(parts) for parts in zip(*each, strict=True)]


def _relative_error(outputs: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """Standard deviation of each output's error in units of the exact output's own, summed."""
    return sum(float(np.std(output - true) / np.std(true)) for output, true in zip(outputs, exact, strict=True))
