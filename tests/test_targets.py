"""Targets: matching and coding together."""

from __future__ import annotations

import math

import pytest
import torch

from singleshot.ssd.coder import decode
from singleshot.ssd.matching import assign

VARIANCES = (0.1, 0.1, 0.2, 0.2)
BOXES = torch.tensor([[0, 0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.5, 0, 0.9, 0.4], [-0.1, 0.5, 0.3, 0.9]])


def test_offsets_and_classes_stand_at_the_matched_boxes_only() -> None:
    ground_truth = torch.tensor([[[0.52, 0.5, 0.92, 0.9], [9.0, 9, 9, 9]], [[0.0, 0, 0, 0], [0, 0, 0, 0]]])
    targets = assign(BOXES, ground_truth, torch.tensor([[7, 0], [0, 0]]), VARIANCES)
    assert targets.classes.tolist() == [[0, 7, 0, 0], [0, 0, 0, 0]]
    assert targets.matched.sum() == 1
    assert targets.offsets[0, 1].tolist() == pytest.approx([0.02 / 0.4 / 0.1, 0, 0, 0], abs=1e-5)
    assert targets.offsets.count_nonzero(dim=-1).bool().sum() == 1
    assert targets.has_ground_truth.tolist() == [True, False]


def test_decoding_the_targets_gives_the_ground_truth_back() -> None:
    ground_truth = torch.tensor([[[0.05, 0, 0.35, 0.45], [0.5, 0.45, 0.95, 0.9]]])
    targets = assign(BOXES, ground_truth, torch.tensor([[1, 2]]), VARIANCES)
    back = decode(targets.offsets, BOXES, VARIANCES)[0]
    for box, cls in enumerate(targets.classes[0].tolist()):
        if cls:
            assert back[box].tolist() == pytest.approx(ground_truth[0, cls - 1].tolist(), abs=1e-6)
    assert set(targets.classes[0].tolist()) == {0, 1, 2}


def test_a_ground_truth_without_area_gives_no_target_and_no_infinity() -> None:
    targets = assign(BOXES, torch.tensor([[[0.1, 0.1, 0.1, 0.3]]]), torch.tensor([[1]]), VARIANCES)
    assert not targets.matched.any()
    assert math.isfinite(float(targets.offsets.abs().sum()))
    assert targets.has_ground_truth.tolist() == [True]


def test_boxes_outside_the_image_are_no_negatives_when_ignored() -> None:
    ground_truth = torch.tensor([[[0, 0, 0.4, 0.4]]])
    ignoring = assign(BOXES, ground_truth, torch.tensor([[1]]), VARIANCES, ignore_cross_boundary=True)
    assert ignoring.overlaps[0].tolist() == [1, 0, 0, 1]
    assert ignoring.classes[0].tolist() == [1, 0, 0, 0]
    assert assign(BOXES, ground_truth, torch.tensor([[1]]), VARIANCES).overlaps[0].tolist() == [1, 0, 0, 0]
