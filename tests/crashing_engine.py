"""Engines that end their process, for tests: models that `EngineProcess` loads."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from singleshot.errors import ModelError
from singleshot.spec import ModelSpec
from singleshot.ssd.detection import RawDetections

CRASH, FAIL, SLOW = 250, 240, 230
"""Shades of red in the upper left corner: the process ends, the engine raises an error, or takes its time."""


@dataclass(frozen=True)
class CrashingModel:
    """An engine that crashes at some images.

    Attributes:
        spec: of any model.
        count: workers; 0: it takes batches.
        absent: while there is such a file, the model cannot be loaded.
    """

    spec: ModelSpec
    count: int
    absent: Path = Path("nothing-here")

    def load(self) -> CrashingModel:
        """The engine."""
        if self.absent.exists():
            raise ModelError("its folder is damaged")
        return self

    def workers(self) -> Sequence[partial[RawDetections]]:
        """So many."""
        return [partial(self.detect)] * self.count

    def __call__(self, images: Sequence[np.ndarray], *, score_threshold: float | None = None) -> list[RawDetections]:
        """One box in each image."""
        return [self.detect(image, score_threshold=score_threshold) for image in images]

    def detect(self, image: np.ndarray, *, score_threshold: float | None = None) -> RawDetections:
        """A box of which the left tells the image's shade, the top the threshold."""
        shade = int(image[0, 0, 0])
        if shade == CRASH:
            signal.raise_signal(signal.SIGSEGV)  # in this thread, at once
        if shade == FAIL:
            raise RuntimeError("red")
        if shade == SLOW:
            time.sleep(0.3)
        box = np.array([[shade / 1000, score_threshold or 0, 1, 1]], np.float32)
        return RawDetections(box, np.array([0.9], np.float32), np.array([2]), dropped=shade)
