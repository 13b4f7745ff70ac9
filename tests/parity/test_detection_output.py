"""Post-processing against Caffe's DetectionOutput layer, golden 5: row by row, 1e-5 (exponentials differ by an ulp).

Where scores are tied Caffe's last cut is undefined (std::sort): there the scores must be equal as multisets, and every
row that scores above its image's cut must be the same.
"""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import torch

from golden import arrays, caffe_rows, index, needs_golden
from singleshot.spec import Postprocess
from singleshot.ssd import detection as module
from singleshot.ssd.detection import postprocess
from singleshot.ssd.detection_torch import postprocess_batch, postprocess_on_device
from singleshot.ssd.tensors import Predictions

CASES = {case["name"]: case for case in index("5_detection_output/cases.json")}
NO_THRESHOLD = float(np.finfo(np.float32).min)
pytestmark = needs_golden


def settings_of(case):
    params = case["params"]
    threshold = NO_THRESHOLD if params["conf"] is None else float(params["conf"])
    return Postprocess(
        threshold, float(params["nms"]), int(params["top_k"]), int(params["keep"]), nms_eta=float(params["eta"])
    )


def inputs_of(case):
    data = arrays(f"5_detection_output/{case['name']}.npz")
    small = case["priors"].startswith("small")
    priors = arrays(f"2_matching/priors_{case['priors']}.npz" if small else f"1_priors/{case['priors']}.npz")
    in_target = case["params"]["vit"] == "true"
    variances = np.ones_like(priors["boxes"]) if in_target else priors["variances"]
    code = re.search(r"code_type: (\w+)", case["layer"])
    return data, priors["boxes"], variances, code[1].lower() if code else "corner"  # the proto's default


def sorted_rows(rows):
    return rows[np.lexsort([*np.round(rows[:, :2:-1], 4).T, -rows[:, 2], rows[:, 1], rows[:, 0]])]


def above_the_cut(rows, keep):
    parts = []
    for image in np.unique(rows[:, 0]):
        of_image = rows[rows[:, 0] == image]
        is_cut = 0 <= keep <= len(of_image)
        parts.append(of_image[of_image[:, 2] > of_image[:, 2].min()] if is_cut else of_image)
    return sorted_rows(np.concatenate(parts))


def assert_equal(rows, expected, case):
    assert rows.shape == expected.shape
    if not case["kind"].startswith("ties"):
        np.testing.assert_array_equal(rows[:, :2], expected[:, :2])
        np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5)
        return
    for image in np.unique(expected[:, 0]):
        scores = [np.sort(table[table[:, 0] == image, 2]) for table in (rows, expected)]
        np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)
    keep = case["params"]["keep"]
    np.testing.assert_allclose(above_the_cut(rows, keep), above_the_cut(expected, keep), rtol=0, atol=1e-5)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "numpy"])
@pytest.mark.parametrize("name", CASES)
def test_detections_are_caffes(name, compiled, monkeypatch):
    case = CASES[name]
    data, boxes, variances, code = inputs_of(case)
    if not compiled:
        monkeypatch.setattr(module, "detection_output", None)
    elif module.detection_output is None:
        assert not shutil.which("cc"), "there is a compiler, but the extension is not built: make install"
        pytest.skip("the compiled extension is not built, and there is no compiler")
    elif code != "center_size":
        pytest.skip(f"boxes coded as {code} are for the reference loop alone")
    batch = [
        postprocess(offsets, scores, boxes, variances, settings_of(case), code=code)
        for offsets, scores in zip(data["loc"], data["prob"], strict=True)
    ]
    assert not any(raw.dropped for raw in batch)
    assert_equal(caffe_rows(batch), data["out"], case)


@pytest.mark.parametrize("name", [name for name in CASES if float(CASES[name]["params"]["eta"]) >= 1])
def test_detections_on_a_device_are_caffes(name):
    case = CASES[name]
    data, boxes, variances, code = inputs_of(case)
    tensors = [torch.tensor(array) for array in (data["loc"], data["prob"], boxes, variances)]
    batch = postprocess_on_device(*tensors, settings_of(case), code=code)
    assert_equal(caffe_rows(batch), data["out"], case)


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name]["kind"].startswith("ties")])
def test_detections_of_raw_predictions_are_caffes(name):
    """Through the softmax, which inverts the logarithm but for the last place (and so would break ties)."""
    case = CASES[name]
    data, boxes, variances, code = inputs_of(case)
    logits = torch.tensor(data["prob"]).clamp(min=1e-30).log()
    predictions = Predictions(torch.tensor(data["loc"]), logits)
    batch = postprocess_batch(predictions, torch.tensor(boxes), torch.tensor(variances), settings_of(case), code=code)
    rows = caffe_rows(batch)
    assert rows.shape == data["out"].shape
    np.testing.assert_allclose(np.sort(rows[:, 2]), np.sort(data["out"][:, 2]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(sorted_rows(rows)[:, :3], sorted_rows(data["out"])[:, :3], rtol=0, atol=1e-5)
