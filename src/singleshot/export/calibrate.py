"""A user's own labelled pictures: what 8-bit scales are measured on, and what an export's mAP is judged by."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from singleshot.data.classes import only_classes
from singleshot.data.recognise import default_splits, open_data
from singleshot.data.splitting import split as hold_out
from singleshot.decode import decode_picture
from singleshot.errors import DataError, VerificationError
from singleshot.evaluate.protocols import evaluate
from singleshot.runtime.detector import Detector
from singleshot.runtime.engine import resize_into
from singleshot.runtime.over_set import detect_in_set

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from singleshot.runtime.engine import Backend
    from singleshot.runtime.quiet_openvino import openvino
    from singleshot.spec import ModelSpec
    from singleshot.types import Annotations

MOST_PICTURES = 300
"""Pictures to measure the range of activations on."""
MOST_LOST = 0.02
"""mAP that an export may lose on the user's pictures before it is refused."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pictures to measure on and, apart from them, pictures to judge by.

    Attributes:
        measured: the training split, or all but a fifth.
        judged: the validation split, else the test split, else the fifth.
    """

    measured: Annotations
    judged: Annotations

    @classmethod
    def open(cls, data: str, spec: ModelSpec) -> Calibration:
        """The two parts of a data set.

        Raises:
            RequestError, DataError: no data set, an empty one, or none of the model's classes in it.
        """
        train, val, test = default_splits(data)
        measured = open_data(data, split=train)
        if val or test:
            judged = open_data(data, split=val or test)
        else:
            measured, judged = hold_out(measured, seed=0)
        shared = [name for name in spec.class_names if name in judged.class_names]
        judged = only_classes(judged, shared)
        if not len(judged.labels):
            raise DataError(f"{data} has none of the model's classes: {', '.join(spec.class_names)}")
        return cls(measured, judged)

    def pictures(self, input_size_hw: tuple[int, int]) -> list[UInt8[np.ndarray, "1 h w 3"]]:
        """Some hundred network inputs, evenly spaced over the measured part."""
        count = min(MOST_PICTURES, len(self.measured))
        chosen = np.linspace(0, len(self.measured) - 1, count).round().astype(int)
        inputs = []
        for index in chosen:
            inputs.append(np.empty((1, *input_size_hw, 3), np.uint8))
            resize_into(inputs[-1], [decode_picture(self.measured.path(int(index)))])
        return inputs


@dataclass(frozen=True)
class Judgement:
    """mAP of the source and of its export on the same pictures."""

    before: float
    after: float
    pictures: int

    def __str__(self) -> str:
        """A line for people."""
        return f"mAP {100 * self.before:.1f}% before, {100 * self.after:.1f}% after, on {self.pictures} pictures"


def judge(annotations: Annotations, source: Backend, export: Backend) -> Judgement:
    """Evaluate source and export.

    Raises:
        VerificationError: the export lost more than `MOST_LOST`.
    """
    before = _mean_ap(annotations, source)
    after = _mean_ap(annotations, export)
    judgement = Judgement(before, after, len(annotations))
    if before - after > MOST_LOST:
        raise VerificationError(f"the export lost too much: {judgement}; it was not kept")
    return judgement


def quantised(
    model: openvino.Model, pictures: Sequence[UInt8[np.ndarray, "1 h w 3"]], *, quietly: bool = False
) -> openvino.Model:
    """The graph with 8-bit convolutions (NNCF's post-training quantisation with fast bias correction)."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # NNCF has torch look for a GPU's compiler
    import nncf

    preset = nncf.QuantizationPreset.MIXED
    with redirect_stdout(io.StringIO() if quietly else sys.stderr):  # its bars
        return nncf.quantize(model, nncf.Dataset(pictures), subset_size=len(pictures), preset=preset)


def _mean_ap(annotations: Annotations, backend: Backend) -> float:
    found = detect_in_set(Detector(backend, name="export"), annotations)
    return evaluate(annotations, found).mean_ap or 0.0
