"""What `find_boxes` keeps, changes and says, within which limits; what the real small objects get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from golden import SHARED, needs_shared
from ground_truth_sets import ground_truth_set, squares, voc_set
from singleshot.box_search.study import (
    FULL_RECALL,
    GOOD_RECALL,
    LOW_RECALL,
    BoxStudy,
    Goal,
    NetworkTimer,
    find_boxes,
    measure_boxes,
)
from singleshot.data.classes import join
from singleshot.errors import RequestError
from singleshot.models.ssd import SSD, grid_sizes
from singleshot.spec import ModelSpec
from singleshot.types import Annotations
from singleshot.variants import SSD300_VGG16, SSDLITE320_MOBILENETV2, VARIANTS

LITE = replace(SSDLITE320_MOBILENETV2, class_names=("dot", "plate"))
TO_LEARN_ALL = Goal(kept_from=GOOD_RECALL, least_recall=FULL_RECALL)


def dots_and_plates(side: float, dots: int = 100) -> Annotations:
    """Dots of this side in a 320 image, and plates that every model's own boxes fit."""
    boxes = np.concatenate([squares(dots, side, seed=1), squares(100, 120, seed=2)])
    return ground_truth_set(boxes, [0] * dots + [1] * 100)


DATA = dots_and_plates(20)


def study_of(spec: ModelSpec, data: Annotations, goal: Goal = TO_LEARN_ALL, **options: object) -> BoxStudy:
    return find_boxes(spec, data, goal, map_sizes_hw=grid_sizes, **options)  # type: ignore[arg-type]


def test_boxes_that_fit_the_data_are_kept_without_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleshot.box_search.study.BoxSearch", None)
    study = study_of(LITE, dots_and_plates(100))
    assert study.best is None
    assert study.chosen.spec is LITE
    assert "95%" in study.remarks[0]


def test_few_objects_are_not_given_up_for_the_class_that_has_many() -> None:
    """Twenty dots decide; the nineteen plates and rods that do not would lose more than the dots gain."""
    data = ground_truth_set(
        np.concatenate([squares(20, 12, seed=1), squares(19, 120, seed=2), squares(19, 200, seed=3)]),
        [0] * 20 + [1] * 19 + [2] * 19,
    )
    spec = replace(LITE, class_names=("dot", "plate", "rod"))
    study = study_of(spec, data, Goal(kept_from=GOOD_RECALL))
    assert study.best is None, study.remarks
    assert "dot" in study.remarks[0]
    assert "mean recall of all classes" in study.remarks[0]


def test_the_goal_says_from_which_recall_boxes_are_kept() -> None:
    data = dots_and_plates(44)
    low = Goal(kept_from=LOW_RECALL)
    study = study_of(LITE, data, low)
    assert LOW_RECALL <= study.given.recall.per_class[0] < 0.5
    assert study.best is None
    assert "33%" in study.remarks[0]
    assert study_of(LITE, DATA, low).best is not None
    exactly = study_of(LITE, data, Goal(kept_from=study.given.recall.lowest))
    assert exactly.best is None


def test_boxes_for_training_fit_every_class_where_the_number_allows() -> None:
    for spec in (LITE, replace(SSD300_VGG16, class_names=LITE.class_names), LITE.with_input_size(240, 480)):
        for side in (14, 20, 42):
            study = study_of(spec, dots_and_plates(side))
            assert study.chosen.recall.per_class.min() >= 0.95, (spec.name, side)
            assert study.chosen.recall.num_default_boxes <= 5 * study.given.recall.num_default_boxes
            assert len(SSD(study.chosen.spec).default_boxes) == study.chosen.recall.num_default_boxes
    study = study_of(LITE, DATA)
    assert study.given.recall.per_class.tolist() == [0, 1]
    assert study.chosen.spec.sources[0] == "block7_expand"
    assert any("dot 0% -> " in remark for remark in study.remarks)
    assert any("added: block7_expand" in remark for remark in study.remarks)
    assert any("left out: " in remark and "extra4_2" in remark for remark in study.remarks)


def test_one_class_among_many_is_found() -> None:
    """With 40 classes one hardly moves the mean, and still counts."""
    names = tuple(f"class{i}" for i in range(40))
    boxes = np.concatenate([squares(30, 22, seed=3), squares(39 * 30, 110, seed=4)])
    study = study_of(replace(LITE, class_names=names), ground_truth_set(boxes, np.repeat(np.arange(40), 30), names))
    assert study.given.recall.per_class[0] == 0
    assert study.chosen.recall.per_class.min() >= 0.9


def test_a_class_of_a_few_objects_does_not_decide_unless_all_are_rare() -> None:
    assert study_of(LITE, dots_and_plates(20, dots=19)).best is None
    assert study_of(LITE, dots_and_plates(20, dots=20)).best is not None
    data = dots_and_plates(20)
    rows = [*range(5), *range(100, 119)]
    few = ground_truth_set(data.boxes_xyxy[rows], data.labels[rows])
    assert study_of(LITE, few).chosen.recall.per_class[0] >= 0.8


def test_without_ground_truth_nothing_changes() -> None:
    for goal in (TO_LEARN_ALL, Goal(max_boxes=1)):
        study = study_of(LITE, ground_truth_set([], []), goal)
        assert study.best is None
        assert study.remarks == ("default boxes kept: no ground-truth boxes to fit them to",)


def test_a_second_search_changes_nothing_more() -> None:
    for goal in (TO_LEARN_ALL, Goal()):
        best = study_of(LITE, DATA, goal).best
        assert best is not None
        again = study_of(best.spec, DATA, goal)
        assert again.best is None
        assert "default boxes kept" in again.remarks[0]


def test_large_sets_are_measured_on_a_sample_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("singleshot.box_search.recall.LARGEST_SAMPLE", 60)
    study = study_of(LITE, join([ground_truth_set(squares(30, 20, seed=seed), [1] * 30) for seed in range(5)]))
    assert study.best is not None
    assert "(measured on 2 of 5 images)" in study.remarks[0]
    assert study.given.to_json()["per_class"]["plate"]["objects"] == 60


def test_figures_by_class_size_and_shape() -> None:
    content = measure_boxes(LITE, DATA, grid_sizes).to_json()
    assert content["boxes"] == 3234
    assert content["per_class"]["dot"] == {
        "objects": 100, "recall": 0.0, "covered": 0.0, "boxes_per_object": 0.0, "boxes_an_object": 0.0,
    }  # fmt: skip
    assert content["per_class"]["plate"]["recall"] == 1
    assert content["recall"] == content["covered"] == 0.5
    assert [(entry["objects"], entry["recall"]) for entry in content["by_size"]] == [(100, 0.0), (77, 1.0), (23, 1.0)]
    (square,) = content["by_shape"]
    assert (square["from"], square["to"]) == (pytest.approx(2 / 3), 1.5)
    assert (square["objects"], square["recall"], square["covered"]) == (200, 0.5, 0.5)


def test_better_boxes_keep_to_the_number_of_boxes() -> None:
    study = study_of(LITE, DATA, Goal())
    assert study.best is not None
    assert study.best.recall.num_default_boxes <= 3234
    assert study.best.recall.per_class.min() > 0.8
    small = study_of(LITE, DATA, Goal(max_boxes=1000)).best
    assert small is not None
    assert small.recall.num_default_boxes <= 1000
    assert 0 < small.recall.per_class[0] < study.best.recall.per_class[0]
    for wrong in (0, -3):
        with pytest.raises(RequestError, match=str(wrong)):
            Goal(max_boxes=wrong)


def test_more_boxes_than_there_are_come_only_where_a_class_would_be_too_low() -> None:
    tiny = dots_and_plates(9)
    study = study_of(LITE, tiny, Goal())
    assert study.best is not None
    count = study.best.recall.num_default_boxes
    assert 3234 < count <= 5 * 3234
    assert study.best.recall.per_class.min() >= 1 / 3
    assert max(box_set.recalls.min() for box_set in study.curve if box_set.num_boxes < count) < 1 / 3
    assert study_of(LITE, tiny, Goal(max_boxes=3234)).curve[-1].spec == study.curve[-1].spec


def test_how_many_boxes_would_fit_every_class_is_said_and_true() -> None:
    study = study_of(LITE, dots_and_plates(14), Goal())
    assert study.best is not None
    assert study.best.recall.lowest < FULL_RECALL
    (most,) = (int(line.split("--most ")[1].rstrip(")")) for line in study.remarks if "--most" in line)
    enough = study_of(LITE, dots_and_plates(14), Goal(max_boxes=most))
    assert enough.chosen.recall.lowest >= FULL_RECALL
    assert enough.chosen.recall.num_default_boxes <= most


def by_boxes(spec: ModelSpec) -> float:
    """Milliseconds on a machine where a thousand boxes cost one, and the rest two."""
    return 2 + measure_boxes(spec, DATA, grid_sizes).recall.num_default_boxes / 1000


def timer() -> NetworkTimer:
    return NetworkTimer(by_boxes, "an imagined machine")


def test_boxes_become_fewer_until_the_network_is_fast_enough() -> None:
    free = study_of(LITE, DATA, Goal(max_milliseconds=10), timer=timer())
    assert free.chosen.spec == study_of(LITE, DATA, Goal()).chosen.spec
    study = study_of(LITE, DATA, Goal(max_milliseconds=3.5), timer=timer())
    assert study.best is not None
    count = study.best.recall.num_default_boxes
    assert 1400 < count <= 1500
    content = study.to_json()
    assert content["latency_by"] == "an imagined machine"
    assert content["designed"]["latency_ms"] == pytest.approx(2 + count / 1000)
    assert content["given"]["latency_ms"] == pytest.approx(5.234)
    assert [row["latency_ms"] for row in content["curve"] if row["boxes"] == count] == [pytest.approx(2 + count / 1000)]
    assert all(row["score"] == row["worth"] and row["recall"] == row["covered"] for row in content["curve"])
    assert "3.5 allowed" in study.remarks[-1]
    with pytest.raises(RequestError, match=r"2\.\d+ ms"):
        study_of(LITE, DATA, Goal(max_milliseconds=1), timer=timer())
    for wrong in (0, -1, float("nan")):
        with pytest.raises(RequestError, match="--latency"):
            Goal(max_milliseconds=wrong)


def test_good_boxes_that_are_too_slow_are_not_kept() -> None:
    first = study_of(LITE, DATA, Goal()).chosen
    study = study_of(first.spec, DATA, Goal(max_milliseconds=3), timer=timer())
    assert study.best is not None
    assert study.best.recall.num_default_boxes <= 1000


@needs_shared
@pytest.mark.parametrize("name", ["ssdlite320-mobilenetv2", "ssd300-vgg16"])
def test_the_platelets_of_bccd_are_found(name: str) -> None:
    """Platelets are about 20 x 26 pixels in a 320 image: SSDLite's smallest box is 64."""
    data = voc_set(SHARED / "data" / "bccd", "train")
    spec = replace(VARIANTS[name], class_names=data.class_names)
    study = study_of(spec, data)
    platelets = data.class_names.index("Platelets")
    if name == SSDLITE320_MOBILENETV2.name:
        assert study.given.recall.per_class[platelets] < 0.01
        assert study.chosen.recall.num_default_boxes <= 9634  # what such a recall took before
    assert study.chosen.recall.per_class[platelets] >= 0.98
    assert study.chosen.recall.lowest >= 0.98
    within = study_of(spec, data, Goal()).chosen.recall
    assert within.num_default_boxes <= study.given.recall.num_default_boxes
    assert within.per_class[platelets] >= 0.95
