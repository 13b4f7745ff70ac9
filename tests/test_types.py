"""What people see of the values that flow."""

from __future__ import annotations

import numpy as np

from singleshot.types import Detections


def test_detections_tell_how_many_and_the_best() -> None:
    boxes = np.array([[1.4, 2, 3, 4]] * 5, np.float32)
    found = Detections(boxes, np.linspace(0.9, 0.1, 5, dtype=np.float32), np.array([0, 1, 0, 1, 0]), ("cat", "dog"))
    assert repr(found) == (
        "<5 detections: cat 0.90 at [1, 2, 3, 4], dog 0.70 at [1, 2, 3, 4], cat 0.50 at [1, 2, 3, 4], ...>"
    )
    assert repr(found.above(0.8)) == "<1 detections: cat 0.90 at [1, 2, 3, 4]>"
    assert repr(found.above(1)) == "<0 detections>"
