"""Detect in every image of a data set."""

from __future__ import annotations

from collections.abc import Callable

from singleshot.errors import ImageError
from singleshot.runtime.detector import Detector
from singleshot.types import Annotations, Detections


def detect_in_set(
    detector: Detector,
    annotations: Annotations,
    *,
    batch_size: int = 8,
    on_image: Callable[[int], None] = lambda _done: None,
) -> list[Detections]:
    """Detections of every image, in the set's order.

    Args:
        detector: any detector; its classes need not be those of the set.
        annotations: the set.
        batch_size: images a forward.
        on_image: called with the number of images done.

    Raises:
        ImageError: an image of the set cannot be used; evaluation of a part would be another figure.
    """
    paths = (annotations.path(i) for i in range(len(annotations)))
    results: list[Detections] = []
    for item in detector.stream(paths, batch_size=batch_size):
        if isinstance(item, ImageError):
            raise item
        results.append(item[2])
        on_image(len(results))
    return results
