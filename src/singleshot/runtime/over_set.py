"""Detect in every picture of a data set."""

from __future__ import annotations

from collections.abc import Callable

from singleshot.errors import PictureError
from singleshot.runtime.detector import Detector
from singleshot.types import Annotations, Detections


def detect_in_set(
    detector: Detector,
    annotations: Annotations,
    *,
    batch_size: int = 8,
    on_picture: Callable[[int], None] = lambda _done: None,
) -> list[Detections]:
    """Detections of every picture, in the set's order.

    Args:
        detector: any detector; its classes need not be those of the set.
        annotations: the set.
        batch_size: pictures a forward.
        on_picture: called with the number of pictures done.

    Raises:
        PictureError: a picture of the set cannot be used; evaluation of a part would be another figure.
    """
    paths = (annotations.path(i) for i in range(len(annotations)))
    results: list[Detections] = []
    for item in detector.stream(paths, batch_size=batch_size):
        if isinstance(item, PictureError):
            raise item
        results.append(item[2])
        on_picture(len(results))
    return results
