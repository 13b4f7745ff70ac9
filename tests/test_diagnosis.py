"""Why a detector is as good as it is: each figure by hand, and what must hold for any set."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_fixtures import voc
from evaluation_examples import annotations, detections, random_set
from singleshot.cli.main import run
from singleshot.errors import RequestError, UnknownNameError
from singleshot.evaluate.diagnosis.class_groups import COCO_GROUPS, VOC_GROUPS, groups_of, parse_groups, similarity
from singleshot.evaluate.diagnosis.confusion import confusion, score_calibration
from singleshot.evaluate.diagnosis.diagnosis import diagnose
from singleshot.evaluate.diagnosis.error_types import KINDS, MULTIPLES, UNCOUNTED, classify_errors
from singleshot.evaluate.diagnosis.sensitivity import sensitivities
from singleshot.evaluate.matching import MatchedDetections
from singleshot.evaluate.protocols import evaluate
from singleshot.report.diagnosis import render
from singleshot.variants import VOC_CLASSES

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("cat", "dog", "sofa")
CAT, DOG, SOFA = range(3)
SIMILAR = similarity(NAMES, [("cat", "dog")])


def matched(ground_truth, *detected, **options) -> MatchedDetections:
    return MatchedDetections.of(
        annotations(ground_truth, class_names=NAMES, **options),
        [detections(of_image, class_names=NAMES) for of_image in detected],
    )


def test_the_kind_of_each_detection_by_hand():
    ground_truth = [[(0, 0, 10, 10, CAT), (50, 0, 60, 10, DOG), (100, 0, 110, 10, SOFA), (150, 0, 160, 10, CAT)]]
    detected = [
        (0, 0, 10, 10, CAT, 0.9),  # right
        (0, 0, 10, 9, CAT, 0.8),  # found before
        (0, 5, 10, 15, CAT, 0.7),  # 50 / 150: overlaps by a third
        (50, 0, 60, 10, CAT, 0.6),  # on a dog
        (100, 0, 110, 10, CAT, 0.5),  # on a sofa
        (0, 100, 10, 110, CAT, 0.4),  # on nothing
        (150, 0, 160, 10, CAT, 0.3),  # on a difficult cat
        (9, 9, 19, 19, CAT, 0.2),  # touches a cat by less than a tenth
    ]
    result = classify_errors(matched(ground_truth, detected, difficult=[False, False, False, True]), SIMILAR)
    kinds = ["uncounted" if kind == UNCOUNTED else KINDS[kind] for kind in result.kinds]
    assert kinds == [
        "correct", "localisation", "localisation", "similar", "other", "background", "uncounted", "background",
    ]  # fmt: skip
    assert result.ground_truth.tolist() == [1, 1, 1]
    assert result.recall.tolist() == [1, 0, 0]
    unrelated = classify_errors(matched(ground_truth, detected), similarity(NAMES, []))
    assert KINDS[unrelated.kinds[3]] == "other"


def test_what_a_kind_costs():
    ground_truth = [[(0, 0, 10, 10, CAT), (30, 0, 40, 10, CAT)]]
    detected = [(100, 100, 110, 110, CAT, 0.9), (0, 0, 10, 10, CAT, 0.8), (30, 0, 40, 10, CAT, 0.7)]
    result = classify_errors(matched(ground_truth, detected), SIMILAR)
    assert result.average_precision[CAT] == pytest.approx(2 / 3)  # the envelope of 1/2 and 2/3
    assert result.without[:, CAT].tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 1])
    assert result.gains == {
        "localisation": 0, "similar": 0, "other": 0, "background": pytest.approx(1 / 3),
    }  # fmt: skip
    assert classify_errors(matched(ground_truth, [(0, 7, 10, 17, CAT, 0.9)]), SIMILAR).weak_recall[CAT] == 0.5


def test_sizes_and_shapes_by_hand():
    sides = np.arange(10, 30)  # 20 cats: parts of 2, 4, 8, 4, 2
    ground_truth = [[(0, 0, side, side, CAT)] for side in sides]
    detected = [[(0, 0, side, side, CAT, 0.9)] if side >= 12 else [] for side in sides]  # all but the smallest two
    detected[5] = [*detected[5], (100, 100, 120, 120, CAT, 0.95)]  # a mistake surer than all
    size, shape = sensitivities(matched(ground_truth, *detected))
    assert size.class_names == ("cat",)
    assert size.objects.tolist() == [[2, 4, 8, 4, 2]]
    # N = 20; in a part that is found whole: P = R 20 / (R 20 + 1), at its best at R = 1
    assert size.values[0].tolist() == pytest.approx([0, *[20 / 21] * 4])
    assert size.whole[0] == pytest.approx(0.9 * 18 / 19)
    assert size.errors[0].tolist() == pytest.approx([0] * 5)
    assert shape.objects[0].sum() == 20
    assert size.edges[0, 0] == pytest.approx(np.quantile(sides**2, 0.1) / 200**2)


def test_confusions_by_hand():
    ground_truth = [[(0, 0, 10, 10, CAT), (0, 0, 10, 11, DOG), (50, 0, 60, 10, SOFA), (80, 0, 90, 10, SOFA)]]
    detected = [
        (0, 0, 10, 10, DOG, 0.9),  # takes the dog, though the cat fits better
        (0, 0, 10, 10, DOG, 0.8),  # takes the cat
        (50, 0, 60, 10, SOFA, 0.7),
        (150, 0, 160, 10, CAT, 0.6),  # nothing there
        (80, 0, 90, 10, SOFA, 0.1),  # too unsure
    ]
    result = confusion(matched(ground_truth, detected), score=0.5)
    assert result.counts.tolist() == [[0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]]
    assert result.most(5) == [("cat", "dog", 1)]


def test_scores_by_hand():
    ground_truth = [[(0, 0, 10, 10, CAT)]]
    result = score_calibration(matched(ground_truth, [(0, 0, 10, 10, CAT, 0.85), (50, 0, 60, 10, CAT, 0.25)]))
    assert result.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 1, 0]
    assert result.precision[[2, 8]].tolist() == [0, 1]
    assert result.error == pytest.approx((0.25 + 0.15) / 2)


def test_similar_classes():
    assert groups_of(("car", "bus", "cat", "person")) == [("car", "bus"), ("cat", "person")]
    assert groups_of(("Platelets", "RBC")) == []
    assert groups_of(VOC_CLASSES) == list(VOC_GROUPS)
    of_coco = tuple(dict.fromkeys(name for group in COCO_GROUPS for name in group))
    for names in (VOC_CLASSES, of_coco):
        every = [[name for name in names if name in group] for group in (*VOC_GROUPS, *COCO_GROUPS)]
        np.testing.assert_array_equal(similarity(names, groups_of(names)), similarity(names, every))
    assert parse_groups("cat, dog", NAMES) == [("cat", "dog")]
    assert SIMILAR.sum() == 2
    with pytest.raises(UnknownNameError, match="cta"):
        parse_groups("cta,dog", NAMES)
    for text in ("cat;dog,sofa", "cat,cat"):
        with pytest.raises(RequestError, match="got 'cat'"):
            parse_groups(text, NAMES)
    for text in ("", ";"):
        with pytest.raises(RequestError, match="--similar"):
            parse_groups(text, NAMES)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_what_holds_for_any_set(seed):
    ground_truth, detected = random_set(seed)
    result = diagnose(ground_truth, detected, groups=[("class 0", "class 1")])
    voc12 = evaluate(ground_truth, detected, "voc12")
    for label, name in enumerate(ground_truth.class_names):
        ap = result.error_types.average_precision[label]
        assert (voc12.per_class[name] is None) == np.isnan(ap)
        if not np.isnan(ap):
            assert ap == pytest.approx(voc12.per_class[name])
            assert (result.error_types.without[:, label] >= ap - 1e-9).all()
            assert result.error_types.weak_recall[label] >= result.error_types.recall[label] - 1e-9
    everything = result.trends[0]
    assert (np.diff(everything.counts.sum(axis=1)) >= 0).all()
    assert (everything.recall <= 1).all()
    assert len(everything.counts) == len(MULTIPLES)
    assert (everything.errors.sum(axis=1) == everything.numbers).all()
    counted = int((~result.matched.ignored).sum())
    assert result.confusion.counts[:-1].sum() == counted
    for part in (result.size, result.shape):
        assert ((part.values >= 0) & (part.values <= 1)).all()
    json.dumps(result.to_json(), allow_nan=False)


def test_classes_that_the_model_does_not_know_are_left_out():
    ground_truth = annotations([[(0, 0, 10, 10, CAT), (50, 0, 60, 10, DOG)]], class_names=NAMES)
    detected = [detections([(50, 0, 60, 10, 0, 0.9)], class_names=("cat",))]
    result = diagnose(ground_truth, detected)
    assert np.isnan(result.error_types.average_precision[[DOG, SOFA]]).all()
    assert KINDS[result.error_types.kinds[0]] == "similar"  # a cat on a dog, which is an object all the same
    page = render("a", result, detected, open_image=lambda _: np.zeros((99, 99, 3), np.uint8))
    assert "left out, as the model does not know them: dog, sofa" in page


def test_classes_stand_in_the_sets_order_everywhere():
    """Here the first class has the fewest objects and the lowest AP, and the user names the last one first."""
    names = ("sofa", "dog", "cat")
    ground_truth, detected = [], []
    for number in range(14):
        labels = [2, *([1] if number < 12 else []), *([0] if number < 10 else [])]
        boxes = [(50 * label, 0, 50 * label + 20 + number, 20, label) for label in labels]
        ground_truth.append(boxes)
        detected.append(detections([(*box, 0.9) for box in boxes if number % 2 == 0 or box[4]], class_names=names))
    target = annotations(ground_truth, class_names=names)
    for groups in ([], [("cat", "sofa"), ("dog", "sofa")]):
        result = diagnose(target, detected, groups=groups)
        assert result.groups == tuple(tuple(sorted(group, key=names.index)) for group in groups)
        page = render("a", result, detected, open_image=lambda _: np.zeros((99, 99, 3), np.uint8))
        headings = re.findall(r"<h3>([a-z, ]+)|<tr><td>([a-z]+)", page)  # of charts, of rows
        shown = [text for text in map("".join, headings) if text not in {"mean", "nothing"}]
        kinds = names if not groups else ("sofa, cat", "sofa, dog")
        assert shown == [*kinds, *names * 4]


def test_the_command_writes_page_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = voc(tmp_path / "set", {"a": [("car", (5, 5, 25, 20))], "b": [("cat", (2, 2, 30, 28))]}, {"test": ["a", "b"]})
    detected = {"a": [("car", [5, 5, 25, 20], 0.9), ("cat", [5, 5, 25, 20], 0.8)], "b": [("car", [30, 2, 39, 9], 0.7)]}
    images = [
        {
            "file": f"{name}.png",
            "width": 40,
            "height": 30,
            "detections": [{"box": box, "label": label, "score": score} for label, box, score in rows],
        }
        for name, rows in detected.items()
    ]
    (tmp_path / "found.json").write_text(json.dumps({"model": "by hand", "images": images}))
    page, figures = tmp_path / "deep/page.html", tmp_path / "figures.json"
    command = ["analyze", str(data), "--detections", str(tmp_path / "found.json"), "--report", str(page)]
    assert run([*command, "--json", str(figures)]) == 0
    result = json.loads(figures.read_text())
    assert result["per_class"]["cat"]["detections"]["other"] == 1
    assert result["per_class"]["car"]["detections"]["correct"] == 1
    assert result["pictures"][0] == {"file": "JPEGImages/b.png", "F1": 0.0, "wrong": 0, "missed": 1}
    text = page.read_text()
    assert text.count("<svg") >= 2
    assert "The surest errors: other class" in text
    assert 'src="data:image/jpeg' in text
    assert "  background  " in capsys.readouterr().out
    assert run([*command, "--similar", "car"]) == 2
    assert run([*command, "--similar", "car,tram"]) == 2
    assert "tram" in capsys.readouterr().err
    assert run(["analyze", str(data), "--report", str(data)]) == 2
    capsys.readouterr()
    assert run([*command[:-2], "--out", str(page)]) == 0  # the old name of --report; a page of ours may be replaced
    assert "--out is now called --report" in capsys.readouterr().err
    assert result["images"] == result["pictures"]  # the old name
    assert run([*command, "--json", str(page)]) == 2
    foreign = tmp_path / "foreign.html"
    foreign.write_text("<!doctype html>\nmine")
    capsys.readouterr()
    assert run([*command[:-1], str(foreign)]) == 2
    assert "is no page of ours" in capsys.readouterr().err
    assert foreign.read_text() == "<!doctype html>\nmine"


def test_names_and_images_cannot_break_the_page(tmp_path: Path) -> None:
    ground_truth = annotations([[(0, 0, 10, 10, 0)]], class_names=("<script>", "b"))
    detected = [detections([(50, 0, 60, 10, 0, 0.9)], class_names=("<script>", "b"))]

    def broken(path: Path) -> np.ndarray:
        raise OSError(f"<b>{path}")

    page = render("<i>", diagnose(ground_truth, detected), detected, open_image=broken)
    assert "<script>" not in page
    assert "<i>" not in page.replace("<i class", "")
    assert "&lt;b&gt;" in page
