from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import data_fixtures as drawn
from singleshot.commands.export import _images_of
from singleshot.data.recognise import open_data
from singleshot.export.calibration import CalibrationData
from singleshot.ssd.detection import RawDetections
from singleshot.variants import variant


class Nothing:
    """An engine that detects nothing."""

    spec = replace(variant("ssdlite320-mobilenetv2"), class_names=("dog",))

    def __call__(self, images: Sequence[np.ndarray], **options: object) -> list[RawDetections]:
        assert set(options) == {"score_threshold"}
        empty = RawDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
        return [empty for _ in images]

    def workers(self) -> tuple[object, ...]:
        return ()


def test_an_evaluation_for_an_export_tells_of_each_image(tmp_path: Path) -> None:
    images = {name: [("dog", ("3", "4", "30", "20"))] for name in "abc"}
    annotations = open_data(drawn.voc(tmp_path / "set", images))
    told: list[str] = []
    data = CalibrationData(annotations, annotations, "split val")
    data.mean_ap(Nothing(), on_image=_images_of(told.append, "evaluating the export"))
    assert told == [f"evaluating the export: {done} of 3 images" for done in (1, 2, 3)]
