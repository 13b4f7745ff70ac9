"""singleshot: the SSD family of object detectors, exact and fast.

    from singleshot import Detector
    detector = Detector.load("runs/blood/best")
    detections = detector("slide.jpg")
    detections.boxes, detections.names, detections.scores

Importing this package imports nothing heavy: each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from singleshot.data.recognise import open_data
    from singleshot.errors import SingleshotError
    from singleshot.evaluate.protocols import Evaluation
    from singleshot.runtime.detector import Detector
    from singleshot.tracking.byte_track import Tracker
    from singleshot.types import Annotations, Detection, Detections, GroundTruth

__all__ = [
    "Annotations",
    "Detection",
    "Detections",
    "Detector",
    "Evaluation",
    "GroundTruth",
    "SingleshotError",
    "Tracker",
    "open_data",
]

_HOMES = {
    "Annotations": "singleshot.types",
    "Detection": "singleshot.types",
    "Detections": "singleshot.types",
    "Detector": "singleshot.runtime.detector",
    "Evaluation": "singleshot.evaluate.protocols",
    "SingleshotError": "singleshot.errors",
    "GroundTruth": "singleshot.types",
    "Tracker": "singleshot.tracking.byte_track",
    "open_data": "singleshot.data.recognise",
}


_OLD_NAMES = {"Truths": "GroundTruth"}
"""Names of version 0.1.0 that still work."""


def __getattr__(name: str) -> Any:
    name = _OLD_NAMES.get(name, name)
    if name not in _HOMES:
        raise AttributeError(f"module 'singleshot' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
