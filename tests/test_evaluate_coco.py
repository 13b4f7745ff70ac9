"""COCO's numbers against pycocotools, which evaluates the set's own instances file and a results file.

Tolerance 1e-9: the same rules in float64. Boxes are rounded to quarters of a pixel on both sides, because ours pass
through float32, where a COCO file's hundredths are not exact.
"""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluation_examples import annotations, detections, random_set
from golden import SHARED, needs_shared
from singleshot.data.classes import join, only_classes, relabel
from singleshot.evaluate.coco import NUMBERS
from singleshot.evaluate.compare import ResampledEvaluation
from singleshot.evaluate.protocols import evaluate
from singleshot.types import Annotations, Detections


def oracle(target: dict, results: list[dict]) -> tuple[list[float], dict[int, float]]:
    """The 12 numbers and AP a category by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = target
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    precision = evaluator.eval["precision"][:, :, :, 0, 2]
    per_class = {c: float(precision[:, :, i].mean()) for i, c in enumerate(evaluator.params.catIds)}
    return evaluator.stats.tolist(), per_class


def coco_tiny() -> dict:
    """Some of the val split's instances, boxes rounded to quarters, without outlines."""
    path = SHARED / "data/coco_tiny/annotations/instances_val2017.json"
    document = json.loads(path.read_text())
    for row in document["annotations"]:
        row["bbox"] = [round(v * 4) / 4 for v in row["bbox"]]
        row.pop("segmentation", None)
    document.setdefault("info", {})
    # Images with crowd regions first; a third of the set, because pycocotools is slow.
    crowded = {row["image_id"] for row in document["annotations"] if row["iscrowd"]}
    document["images"] = sorted(document["images"], key=lambda row: (row["id"] not in crowded, row["id"]))[:27]
    kept = {row["id"] for row in document["images"]}
    document["annotations"] = [row for row in document["annotations"] if row["image_id"] in kept]
    return document


def packed(document: dict) -> Annotations:
    """The instances as annotations."""
    categories = sorted(document["categories"], key=lambda category: category["id"])
    position = {category["id"]: i for i, category in enumerate(categories)}
    rows = [[a for a in document["annotations"] if a["image_id"] == i["id"]] for i in document["images"]]
    flat = [a for image in rows for a in image]
    boxes = np.array([a["bbox"] for a in flat], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    crowd = np.array([bool(a["iscrowd"]) for a in flat], bool)
    return Annotations(
        format="coco",
        root=Path("val2017"),
        files=tuple(i["file_name"] for i in document["images"]),
        ids=tuple(str(i["id"]) for i in document["images"]),
        class_names=tuple(category["name"] for category in categories),
        category_ids=tuple(category["id"] for category in categories),
        sizes_wh=np.array([(i["width"], i["height"]) for i in document["images"]], np.int32),
        starts=np.concatenate([[0], np.cumsum([len(image) for image in rows])]).astype(np.int64),
        boxes_xyxy=boxes,
        labels=np.array([position[a["category_id"]] for a in flat], np.int64),
        difficult=np.zeros(len(flat), bool),
        crowd=crowd,
        areas=np.array([a["area"] for a in flat], np.float32),
    )


def synthetic(ground_truth: Annotations, seed: int, *, stray: int = 20) -> list[Detections]:
    """Detections near the objects, twice over, and `stray` ones anywhere; several inside each crowd region."""
    random = np.random.default_rng(seed)
    detected = []
    for i in range(len(ground_truth)):
        objects = ground_truth.ground_truth(i)
        width, height = ground_truth.sizes_wh[i]
        near = np.repeat(objects.boxes_xyxy, 2, axis=0)
        near = near + random.normal(0, 0.06, near.shape) * np.maximum(near[:, [2, 3, 2, 3]] - near[:, [0, 1, 0, 1]], 1)
        corner = random.uniform(0, 0.8, (stray, 2)) * (width, height)
        anywhere = np.hstack([corner, corner + random.uniform(4, 150, (stray, 2))])
        inside = [box[[0, 1, 0, 1]] + [2, 2, 22, 22] for box in objects.boxes_xyxy[objects.crowd] for _ in range(3)]
        boxes = np.concatenate([near, anywhere, np.reshape(inside, (-1, 4))])
        boxes = np.round(np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4) * 4) / 4
        labels = np.concatenate([np.repeat(objects.labels, 2), random.integers(0, 80, stray),
                                 np.repeat(objects.labels[objects.crowd], 3)])  # fmt: skip
        # No two scores of a set are equal: ties are broken by image order, which is the image id's in pycocotools.
        scores = np.sort(random.random(len(boxes)).astype(np.float32))[::-1]
        order = random.permutation(len(boxes))
        detected.append(Detections(boxes[order].astype(np.float32), scores, labels[order], ground_truth.class_names))
    return detected


def results(ground_truth: Annotations, detected: list[Detections]) -> list[dict]:
    categories = dict(zip(ground_truth.class_names, ground_truth.category_ids, strict=True))
    return [
        {"image_id": int(identity), "category_id": categories[name], "score": float(score),
         "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]}
        for identity, of_image in zip(ground_truth.ids, detected, strict=True)
        for box, score, name in zip(of_image.boxes, of_image.scores, of_image.names, strict=True)
        if name in categories
    ]  # fmt: skip


@needs_shared
@pytest.mark.parametrize(("seed", "stray"), [(0, 20), (1, 150)])  # 150: more than COCO's 100 detections an image
def test_equals_pycocotools_on_real_ground_truth(seed, stray):
    document = coco_tiny()
    ground_truth = packed(document)
    assert ground_truth.crowd.any()
    detected = synthetic(ground_truth, seed, stray=stray)
    numbers, per_class = oracle(document, results(ground_truth, detected))
    result = evaluate(ground_truth, detected)
    assert result.protocol == "coco"
    np.testing.assert_allclose([result.numbers[name] for name in NUMBERS], numbers, rtol=0, atol=1e-9)
    assert result.mean_ap == pytest.approx(numbers[0], rel=0, abs=1e-9)
    for name, category in zip(ground_truth.class_names, ground_truth.category_ids, strict=True):
        expected = None if per_class[category] < 0 else pytest.approx(per_class[category], rel=0, abs=1e-9)
        assert result.per_class[name] == expected
    assert 0.05 < result.mean_ap < 0.95  # the comparison is of something


def instances(data: Annotations) -> dict:
    """The set as an instances file; difficult objects are crowd."""
    boxes = data.boxes_xyxy.astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    images = np.repeat(np.arange(len(data)), np.diff(data.starts))
    columns = zip(images.tolist(), data.labels.tolist(), boxes.tolist(), data.areas.tolist(),
                  (data.difficult | data.crowd).tolist(), strict=True)  # fmt: skip
    return {
        "info": {},
        "images": [{"id": int(name), "width": 200, "height": 200} for name in data.ids],
        "categories": [
            {"id": i, "name": name} for i, name in zip(data.category_ids, data.class_names, strict=True)
        ],
        "annotations": [
            {"id": i, "image_id": int(data.ids[image]), "category_id": data.category_ids[label], "bbox": box,
             "area": area, "iscrowd": int(many)}
            for i, (image, label, box, area, many) in enumerate(columns, 1)
        ],
    }  # fmt: skip


def crowded_set(seed: int, *, digits: int = 1) -> tuple[Annotations, list[Detections]]:
    """More than a hundred detections of an image and class, boxes that swallow, equal scores, equal IoUs, all sizes."""
    generator = np.random.default_rng(seed)
    ground_truth, detected = [], []
    for _ in range(5):
        boxes = []
        for x, y in generator.integers(0, 60, (int(generator.integers(0, 20)), 2)).tolist():
            side = int(generator.choice([20, 20, 60, 120]))
            boxes.append((x, y, x + side, y + side, int(generator.integers(2))))
        ground_truth.append(boxes)
        rows = []
        for x, y in generator.integers(0, 60, (260, 2)).tolist():
            side = int(generator.choice([20, 20, 60, 120]))
            rows.append((x, y, x + side, y + side + 2, int(generator.integers(2)), round(generator.random(), digits)))
        detected.append(detections(rows))
    difficult = [bool(flag) for flag in generator.random(sum(map(len, ground_truth))) < 0.1]
    return annotations(ground_truth, difficult=difficult, format_name="coco"), detected


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools_where_everything_is_crowded_and_tied(seed):
    data, detected = crowded_set(seed)
    data = replace(data, areas=data.areas * np.float32(0.9))  # of outlines, which are smaller than their boxes
    numbers, per_class = oracle(instances(data), results(data, detected))
    result = evaluate(data, detected)
    np.testing.assert_allclose([result.numbers[name] for name in NUMBERS], numbers, rtol=0, atol=1e-9)
    assert list(result.per_class.values()) == pytest.approx(list(per_class.values()), abs=1e-9)
    resampled = ResampledEvaluation.of(data, detected, "coco").average_precisions(np.ones(len(data), np.int64))
    assert resampled == pytest.approx(list(per_class.values()), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_sizes_stay_with_their_objects_when_classes_are_dropped_or_joined(seed):
    """AP of small, medium and large objects after `only_classes`, `subset` and `join` is that of a set made so."""
    data, detected = crowded_set(seed, digits=9)  # without ties, which pycocotools breaks by image id
    for change in (
        lambda a: only_classes(a, ("dog",)),
        lambda a: relabel(a, {"cat": None}),
        lambda a: a.subset([3, 1, 4]),
        lambda a: join([a.subset([4, 2]), only_classes(a.subset([0, 1]), ("dog",))]),
    ):
        changed = change(data)
        of_images = [detected[data.files.index(file)] for file in changed.files]
        sides = changed.boxes_xyxy[:, 2:] - changed.boxes_xyxy[:, :2]
        assert changed.areas.tolist() == sides.prod(axis=1).tolist()  # as in the set before
        numbers, _ = oracle(instances(changed), results(changed, of_images))
        result = evaluate(changed, of_images, "coco").numbers
        expected = [None if value < 0 else pytest.approx(value, rel=0, abs=1e-9) for value in numbers]
        assert [result[name] for name in NUMBERS] == expected


def test_crowd_swallows_and_small_areas_are_absent():
    ground_truth = annotations([[(0, 0, 100, 100, 0), (100, 0, 200, 100, 0)]], crowd=[False, True], format_name="coco")
    detected = [detections([(0, 0, 100, 100, 0, 0.5), (110, 0, 150, 50, 0, 0.9), (150, 0, 190, 50, 0, 0.8)])]
    result = evaluate(ground_truth, detected)
    assert result.numbers["AP"] == pytest.approx(1)
    assert result.numbers["APs"] is None  # one large ground-truth box: nothing small to find
    assert result.numbers["APl"] == pytest.approx(1)
    assert result.per_class == {"cat": pytest.approx(1), "dog": None}
    assert (result.counts["cat"].ground_truth, result.counts["cat"].ignored, result.counts["cat"].true_positives) == (
        1,
        1,
        1,
    )


def test_an_area_on_the_border_of_two_sizes_belongs_to_both():
    ground_truth = annotations([[(0, 0, 32, 32, 0), (40, 40, 136, 136, 0)]], format_name="coco")
    detected = [detections([(0, 0, 32, 32, 0, 0.9)])]  # the larger one, of 96^2 pixels, is missed
    numbers = evaluate(ground_truth, detected).numbers
    assert [numbers[name] for name in ("ARs", "ARm", "ARl")] == [1, 0.5, 0]


def test_voc_data_can_be_evaluated_by_coco_and_difficult_is_ignored():
    ground_truth = annotations([[(0, 0, 50, 50, 0), (60, 60, 90, 90, 0)]], difficult=[False, True])
    hit_or_not = [[(0, 0, 50, 50, 0, 0.8)], [(60, 60, 90, 90, 0, 0.9), (0, 0, 50, 50, 0, 0.8)]]
    for rows in hit_or_not:
        assert evaluate(ground_truth, [detections(rows)], "coco").mean_ap == pytest.approx(1)


def test_no_detections_and_no_ground_truth():
    ground_truth = annotations([[(0, 0, 50, 50, 0)], []])
    assert evaluate(ground_truth, [detections([]), detections([])], "coco").mean_ap == 0
    empty = evaluate(annotations([[], []]), [detections([]), detections([])], "coco")
    assert empty.mean_ap is None
    assert set(empty.numbers.values()) == {None}
    assert evaluate(annotations([]), [], "coco").mean_ap is None


def test_json_has_the_twelve_numbers():
    document = json.loads(json.dumps(evaluate(*random_set(1), "coco").to_json(), allow_nan=False))
    assert set(NUMBERS) <= set(document)
    assert document["mAP"] == pytest.approx(document["AP"])


def test_ground_truth_that_are_not_finite_do_not_count():
    ground_truth = annotations([[(0, 0, 50, 50, 0), (0, 0, float("nan"), 50, 0)]])
    assert evaluate(ground_truth, [detections([(0, 0, 50, 50, 0, 0.9)])], "coco").mean_ap == pytest.approx(1)
