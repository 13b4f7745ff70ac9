"""A user's labelled images: int8 activation ranges come from one part, the mAP of the export from another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from singleshot.data.classes import only_classes
from singleshot.data.recognise import default_splits, open_data
from singleshot.data.splitting import split as hold_out
from singleshot.decode import decode_image
from singleshot.errors import DataError, VerificationError, first_of
from singleshot.evaluate.protocols import evaluate
from singleshot.runtime.detector import Detector, detect_in_set
from singleshot.runtime.engine import Backend, resize_into
from singleshot.shapes import UInt8
from singleshot.spec import ModelSpec
from singleshot.types import Annotations

MOST_IMAGES = 300
"""Images that activation ranges are measured on."""


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Images for calibration and, apart from them, images for validation.

    Attributes:
        calibration: the training split, or all but a fifth.
        validation: the validation split, else the test split, else the fifth.
        validation_name: "split val", or "a fifth held out".
    """

    calibration: Annotations
    validation: Annotations
    validation_name: str

    @classmethod
    def open(cls, data: str, spec: ModelSpec) -> CalibrationData:
        """The two parts of a data set.

        Raises:
            RequestError, DataError: no data set, an empty one, or none of the model's classes in it.
        """
        train, val, test = default_splits(data)
        calibration = open_data(data, split=train)
        name = val or test
        if name:
            validation = open_data(data, split=name)
        else:
            calibration, validation = hold_out(calibration, seed=0)
        shared = [class_name for class_name in spec.class_names if class_name in validation.class_names]
        validation = only_classes(validation, shared)
        if not len(validation.labels):
            raise DataError(f"{data} has none of the model's classes: {first_of(spec.class_names, 5)}")
        return cls(calibration, validation, f"split {name}" if name else "a fifth held out")

    def calibration_images(
        self, input_size_hw: tuple[int, int], most: int = MOST_IMAGES
    ) -> list[UInt8[np.ndarray, "1 h w 3"]]:
        """At most `most` network inputs, evenly spaced over the whole calibration part."""
        count = min(most, len(self.calibration))
        inputs = []
        for index in np.linspace(0, len(self.calibration) - 1, count).round().astype(int):
            inputs.append(np.empty((1, *input_size_hw, 3), np.uint8))
            resize_into(inputs[-1], [decode_image(self.calibration.path(int(index)))])
        return inputs

    def mean_ap(self, backend: Backend, *, on_image: Callable[[int, int], None] = lambda _done, _total: None) -> float:
        """MAP on the validation part, 0..1; `on_image` is called with the number of images done, and of all."""
        total = len(self.validation)
        detector = Detector(backend, name="export")
        detections = detect_in_set(detector, self.validation, on_image=lambda done: on_image(done, total))
        return evaluate(self.validation, detections).mean_ap or 0.0

    def accuracy_drop(self, before: float, after: float, high_precision: tuple[str, ...] = ()) -> AccuracyDrop:
        """What an export costs on the validation part."""
        return AccuracyDrop(before, after, len(self.validation), self.validation_name, high_precision)


@dataclass(frozen=True)
class AccuracyDrop:
    """mAP of the source and of its export on the same images, 0..1.

    Attributes:
        before: of the source.
        after: of the export.
        images: how many.
        split: their split, in words.
        high_precision: blocks that stayed at the higher precision.
    """

    before: float
    after: float
    images: int
    split: str
    high_precision: tuple[str, ...] = ()

    def __str__(self) -> str:
        """A line for people."""
        line = (
            f"mAP {100 * self.before:.1f}% before, {100 * self.after:.1f}% after "
            f"({100 * (self.after - self.before):+.1f} points), on {self.images} images, {self.split}"
        )
        if not self.high_precision:
            return line
        return f"{line}; at a higher precision: {first_of(self.high_precision, 4)}"

    def require_at_most(self, drop: float) -> None:
        """Refuse an export that lost more than `drop`, 0..1.

        Raises:
            VerificationError: it did.
        """
        if self.before - self.after > drop:
            raise VerificationError(
                f"the export lost too much: {self}; it was not kept (--max-map-drop keeps the layers that hurt at a "
                "higher precision)"
            )
