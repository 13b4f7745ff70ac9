"""Golden 8: DetectionEvaluate and ComputeAP of the authors' Caffe.

AP is float32 there: 1e-6 is eight of its units at 1. In the cases with equal scores the order of Caffe's rows is that
of an unstable sort, so AP is compared to 1e-2 and rows not at all, as the golden README says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from caffe_evaluation import CaffeEvaluation, detection_evaluate
from golden import arrays, index, needs_golden

pytestmark = needs_golden

CASES = index("8_evaluation/cases.json")
VERSIONS = ("11point", "MaxIntegral", "Integral")


def run(case: dict[str, Any]) -> tuple[CaffeEvaluation, dict[str, np.ndarray]]:
    data = arrays(f"8_evaluation/{case['name']}.npz")
    result = detection_evaluate(
        data["gt"],
        data["det"],
        num_classes=case["num_classes"],
        iou_threshold=case["overlap_threshold"],
        evaluate_difficult=case["evaluate_difficult_gt"],
        sizes_hw=data["image_hw"] if case["pixel"] else None,
    )
    return result, data


def has_ties(data: dict[str, np.ndarray]) -> bool:
    """Whether two detections of a class have the same score."""
    return len(np.unique(data["det"][:, 1:3], axis=0)) < len(data["det"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("version", VERSIONS)
def test_average_precision_is_caffes(case, version):
    result, data = run(case)
    tolerance = 1e-2 if has_ties(data) else 1e-6
    np.testing.assert_allclose(result.average_precisions(version), data[f"AP_{version}"], rtol=0, atol=tolerance)
    assert result.mean_ap(version) == pytest.approx(case["mAP"][version], rel=0, abs=tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_rows_and_curve_are_caffes(case):
    result, data = run(case)
    np.testing.assert_array_equal(result.positives, data["num_pos"])
    if has_ties(data):
        heads = case["num_classes"] - 1
        np.testing.assert_array_equal(result.rows[:heads], data["eval_rows"][:heads])
        return
    np.testing.assert_array_equal(result.rows, data["eval_rows"])
    recall, precision = result.curve(int(data["pr_class"]))
    np.testing.assert_allclose(recall, data["rec"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(precision, data["prec"], rtol=0, atol=1e-6)
