from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_fixtures import voc
from ground_truth_sets import ground_truth_set
from singleshot.cli.main import run
from singleshot.commands.options import EvaluateOptions
from singleshot.errors import RequestError
from singleshot.evaluate.matching import MatchedDetections
from singleshot.evaluate.pre_annotation import PreAnnotation, expected_corrections, measure_pre_annotation
from singleshot.types import Detections

OBJECT = (0, 0, 100, 100)
EXACT, LOOSE, FAR = (0, 0, 100, 90), (0, 0, 100, 60), (0, 0, 100, 45)  # IoU 0.9, 0.6, 0.45


def detections(*rows: tuple[tuple[int, ...], float, int]) -> Detections:
    """Box, score and label of each."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        ("dot", "plate"),
    )


def measured(
    objects: list[tuple[int, ...]], *rows: tuple[tuple[int, ...], float, int], **changes: object
) -> tuple[int, ...]:
    """Right, moved, drawn and deleted where all objects are dots, at a label score of 0.5."""
    annotations = replace(ground_truth_set(objects, [0] * len(objects)), **changes)
    found = measure_pre_annotation(MatchedDetections.of(annotations, [detections(*rows)]), score=0.5)
    assert found.boxes == found.right + found.moved + found.drawn
    return found.right, found.moved, found.drawn, found.deleted


@pytest.mark.parametrize(
    ("box", "label", "expected"),
    [(EXACT, 0, (1, 0, 0, 0)), (LOOSE, 0, (0, 1, 0, 0)), (FAR, 0, (0, 0, 1, 1)), (EXACT, 1, (0, 0, 1, 1))],
)
def test_an_object_is_right_moved_or_drawn(box, label, expected) -> None:
    assert measured([OBJECT], (box, 0.9, label)) == expected


def test_the_borders_are_an_iou_of_seven_tenths_and_of_a_half() -> None:
    assert measured([OBJECT], ((0, 0, 100, 70), 0.9, 0)) == (1, 0, 0, 0)
    assert measured([OBJECT], ((0, 0, 100, 50), 0.9, 0)) == (0, 1, 0, 0)


def test_detections_below_the_label_score_are_no_labels() -> None:
    assert measured([OBJECT], (EXACT, 0.5, 0)) == (1, 0, 0, 0)
    assert measured([OBJECT], (EXACT, 0.49, 0)) == (0, 0, 1, 0)


def test_a_second_box_of_an_object_is_deleted_and_an_exact_one_comes_before_a_sure_one() -> None:
    assert measured([OBJECT], (EXACT, 0.9, 0), (EXACT, 0.8, 0)) == (1, 0, 0, 1)
    assert measured([OBJECT], (LOOSE, 0.9, 0), (EXACT, 0.6, 0)) == (1, 0, 0, 1)


def test_a_loose_box_falls_to_the_object_that_is_left() -> None:
    second = (0, 30, 100, 100)
    assert measured([OBJECT, second], ((0, 0, 100, 100), 0.9, 0), ((0, 10, 100, 100), 0.8, 0)) == (2, 0, 0, 0)
    assert measured([OBJECT, second], (OBJECT, 0.9, 0), ((0, 0, 100, 95), 0.8, 0)) == (1, 1, 0, 0)


def test_difficult_objects_need_no_box_and_forgive_one() -> None:
    assert measured([OBJECT], (EXACT, 0.9, 0), difficult=np.array([True])) == (0, 0, 0, 0)


def test_an_empty_image_and_no_detections() -> None:
    assert measured([]) == (0, 0, 0, 0)
    assert measured([], (EXACT, 0.9, 0)) == (0, 0, 0, 1)
    assert measured([OBJECT]) == (0, 0, 1, 0)


def test_expected_corrections_by_hand() -> None:
    assert expected_corrections(detections(), score=0.5) == 0
    rows = ((OBJECT, 0.9, 0), (OBJECT, 0.5, 0), (OBJECT, 0.4, 1), (OBJECT, 0.1, 1), (OBJECT, 0.09, 1))
    assert expected_corrections(detections(*rows), score=0.5) == pytest.approx(0.1 + 0.5 + 0.4 + 0.1)


def test_evaluate_tells_what_the_detections_would_save(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = voc(tmp_path / "set", {"a": [("car", (5, 5, 25, 20))], "b": [("car", (2, 2, 30, 28))]})
    rows = {"a": [5, 5, 25, 20], "b": [2, 2, 30, 18]}
    images = [
        {"file": f"{name}.png", "width": 40, "height": 30, "detections": [{"box": box, "label": "car", "score": 0.35}]}
        for name, box in rows.items()
    ]
    (tmp_path / "found.json").write_text(json.dumps({"model": "by hand", "images": images}))
    command = ["evaluate", str(data), "--detections", str(tmp_path / "found.json"), "--json", str(tmp_path / "f.json")]
    assert run(command) == 0
    expected = {"score": 0.3, "boxes": 2, "right": 1, "moved": 1, "drawn": 0, "deleted": 0}
    assert json.loads((tmp_path / "f.json").read_text())["pre_annotation"] == expected
    assert "of 2 boxes 50.0% are right (IoU 0.7), 50.0% to be moved" in capsys.readouterr().out
    assert run([*command, "--label-score", "0.4", "--report", str(tmp_path / "page.html")]) == 0
    assert "as labels from score 0.4 on, of 2 boxes 0.0% are right" in (tmp_path / "page.html").read_text()
    assert json.loads((tmp_path / "f.json").read_text())["pre_annotation"]["drawn"] == 2


def test_a_label_score_is_between_0_and_1() -> None:
    with pytest.raises(RequestError, match="--label-score"):
        EvaluateOptions("set", label_score=1.5)


def test_shares_of_nothing_are_zero() -> None:
    assert "of 0 boxes 0.0% are right" in str(PreAnnotation(0.3, 0, 0, 0, 0))
