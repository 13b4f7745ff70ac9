"""Rows of C + 4 + 8 numbers, as classic ports have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from singleshot.errors import ModelError
from singleshot.models.ssd import SSD
from singleshot.ssd.coder import decode
from singleshot.ssd.detection import postprocess
from singleshot.train.classic import ClassicRows
from singleshot.types import Sample
from singleshot.variants import SSD300_VGG16

NETWORK = SSD(replace(SSD300_VGG16, class_names=("a", "b", "c"), width=1 / 16), seed=0).eval()
ROWS = ClassicRows(NETWORK)


def sample(boxes: list[list[float]], labels: list[int]) -> Sample:
    return Sample(
        np.zeros((4, 4, 3), np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.zeros(len(labels), bool),
    )


def test_a_image_becomes_a_row_for_each_default_box() -> None:
    ground_truth = [[0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 0.95, 0.9]]
    rows = ROWS.encode(sample(ground_truth, [2, 0]))
    assert rows.shape == (8732, 4 + 4 + 8)
    assert rows.dtype == np.float32
    assert (rows[:, :4].sum(axis=1) == 1).all()
    np.testing.assert_array_equal(rows[:, 8:12], NETWORK.default_boxes.numpy())
    np.testing.assert_allclose(rows[:, 12:], [[0.1, 0.1, 0.2, 0.2]] * 8732)
    background = rows[:, 0] == 1
    assert 0 < (~background).sum() < 200
    assert (rows[background, 4:8] == 0).all()
    for label, target in ((2, ground_truth[0]), (0, ground_truth[1])):
        mine = rows[rows[:, 1 + label] == 1]
        decoded = decode(mine[:, 4:8], mine[:, 8:12], (0.1, 0.1, 0.2, 0.2))
        np.testing.assert_allclose(decoded, [target] * len(mine), atol=1e-5)
    assert (ROWS.encode(sample([], []))[:, 0] == 1).all()
    with pytest.raises(ModelError, match=r"0 \.\. 2, got 3"):
        ROWS.encode(sample([[0, 0, 1, 1]], [3]))


def test_targets_as_rows_are_detected_as_the_ground_truth() -> None:
    ground_truth = [[0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 0.95, 0.9]]
    rows = ROWS.encode(sample(ground_truth, [2, 0]))
    found = postprocess(rows[:, 4:8], rows[:, :4], rows[:, 8:12], rows[:, 12:], NETWORK.spec.postprocess)
    assert sorted(found.labels.tolist()) == [0, 2]
    order = np.argsort(-found.labels)
    np.testing.assert_allclose(found.boxes_xyxy[order], ground_truth, atol=1e-5)


def test_predictions_as_rows() -> None:
    with torch.inference_mode():
        predictions = NETWORK(torch.randn(2, 3, 300, 300))
        rows = ROWS.of(predictions)
    assert rows.shape == (2, 8732, 16)
    assert torch.allclose(rows[..., :4].sum(dim=-1), torch.ones(2, 8732))
    assert torch.equal(rows[..., 4:8], predictions.offsets)
    assert torch.equal(rows[0, :, 8:12], NETWORK.default_boxes)
