"""Caffe io.cpp, ReadXMLToAnnotatedDatum: the same rows, in the order that the matcher sees.

Tolerance 0: both sides divide float32 by float32 once.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from golden import GOLDEN, needs_golden
from singleshot.data.sample import ground_truth_to_learn
from singleshot.data.voc import read_voc_xml
from singleshot.types import GroundTruth

FOLDER = GOLDEN / "9_training"
CASES = sorted(file for file in FOLDER.glob("*.xml") if file.with_suffix(".json").is_file())


@needs_golden
@pytest.mark.skipif(not CASES, reason="no golden annotation is here")
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_rows_are_caffes(file) -> None:
    golden = json.loads(file.with_suffix(".json").read_text())
    rows = np.array(golden["rows"], np.float32).reshape(-1, 7)
    found = read_voc_xml(file.read_bytes(), file.name)
    names, count = golden["name_to_label"], len(found.objects)
    ground_truth = GroundTruth(
        np.array([box for _, box, _, _ in found.objects], np.float32).reshape(-1, 4),
        np.array([names[name] for _, _, name, _ in found.objects], np.int64),
        np.array([difficult for _, _, _, difficult in found.objects], bool),
        np.zeros(count, bool),
        np.zeros(count, np.float32),
    )
    boxes, labels, difficult = ground_truth_to_learn(ground_truth, width=found.width, height=found.height)
    assert labels.tolist() == rows[:, 0].tolist()
    assert difficult.tolist() == rows[:, 6].astype(bool).tolist()
    np.testing.assert_array_equal(boxes, rows[:, 2:6])
