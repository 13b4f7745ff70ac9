from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_fixtures import coco, coco_content, voc, xml
from singleshot.data.recognise import open_data
from singleshot.data.sample import ground_truth_to_learn
from singleshot.decode import decode_image
from singleshot.degenerate_boxes import BOX_FAULTS, box_faults, count_box_faults, usable_boxes
from singleshot.errors import ImageError
from singleshot.types import Sample

if TYPE_CHECKING:
    from pathlib import Path

    from singleshot.types import Annotations

BAD = [
    ("cat", (1, 2, 11, 22)),
    ("cat", ("nan", 1, 2, 3)),
    ("cat", (1, 1, "inf", 3)),
    ("cat", (9, 1, 2, 3)),
    ("cat", (1, 9, 2, 3)),
    ("cat", (5, 1, 5, 9)),
    ("cat", (41, 1, 50, 9)),
    ("cat", (-9, 1, 0, 9)),
    ("cat", (-1, 1, 41, 31)),
]
EXPECTED = [
    "good",
    "not finite",
    "not finite",
    "inverted",
    "inverted",
    "zero area",
    "outside",
    "outside",
    "partly outside",
]


def to_sample(annotations: Annotations, index: int, *, keep_difficult: bool = True) -> Sample:
    image = decode_image(annotations.path(index))
    height, width = image.shape[:2]
    ground_truth = annotations.ground_truth(index)
    return Sample(
        image, *ground_truth_to_learn(ground_truth, width=width, height=height, keep_difficult=keep_difficult)
    )


def test_fractions_grouped_by_label_in_order_of_first_appearance(tmp_path: Path) -> None:
    order = ["dog", "person", "person", "car", "dog", "person"]
    text = xml([(name, (i, 0, 20 + i, 15)) for i, name in enumerate(order)], difficult=(1, 3))
    found = open_data(voc(tmp_path / "v", {"a": text}))
    sample = to_sample(found, 0)
    assert sample.image.shape == (30, 40, 3)
    assert [found.class_names[label] for label in sample.labels] == ["dog", "dog", "person", "person", "person", "car"]
    lefts = np.float32([0, 4, 1, 2, 5, 3])
    np.testing.assert_array_equal(sample.boxes_xyxy[:, 0], lefts / np.float32(40))
    np.testing.assert_array_equal(sample.boxes_xyxy[:, 3], np.float32(0.5))
    assert sample.boxes_xyxy.dtype == np.float32
    assert sample.difficult.tolist() == [True, False, False, True, False, False]
    assert len(to_sample(found, 0, keep_difficult=False).labels) == 4


def test_the_rule_about_bad_boxes(tmp_path: Path) -> None:
    found = open_data(voc(tmp_path / "v", {"a": BAD}))
    faults = box_faults(found.boxes_xyxy, width=40, height=30)
    assert [BOX_FAULTS[fault] for fault in faults] == EXPECTED
    assert count_box_faults(found) == {
        "not finite": 2,
        "inverted": 2,
        "zero area": 1,
        "outside": 2,
        "partly outside": 1,
    }
    sample = to_sample(found, 0)
    np.testing.assert_allclose(sample.boxes_xyxy, [[1 / 40, 2 / 30, 11 / 40, 22 / 30], [0, 1 / 30, 1, 1]], rtol=1e-6)


def test_a_hair_beyond_the_edge_is_no_fault_but_clipped(tmp_path: Path) -> None:
    found = open_data(voc(tmp_path / "v", {"a": [("cat", (0, 0, 40.001, 30))]}))
    assert count_box_faults(found) == {}
    assert to_sample(found, 0).boxes_xyxy.max() == 1


def test_unknown_size_knows_no_outside() -> None:
    boxes = np.float32([[5, 5, 9000, 9], [-5, 1, 9, 9], [5, 5, 5, 9]])
    faults = box_faults(boxes, width=np.inf, height=np.inf)
    assert [BOX_FAULTS[fault] for fault in faults] == ["good", "partly outside", "zero area"]


def test_crowd_is_never_learnt(tmp_path: Path) -> None:
    content = coco_content()
    content["annotations"][0]["iscrowd"] = 1
    found = open_data(coco(tmp_path / "c", content))
    assert len(to_sample(found, 0).labels) == 0
    assert len(to_sample(found, 1).labels) == 1


def test_background_and_damage(tmp_path: Path) -> None:
    root = voc(tmp_path / "v", {"a": [], "b": [BAD[0]]})
    found = open_data(root)
    sample = to_sample(found, 0)
    assert (sample.boxes_xyxy.shape, sample.labels.shape, sample.difficult.shape) == ((0, 4), (0,), (0,))
    (root / "JPEGImages/b.png").write_bytes((root / "JPEGImages/b.png").read_bytes()[:-40])
    with pytest.raises(ImageError, match=r"b\.png"):
        to_sample(found, 1)


coordinate = st.one_of(
    st.floats(-100, 200, width=32), st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0])
)


@given(st.lists(st.tuples(*[coordinate] * 4), max_size=6), st.integers(1, 60), st.integers(1, 60))
def test_kept_boxes_lie_inside_and_have_an_area(boxes: list[tuple[float, ...]], width: int, height: int) -> None:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    keep = usable_boxes(array, width=width, height=height)
    for box, kept in zip(array, keep, strict=True):  # the slow and obvious reference
        left, right = (min(max(float(box[i]), 0), width) if np.isfinite(box[i]) else np.nan for i in (0, 2))
        top, bottom = (min(max(float(box[i]), 0), height) if np.isfinite(box[i]) else np.nan for i in (1, 3))
        expected = bool(np.isfinite(box).all()) and right > left and bottom > top
        assert kept == (expected and np.float32(right - left) * np.float32(bottom - top) > 0)
