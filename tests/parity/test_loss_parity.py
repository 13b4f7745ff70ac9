"""Golden 4: Caffe's MultiBoxLoss, forward and backward, every case of cases.json."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from golden import arrays, default_boxes, gauss, index, needs_golden
from singleshot.ssd.loss import (
    LossSettings,
    MultiBoxLoss,
    background_logistic_loss,
    background_softmax_loss,
    multibox_loss,
)
from singleshot.ssd.matching import assign, match
from singleshot.ssd.tensors import Predictions, Targets

pytestmark = needs_golden

LOCATION_LOSSES = {"SMOOTH_L1": "smooth_l1", "L2": "l2"}


def layer_options(text: str) -> dict[str, str]:
    """The layer's `key: value` pairs; the last of a repeated key counts, as in protobuf's text format."""
    return dict(re.findall(r"(\w+)\s*:\s*\"?([-\w.+]+)\"?", text))


@dataclass
class Case:
    """A case with its inputs regenerated and our loss computed."""

    golden: dict[str, np.ndarray]
    layer: dict[str, str]
    offsets: torch.Tensor
    logits: torch.Tensor
    targets: Targets
    ground_truth: torch.Tensor
    loss: MultiBoxLoss


def padded_ground_truth(rows: np.ndarray, batch: int, *, difficult: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes and classes of each image, from the rows of Caffe's label blob."""
    kept = rows[(rows[:, 0] >= 0) & (difficult | (rows[:, 7] == 0))]
    of_images = [kept[kept[:, 0] == image] for image in range(batch)]
    longest = max(len(rows) for rows in of_images)
    boxes, classes = torch.zeros(batch, longest, 4), torch.zeros(batch, longest, dtype=torch.int64)
    for image, rows in enumerate(of_images):
        boxes[image, : len(rows)] = torch.from_numpy(rows[:, 3:7])
        classes[image, : len(rows)] = torch.from_numpy(rows[:, 1]).long()
    return boxes, classes


def predictions_of(entry: dict[str, Any], golden: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    batch, count, classes = entry["batch"], entry["num_priors"], entry["num_classes"]
    offsets = gauss(entry["seed_loc"], (batch, count, 4)) * np.float32(entry["loc_scale"])
    logits = gauss(entry["seed_conf"], (batch, count, classes)) * np.float32(entry["conf_scale"])
    logits[:, :, 0] += np.float32(entry["background_bias"])
    np.testing.assert_array_equal(offsets.ravel()[:8], golden["loc_head"])
    np.testing.assert_array_equal(logits.ravel()[:8], golden["conf_head"])
    return torch.from_numpy(offsets).requires_grad_(), torch.from_numpy(logits).requires_grad_()


def computed(entry: dict[str, Any]) -> Case:
    golden = arrays(f"4_loss/{entry['name']}.npz")
    layer = layer_options(entry["layer"])
    boxes = default_boxes(entry["priors"])
    variances = torch.from_numpy(boxes["variances"][0])
    offsets, logits = predictions_of(entry, golden)
    matching = {
        "iou_threshold": float(layer["overlap_threshold"]),
        "bipartite_only": layer["match_type"] == "BIPARTITE",
        "ignore_cross_boundary": layer["ignore_cross_boundary_bbox"] == "true",
    }
    corners = torch.from_numpy(boxes["boxes"])
    ground_truth, classes = padded_ground_truth(
        golden["gt"], entry["batch"], difficult=layer["use_difficult_gt"] == "true"
    )
    targets = assign(corners, ground_truth, classes, variances, code=layer["code_type"].lower(), **matching)
    # With the variances in the target, Caffe's loss layer divides both sides by them: the same targets as ours.
    scale = variances if layer["encode_variance_in_target"] == "true" else torch.ones(4)
    loss = multibox_loss(
        Predictions(offsets / scale, logits),
        targets,
        LossSettings(
            negative_ratio=float(layer["neg_pos_ratio"]),
            negative_iou_threshold=float(layer["neg_overlap"]),
            alpha=float(layer["loc_weight"]),
            normalization=layer["normalization"].lower(),
            mining=layer["mining_type"].lower(),
            location_loss=LOCATION_LOSSES[layer["loc_loss_type"]],
            confidence_loss=layer["conf_loss_type"].lower(),
        ),
    )
    loss.total.backward()
    return Case(
        golden,
        layer,
        offsets,
        logits,
        targets,
        match(corners, ground_truth, classes > 0, **matching).ground_truth,
        loss,
    )


def mined_set_is_defined(case: Case) -> bool:
    """Whether no two boxes tie at the cut; Caffe's sort is unstable, so that among ties any may be taken."""
    background = background_softmax_loss if case.layer["conf_loss_type"] == "SOFTMAX" else background_logistic_loss
    losses = background(case.logits.detach())
    eligible = ~case.targets.matched & (case.targets.ious < float(case.layer["neg_overlap"]))
    taken, left = case.loss.negatives, eligible & ~case.loss.negatives
    least_taken = losses.masked_fill(~taken, torch.inf).amin(dim=1)
    greatest_left = losses.masked_fill(~left, -torch.inf).amax(dim=1)
    return bool((greatest_left < least_taken).all())


def full_gradient(rows: np.ndarray, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    gradient = np.zeros(shape, np.float32)
    gradient[rows[:, 0], rows[:, 1]] = values
    return gradient


def assert_gradient(ours: torch.Tensor, caffes: np.ndarray) -> None:
    greatest = max(float(np.abs(caffes).max()), 1e-30)
    np.testing.assert_allclose(ours.numpy() / greatest, caffes / greatest, rtol=0, atol=1e-5)
    assert not ours.numpy()[caffes == 0].any()


@pytest.mark.parametrize("entry", index("4_loss/cases.json"), ids=lambda entry: entry["name"])
def test_loss_mined_boxes_and_gradients_equal_caffes(entry: dict[str, Any]) -> None:
    case = computed(entry)
    golden, loss = case.golden, case.loss
    np.testing.assert_array_equal(case.ground_truth.numpy(), golden["match_idx"])
    assert int(loss.num_matched) == golden["num_matches"]
    # Caffe accumulates in float32 in another order: 1e-5 relative.
    np.testing.assert_allclose(float(loss.location_sum), golden["loc_loss_sum"], rtol=1e-5)
    np.testing.assert_allclose(float(loss.confidence_sum), golden["conf_loss_sum"], rtol=1e-5)
    np.testing.assert_allclose(float(loss.total.detach()), golden["total"], rtol=1e-5)
    if case.layer["encode_variance_in_target"] != "true":  # there Caffe's backward forgets the variance
        assert_gradient(
            case.offsets.grad, full_gradient(golden["loc_grad_rows"], golden["loc_grad"], case.offsets.shape)
        )
    if case.layer["mining_type"] == "NONE":
        assert bool((loss.negatives == ~case.targets.matched).all())
    else:
        assert int(loss.negatives.sum()) == len(golden["neg"])
        if not mined_set_is_defined(case):
            return
        np.testing.assert_array_equal(loss.negatives.nonzero().numpy(), golden["neg"])
    assert_gradient(case.logits.grad, full_gradient(golden["conf_grad_rows"], golden["conf_grad"], case.logits.shape))
