"""What every engine shares: leaving out boxes that are surely background changes nothing."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from singleshot.preprocess import to_network_input
from singleshot.runtime.engine import raw_detections, resize_into
from singleshot.spec import Postprocess, Preprocess
from singleshot.ssd import detection as module
from singleshot.ssd.detection import postprocess
from singleshot.variants import SSD300_VGG16


def predictions(seed: int, background: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(2, 400, 6)).astype(np.float32) * 2
    logits[..., 0] += background
    powers = np.exp(logits - logits.max(axis=2, keepdims=True))
    corners = np.sort(random.random((400, 2, 2)), axis=1).reshape(400, 4).astype(np.float32)
    offsets = random.normal(size=(2, 400, 4)).astype(np.float32)
    return offsets, (powers / powers.sum(axis=2, keepdims=True)).astype(np.float32), corners


@pytest.mark.parametrize("background", [-3.0, 4.0, 9.0, 60.0])
@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("compiled", [True, False])
def test_boxes_that_are_surely_background_are_left_out_unseen(
    background: float, threshold: float, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(module, "detection_output", None)
    spec = replace(SSD300_VGG16, postprocess=Postprocess(score_threshold=threshold))
    offsets, probabilities, boxes = predictions(1, background)
    for number, detections in enumerate(raw_detections(spec, boxes, offsets, probabilities)):
        all_of_them = postprocess(offsets[number], probabilities[number], boxes, spec.boxes.variances, spec.postprocess)
        np.testing.assert_array_equal(detections.boxes_xyxy, all_of_them.boxes_xyxy)
        np.testing.assert_array_equal(detections.labels, all_of_them.labels)
        np.testing.assert_array_equal(detections.scores, all_of_them.scores)


def test_a_sick_network_is_counted_not_hidden() -> None:
    offsets, probabilities, boxes = predictions(2, 9.0)
    probabilities[0, :7] = np.nan
    healthy, sick = raw_detections(SSD300_VGG16, boxes, offsets[::-1], probabilities[::-1])
    assert (healthy.dropped, sick.dropped) == (0, 7)
    assert np.isfinite(sick.scores).all()


RAW = Preprocess(mean_rgb=(0, 0, 0), channel_order="rgb")


def test_images_are_resized_as_in_training() -> None:
    image = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)
    buffer = np.zeros((2, 40, 60, 3), np.uint8)
    resize_into(buffer, [image, image[::2, ::2]])
    np.testing.assert_array_equal(buffer[0], image)
    small = cv2.resize(image[::2, ::2], (60, 40), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(buffer[1], small)
    np.testing.assert_array_equal(to_network_input(image[::2, ::2], (40, 60), RAW), small.transpose(2, 0, 1))
