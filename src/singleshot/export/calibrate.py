"""A user's own labelled images: what 8-bit scales are measured on, and what an export's mAP is judged by."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np

from singleshot.data.classes import only_classes
from singleshot.data.recognise import default_splits, open_data
from singleshot.data.splitting import split as hold_out
from singleshot.decode import decode_image
from singleshot.errors import DataError, VerificationError
from singleshot.evaluate.protocols import evaluate
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.runtime.engine import Backend, resize_into
from singleshot.runtime.openvino_core import openvino
from singleshot.shapes import UInt8
from singleshot.spec import ModelSpec
from singleshot.types import Annotations

MOST_IMAGES = 300
"""Images to measure the range of activations on."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images to measure on and, apart from them, images to judge by.

    Attributes:
        measured: the training split, or all but a fifth.
        judged: the validation split, else the test split, else the fifth.
        judged_name: its name; "a fifth held out" where it has none.
    """

    measured: Annotations
    judged: Annotations
    judged_name: str

    @classmethod
    def open(cls, data: str, spec: ModelSpec) -> Calibration:
        """The two parts of a data set.

        Raises:
            RequestError, DataError: no data set, an empty one, or none of the model's classes in it.
        """
        train, val, test = default_splits(data)
        measured = open_data(data, split=train)
        name = val or test
        if name:
            judged = open_data(data, split=name)
        else:
            measured, judged = hold_out(measured, seed=0)
        shared = [name for name in spec.class_names if name in judged.class_names]
        judged = only_classes(judged, shared)
        if not len(judged.labels):
            raise DataError(f"{data} has none of the model's classes: {', '.join(spec.class_names)}")
        return cls(measured, judged, f"split {name}" if name else "a fifth held out")

    def images(self, input_size_hw: tuple[int, int], most: int = MOST_IMAGES) -> list[UInt8[np.ndarray, "1 h w 3"]]:
        """Some hundred network inputs, evenly spaced over the measured part."""
        count = min(most, len(self.measured))
        chosen = np.linspace(0, len(self.measured) - 1, count).round().astype(int)
        inputs = []
        for index in chosen:
            inputs.append(np.empty((1, *input_size_hw, 3), np.uint8))
            resize_into(inputs[-1], [decode_image(self.measured.path(int(index)))])
        return inputs

    def mean_ap(self, backend: Backend) -> float:
        """On the judged part, 0..1."""
        found = detect_in_set(Detector(backend, name="export"), self.judged)
        return evaluate(self.judged, found).mean_ap or 0.0

    def judgement(self, before: float, after: float, spared: tuple[str, ...] = ()) -> Judgement:
        """What an export costs here."""
        return Judgement(before, after, len(self.judged), self.judged_name, spared)


@dataclass(frozen=True)
class Judgement:
    """mAP of the source and of its export on the same images, 0..1.

    Attributes:
        before: of the source.
        after: of the export.
        images: how many.
        split: which, in words.
        spared: blocks that were left at the higher precision for it.
    """

    before: float
    after: float
    images: int
    split: str
    spared: tuple[str, ...] = ()

    def __str__(self) -> str:
        """A line for people."""
        line = (
            f"mAP {100 * self.before:.1f}% before, {100 * self.after:.1f}% after "
            f"({100 * (self.after - self.before):+.1f} points), on {self.images} images, {self.split}"
        )
        if not self.spared:
            return line
        more = f" and {len(self.spared) - 4} more" if len(self.spared) > 4 else ""
        return f"{line}; at a higher precision: {', '.join(self.spared[:4])}{more}"

    def require_at_most(self, lost: float) -> None:
        """Refuse an export that lost more.

        Raises:
            VerificationError: it did.
        """
        if self.before - self.after > lost:
            raise VerificationError(
                f"the export lost too much: {self}; it was not kept (--most-lost keeps the layers that hurt at a "
                "higher precision)"
            )


def quantised(
    model: openvino.Model,
    images: Sequence[UInt8[np.ndarray, "1 h w 3"]],
    *,
    spared: Collection[str] = (),
    quietly: bool = False,
) -> openvino.Model:
    """The graph with 8-bit convolutions (NNCF's post-training quantisation with fast bias correction).

    Args:
        model: the graph.
        images: to measure the range of activations on.
        spared: layers that stay as they are, by name.
        quietly: without bars.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # NNCF has torch look for a GPU's compiler
    import nncf

    preset = nncf.QuantizationPreset.MIXED
    with redirect_stdout(io.StringIO() if quietly else sys.stderr):  # its bars
        return nncf.quantize(
            model,
            nncf.Dataset(images),
            subset_size=len(images),
            preset=preset,
            ignored_scope=nncf.IgnoredScope(names=list(spared)) if spared else None,
        )
