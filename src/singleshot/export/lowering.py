"""An OpenVINO graph's files at a lower precision: all of it, or all but the layers that hurt."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from singleshot.export.calibrate import Calibration, Judgement, quantised
from singleshot.export.openvino_ir import halve_weights, in_full_precision, layer_names, serialised
from singleshot.export.sparing import spare
from singleshot.runtime.openvino_backend import OpenVINOBackend
from singleshot.runtime.openvino_core import openvino
from singleshot.spec import ModelSpec

RANKING_IMAGES = 16
"""To rank layers by, each at the price of loading a graph."""


@dataclass(frozen=True, eq=False)
class Lowering:
    """A graph that is to be computed at another precision.

    Attributes:
        spec: of the network.
        graph: in fp32.
        precision: `fp32`, `bf16` or `int8`.
        calibration: images to measure on and to judge by; int8 needs them.
    """

    spec: ModelSpec
    graph: openvino.Model
    precision: str
    calibration: Calibration | None

    def files(self, spared: Collection[str] = (), *, quietly: bool = False) -> dict[str, bytes]:
        """The engine's files with these layers at the higher precision."""
        return self._stored(
            self._quantised(spared, quietly=quietly) if self.precision == "int8" else self.graph, spared
        )

    def files_that_lose_at_most(
        self, most_lost: float, before: float, on_stage: Callable[[str], None]
    ) -> tuple[dict[str, bytes], Judgement]:
        """Files with as few layers at the higher precision as it takes.

        Args:
            most_lost: mAP that they may lose on the judged images, 0..1.
            before: mAP of the source there.
            on_stage: called with a few words at the beginning of each stage.

        Raises:
            VerificationError: they lose more whatever is spared.
        """
        calibration = self.calibration
        assert calibration is not None
        images = calibration.images(self.spec.input_size_hw, RANKING_IMAGES)
        exact = _results(self._engine(serialised(self.graph), "fp32"), images)
        lowered = self._quantised((), quietly=True) if self.precision == "int8" else self.graph

        def error(spared: Sequence[str]) -> float:
            draft = in_full_precision(lowered, spared, as_in=self.graph) if self.precision == "int8" else lowered
            return _distance(_results(self._engine(self._stored(draft, spared)), images), exact)

        found = spare(
            layer_names(self.graph),
            least=before - most_lost,
            build=lambda spared: self.files(spared, quietly=True),
            error=error,
            mean_ap=lambda files: calibration.mean_ap(self._engine(files)),
            on_stage=on_stage,
        )
        return dict(found.files), calibration.judgement(before, found.after, found.blocks)

    def _quantised(self, spared: Collection[str], *, quietly: bool) -> openvino.Model:
        assert self.calibration is not None
        images = self.calibration.images(self.spec.input_size_hw)
        return quantised(self.graph.clone(), images, spared=spared, quietly=quietly)

    def _stored(self, lowered: openvino.Model, spared: Collection[str]) -> dict[str, bytes]:
        stored = lowered.clone()
        halve_weights(stored, only_exact=self.precision != "bf16", spared=spared)
        return serialised(stored, spared=spared if self.precision == "bf16" else ())

    def _engine(self, files: Mapping[str, bytes], precision: str | None = None) -> OpenVINOBackend:
        return OpenVINOBackend(self.spec, files, precision=precision or self.precision, origin="the export")


def _results(backend: OpenVINOBackend, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Encoded boxes and probabilities of all images, each (1, H, W, 3)."""
    each = [[part.copy() for part in backend.predict(list(image))] for image in images]
    return [np.concatenate(parts) for parts in zip(*each, strict=True)]


def _distance(results: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """Of each result in units of its own spread, added up."""
    return sum(float(np.std(its - true) / np.std(true)) for its, true in zip(results, exact, strict=True))
