from __future__ import annotations

import numpy as np
import pytest

from caffe_evaluation import detection_evaluate


def evaluated(box, **settings):
    """One object over 0.1..0.5 of the width and all of the height, one detection of the same class, two classes."""
    ground_truth = np.array([[0, 1, 0, 0.1, 0, 0.5, 1, 0]], np.float32)
    detected = np.array([[0, 1, 0.9, *box]], np.float32)
    return detection_evaluate(
        ground_truth, detected, num_classes=3, iou_threshold=0.5, evaluate_difficult=False, **settings
    )


def test_pixels_count_both_edges_of_each_side():
    box = (0.1, 0, 0.28, 1)  # fractions: 0.18 / 0.4 = 0.45
    assert evaluated(box).rows[2].tolist() == pytest.approx([0, 1, 0.9, 0, 1])
    # 10 pixels wide: (1.8 + 1) / (4 + 1) = 0.56. Height and width exchanged: 181 / 401.
    assert evaluated(box, sizes_hw=np.array([[1000, 10]])).rows[2].tolist() == pytest.approx([0, 1, 0.9, 1, 0])


def test_pixels_are_clipped_to_the_image():
    beyond = (0.1, -3, 0.5, 4)  # seven times too high, but not inside the image
    assert evaluated(beyond).rows[2, 3] == 0
    assert evaluated(beyond, sizes_hw=np.array([[100, 100]])).rows[2, 3] == 1


def test_an_absent_class_counts_as_zero():
    result = evaluated((0.1, 0, 0.5, 1))
    assert result.average_precisions("11point").tolist() == [0, 1, 0]
    assert result.mean_ap("11point") == 0.5
