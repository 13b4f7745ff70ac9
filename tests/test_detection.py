from __future__ import annotations

import shutil
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golden import caffe_rows
from singleshot.errors import ModelError
from singleshot.spec import Postprocess
from singleshot.ssd import detection as module
from singleshot.ssd.coder import decode
from singleshot.ssd.detection import RawDetections, nms, postprocess, to_detections
from singleshot.ssd.detection_torch import nms_lists, postprocess_batch, postprocess_on_device
from singleshot.ssd.tensors import Predictions

VARIANCES = (0.1, 0.1, 0.2, 0.2)
EVERYTHING = Postprocess(score_threshold=0.0, nms_threshold=0.5, top_k=-1, keep_top_k=-1)


def on_device(offsets, scores, default_boxes, variances, settings):
    """One image through the batched version."""
    tensors = [torch.tensor(np.ascontiguousarray(array)) for array in (offsets[None], scores[None], default_boxes)]
    return postprocess_on_device(*tensors, variances, settings)[0]


def in_numpy(*arguments, **options):
    """What runs where nothing was compiled."""
    with mock.patch.object(module, "detection_output", None):
        return postprocess(*arguments, **options)


def compiled(*arguments):
    if module.detection_output is None:
        pytest.skip("the compiled part was not built here")
    return postprocess(*arguments)


def softmax(logits):
    return torch.tensor(logits, dtype=torch.float32).softmax(-1).numpy()


EVERY = pytest.mark.parametrize("detect", [compiled, in_numpy, on_device])
ON_CPU = pytest.mark.parametrize("detect", [compiled, in_numpy])


def slow_iou(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return np.float32(0)
    common = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return common / (areas[0] + areas[1] - common)


def slow_nms(boxes, threshold, eta):
    """Greedy NMS as Caffe's ApplyNMSFast reads; boxes come best first."""
    threshold, kept = np.float32(threshold), []
    for candidate in range(len(boxes)):
        keep = True
        for better in kept:
            if not slow_iou(boxes[candidate], boxes[better]) <= threshold:
                keep = False
        if keep:
            kept.append(candidate)
            if eta < 1 and threshold > 0.5:
                threshold *= np.float32(eta)
    return kept


def slow_postprocess(boxes, scores, settings):
    """One class after another, then the best of all: rows of (label, default box)."""
    chosen = []
    if settings.across_classes:
        best = [max(range(1, scores.shape[1]), key=lambda c: (row[c], -c)) for row in scores]
        one_class = np.array([[row[0], row[c]] for row, c in zip(scores, best, strict=True)]).reshape(-1, 2)
        rows = slow_postprocess(boxes, one_class, replace(settings, across_classes=False))
        return [(best[k] - 1, k) for _, k in rows]
    for label in range(scores.shape[1] - 1):
        of_class = scores[:, label + 1]
        candidates = [k for k in range(len(boxes)) if of_class[k] > np.float32(settings.score_threshold)]
        candidates.sort(key=lambda k: (-of_class[k], k))
        if settings.top_k >= 0:
            candidates = candidates[: settings.top_k]
        kept = slow_nms([boxes[k] for k in candidates], settings.nms_threshold, settings.nms_eta)
        chosen += [(-of_class[candidates[i]], label, candidates[i]) for i in kept]
    chosen.sort()
    if settings.keep_top_k >= 0:
        chosen = chosen[: settings.keep_top_k]
    return [(label, k) for _, label, k in chosen]


def check(raw, default_boxes, scores, settings):
    rows = slow_postprocess(default_boxes, scores, settings)
    assert raw.labels.tolist() == [label for label, _ in rows]
    assert raw.scores.tolist() == [float(scores[k, label + 1]) for label, k in rows]
    np.testing.assert_array_equal(raw.boxes_xyxy, np.array([default_boxes[k] for _, k in rows]).reshape(-1, 4))
    assert (raw.boxes_xyxy.dtype, raw.scores.dtype, raw.labels.dtype) == (np.float32, np.float32, np.int64)


@st.composite
def scenes(draw):
    """Boxes on a grid of eighths and scores of a few values: exact arithmetic, and ties and exact thresholds abound."""
    count, labels = draw(st.integers(0, 12)), draw(st.integers(1, 3))
    corner, size = st.integers(-2, 5), st.sampled_from([1, 2, 4])
    rows = [(draw(corner), draw(corner), draw(size), draw(size)) for _ in range(count)]
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in rows], np.float32).reshape(-1, 4) / 8
    few = st.sampled_from([np.float32(n) / 8 for n in range(8)])
    scores = draw(arrays(np.float32, (count, labels + 1), elements=few))
    limits = st.sampled_from([-1, 0, 1, 2, 5])
    settings = Postprocess(
        score_threshold=draw(st.sampled_from([-1.0, 0.0, 0.25, 0.5])),
        nms_threshold=draw(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.6, 0.75, 1.0])),
        top_k=draw(limits),
        keep_top_k=draw(limits),
        nms_eta=draw(st.sampled_from([1.0, 1.0, 0.9, 0.5])),
        across_classes=draw(st.sampled_from([False, False, True])),
    )
    return boxes, scores, settings


@given(scene=scenes())
def test_the_numpy_version_equals_the_slow_loops(scene):
    boxes, scores, settings = scene
    check(in_numpy(np.zeros_like(boxes), scores, boxes, VARIANCES, settings), boxes, scores, settings)


@given(scene=scenes())
def test_the_compiled_version_equals_the_slow_loops(scene):
    boxes, scores, settings = scene
    settings = replace(settings, across_classes=False)  # this is numpy's
    check(compiled(np.zeros_like(boxes), scores, boxes, VARIANCES, settings), boxes, scores, settings)


def test_the_compiled_version_is_built_where_there_is_a_compiler():
    if shutil.which("cc"):
        assert module.detection_output is not None


@given(scene=scenes())
def test_the_device_version_equals_the_slow_loops(scene):
    boxes, scores, settings = scene
    if settings.nms_eta < 1 or settings.across_classes:
        return
    offsets = torch.zeros(2, *boxes.shape)
    two = torch.tensor(np.stack([scores, scores[::-1].copy()]))
    first, second = postprocess_on_device(offsets, two, torch.tensor(boxes), VARIANCES, settings)
    check(first, boxes, scores, settings)
    check(second, boxes, scores[::-1], settings)


@pytest.mark.parametrize("settings", [Postprocess(), Postprocess(top_k=50, keep_top_k=-1), Postprocess(nms_eta=0.8)])
@ON_CPU
def test_thousands_of_candidates(detect, settings):
    """More than the C version's head, in random real numbers."""
    random = np.random.default_rng(7)
    centres, sizes = random.random((1500, 2)), random.random((1500, 2)) * 0.3 + 0.02
    defaults = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    offsets = random.normal(size=(1500, 4)).astype(np.float32)
    scores = softmax(random.normal(size=(1500, 6)))
    raw = detect(offsets, scores, defaults, VARIANCES, settings)
    boxes = decode(offsets, defaults, VARIANCES)
    rows = slow_postprocess(boxes, scores, settings)
    assert raw.labels.tolist() == [label for label, _ in rows]
    np.testing.assert_allclose(raw.boxes_xyxy, boxes[[k for _, k in rows]], atol=1e-6)
    if settings.nms_eta == 1:
        batched = on_device(offsets, scores, defaults, VARIANCES, settings)
        np.testing.assert_array_equal(batched.labels, raw.labels)
        np.testing.assert_array_equal(batched.scores, raw.scores)
        np.testing.assert_allclose(batched.boxes_xyxy, raw.boxes_xyxy, atol=1e-6)


@EVERY
def test_a_worked_example(detect):
    """Two classes, three boxes: the second overlaps the first by exactly a half and is kept at 0.5, not below."""
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.25, 0.5], [0.5, 0.5, 1, 1]], np.float32)
    scores = np.array([[0.0, 0.9, 0.1], [0.2, 0.8, 0.0], [0.3, 0.1, 0.6]], np.float32)
    settings = Postprocess(score_threshold=0.1, nms_threshold=0.5)
    raw = detect(np.zeros((3, 4), np.float32), scores, boxes, VARIANCES, settings)
    assert raw.labels.tolist() == [0, 0, 1]  # 0.1 is not above 0.1
    assert raw.scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
    np.testing.assert_array_equal(raw.boxes_xyxy, boxes[[0, 1, 2]])
    below = Postprocess(score_threshold=0.1, nms_threshold=0.49)
    raw = detect(np.zeros((3, 4), np.float32), scores, boxes, VARIANCES, below)
    assert raw.labels.tolist() == [0, 1]


@EVERY
def test_classes_do_not_suppress_each_other(detect):
    boxes = np.array([[0, 0, 1, 1]] * 2, np.float32)
    scores = np.array([[0, 0.9, 0.8], [0, 0.7, 0.85]], np.float32)
    raw = detect(np.zeros((2, 4), np.float32), scores, boxes, VARIANCES, Postprocess())
    assert raw.labels.tolist() == [0, 1]
    assert raw.scores.tolist() == pytest.approx([0.9, 0.85])


@EVERY
def test_a_nms_threshold_of_one_leaves_every_box(detect):
    """Boxes that are nearly the same, or the same: an overlap is never above 1."""
    generator = np.random.default_rng(0)
    boxes = (np.array([0.2, 0.3, 0.7, 0.6]) + 1e-7 * generator.integers(-3, 4, (300, 4))).astype(np.float32)
    scores = generator.random((300, 2)).astype(np.float32)
    settings = Postprocess(score_threshold=0.0, nms_threshold=1.0, top_k=-1, keep_top_k=-1)
    raw = detect(np.zeros((300, 4), np.float32), scores, boxes, VARIANCES, settings)
    np.testing.assert_array_equal(raw.scores, np.sort(scores[:, 1])[::-1])


@EVERY
def test_equal_scores_go_to_the_lower_class_then_the_lower_box(detect):
    boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]], np.float32)
    scores = np.full((2, 3), 0.5, np.float32)
    raw = detect(np.zeros((2, 4), np.float32), scores, boxes, VARIANCES, Postprocess(keep_top_k=3))
    assert raw.labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(raw.boxes_xyxy, boxes[[0, 1, 0]])


def grid_boxes(count):
    corners = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(1, 4)] * 2)
    rows = st.lists(corners, min_size=count, max_size=count)
    return rows.map(lambda r: np.array([[x, y, x + w, y + h] for x, y, w, h in r], np.float32).reshape(-1, 4) / 8)


@given(boxes=st.integers(0, 10).flatmap(grid_boxes), threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7]))
def test_nms_is_idempotent(boxes, threshold):
    def keep(candidates):
        return candidates[nms(candidates, threshold=threshold)]

    def keep_on_device(candidates):
        tensor = torch.tensor(candidates)[None]
        valid = torch.ones(tensor.shape[:2], dtype=torch.bool)
        return candidates[nms_lists(tensor, valid, float(np.float32(threshold)))[0].numpy()]

    once = keep(boxes)
    np.testing.assert_array_equal(keep(once), once)
    np.testing.assert_array_equal(keep_on_device(boxes), once)
    np.testing.assert_array_equal(keep_on_device(once), once)


@pytest.mark.parametrize(("threshold", "kept"), [(0.5, [0, 1, 2]), (0.625, [0, 1])])
def test_eta_lowers_the_threshold_only_while_it_is_above_a_half(threshold, kept):
    """0.625 becomes 0.3125 after the first box; the third overlaps the first by 0.4."""
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0, 0.2, 0.5]], np.float32)
    assert nms(boxes, threshold=threshold, eta=0.5).tolist() == kept


def test_a_chain_of_suppressions_settles_one_by_one():
    """Each box overlaps only its neighbours, so that every second is kept; the fixed point needs many rounds for it."""
    starts = np.arange(12, dtype=np.float32)
    chain = np.stack([starts, starts * 0, starts + 2, starts * 0 + 1], axis=1) / 16
    assert nms(chain, threshold=0.3).tolist() == list(range(0, 12, 2))
    kept = nms_lists(torch.tensor(chain)[None], torch.ones(1, 12, dtype=torch.bool), 0.3)
    assert kept[0].nonzero().flatten().tolist() == list(range(0, 12, 2))


def broken_predictions():
    boxes = np.array([[i / 8, 0, (i + 1) / 8, 1] for i in range(6)], np.float32)
    offsets, logits = np.zeros((6, 4), np.float32), np.zeros((6, 3), np.float32)
    offsets[0, 1] = np.nan
    offsets[1, 2] = np.inf
    offsets[2, 3] = 1e4  # exp(2000) overflows
    logits[3, 1] = np.nan
    logits[4, 0] = np.inf
    return boxes, offsets, logits


@EVERY
def test_default_boxes_that_are_not_finite_are_dropped_and_counted(detect):
    boxes, offsets, logits = broken_predictions()
    raw = detect(offsets, softmax(logits), boxes, VARIANCES, EVERYTHING)
    assert raw.dropped == 5
    assert raw.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(raw.boxes_xyxy, boxes[[5, 5]])


@EVERY
@pytest.mark.parametrize("broken", range(5))
def test_each_value_that_is_not_finite_is_noticed_alone(broken, detect):
    boxes, offsets, logits = (array[[broken, 5]] for array in broken_predictions())
    raw = detect(offsets, softmax(logits), boxes, VARIANCES, EVERYTHING)
    assert (raw.dropped, len(raw)) == (1, 2)
    np.testing.assert_array_equal(raw.boxes_xyxy, boxes[[1, 1]])


@EVERY
def test_an_iou_that_is_not_a_number_suppresses(detect):
    """Areas of huge boxes overflow; as in Caffe an IoU that is not a number suppresses."""
    boxes = np.array([[0, 0, 1, 1]] * 3, np.float32)
    offsets = np.full((3, 4), 400, np.float32)  # exp(80)
    offsets[:, :2] = 0
    scores = np.array([[0, 0.9], [0, 0.8], [0, 0.7]], np.float32)
    raw = detect(offsets, scores, boxes, VARIANCES, Postprocess())
    assert (len(raw), raw.dropped) == (1, 0)


@EVERY
@pytest.mark.parametrize(("boxes", "classes"), [(0, 3), (2, 1), (0, 1)])
def test_nothing_to_find(boxes, classes, detect):
    defaults = np.array([[0, 0, 1, 1]] * boxes, np.float32).reshape(-1, 4)
    scores = np.ones((boxes, classes), np.float32)
    raw = detect(np.zeros_like(defaults), scores, defaults, VARIANCES, EVERYTHING)
    assert (len(raw), raw.boxes_xyxy.shape, raw.dropped) == (0, (0, 4), 0)


def test_a_batch_is_its_images_one_by_one():
    random = np.random.default_rng(3)
    defaults = np.sort(random.random((40, 2, 2)), axis=1).reshape(40, 4).astype(np.float32)
    offsets, logits = random.normal(size=(3, 40, 4)), random.normal(size=(3, 40, 4)) * 2
    logits[1, :, 0] += 50  # nothing but background
    offsets, logits = offsets.astype(np.float32), logits.astype(np.float32)
    predictions = Predictions(torch.tensor(offsets), torch.tensor(logits))
    settings = Postprocess(score_threshold=0.2)
    batch = postprocess_batch(predictions, torch.tensor(defaults), VARIANCES, settings)
    device_batch = postprocess_on_device(
        predictions.offsets, predictions.logits.softmax(-1), torch.tensor(defaults), VARIANCES, settings
    )
    assert [len(raw) > 0 for raw in batch] == [True, False, True]
    for image in range(3):
        alone = postprocess(offsets[image], softmax(logits[image]), defaults, VARIANCES, settings)
        for raw in (batch[image], device_batch[image]):
            np.testing.assert_array_equal(raw.labels, alone.labels)
            np.testing.assert_allclose(raw.scores, alone.scores, atol=1e-6)
            np.testing.assert_allclose(raw.boxes_xyxy, alone.boxes_xyxy, atol=1e-5)


def test_bfloat16_predictions_with_gradients_are_accepted():
    offsets = torch.zeros(1, 1, 4, dtype=torch.bfloat16, requires_grad=True)
    logits = torch.tensor([[[0.0, 2.0]]], dtype=torch.bfloat16)
    (raw,) = postprocess_batch(Predictions(offsets, logits), torch.tensor([[0, 0, 1.0, 1]]), VARIANCES, Postprocess())
    assert raw.scores.tolist() == pytest.approx([np.exp(2) / (1 + np.exp(2))])


def test_lists_too_many_for_memory_are_taken_in_chunks(monkeypatch):
    random = np.random.default_rng(5)
    defaults = torch.tensor(np.sort(random.random((30, 2, 2)), axis=1).reshape(30, 4), dtype=torch.float32)
    scores = torch.tensor(random.random((2, 30, 5)), dtype=torch.float32)
    at_once = postprocess_on_device(torch.zeros(2, 30, 4), scores, defaults, VARIANCES, Postprocess())
    monkeypatch.setattr("singleshot.ssd.detection_torch.PAIRS_AT_ONCE", 1)
    one_by_one = postprocess_on_device(torch.zeros(2, 30, 4), scores, defaults, VARIANCES, Postprocess())
    np.testing.assert_array_equal(caffe_rows(at_once), caffe_rows(one_by_one))


def test_shapes_that_do_not_fit_are_named():
    boxes, scores = np.zeros((3, 4), np.float32), np.zeros((3, 2), np.float32)
    for offsets, wrong in [(np.zeros((2, 4), np.float32), scores), (boxes, scores[:2])]:
        with pytest.raises(ModelError, match="3 default boxes"):
            postprocess(offsets, wrong, boxes, VARIANCES, Postprocess())
        with pytest.raises(ModelError, match="3 default boxes"):
            postprocess_on_device(
                torch.tensor(offsets)[None], torch.tensor(wrong)[None], torch.tensor(boxes), VARIANCES, Postprocess()
            )


def raw_detections(rows):
    table = np.array(rows, np.float32).reshape(-1, 6)
    return RawDetections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def test_caffes_rows_go_by_image_class_and_score():
    first = raw_detections([[0, 0, 1, 1, 0.9, 1], [0, 0, 0.5, 1, 0.8, 0], [0, 0, 0.25, 1, 0.7, 1]])
    rows = caffe_rows([first, raw_detections([]), raw_detections([[0, 0, 1, 1, 0.5, 2]])])
    np.testing.assert_allclose(rows[:, :3], [[0, 1, 0.8], [0, 2, 0.9], [0, 2, 0.7], [2, 3, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(rows[0, 3:], [0, 0, 0.5, 1])


def test_caffes_rows_where_nothing_was_found():
    np.testing.assert_array_equal(caffe_rows([raw_detections([])] * 2), [[0] + [-1] * 6, [1] + [-1] * 6])
    assert caffe_rows([]).shape == (0, 7)


def test_detections_are_pixels_inside_the_image():
    raw = raw_detections([[-0.5, 0.25, 0.5, 1.5, 0.9, 1], [0.1, 0.1, 0.2, 0.2, 0.8, 0]])
    detections = to_detections(raw, width=200, height=100, class_names=["cat", "dog"])
    np.testing.assert_allclose(detections.boxes, [[0, 25, 100, 100], [20, 10, 40, 20]], rtol=1e-6)
    assert detections.names == ["dog", "cat"]
    assert detections.boxes.dtype == np.float32
    assert len(to_detections(raw_detections([]), 200, 100, ["cat"])) == 0


@pytest.mark.parametrize("kind", [">f4", "f8", "f2"])
def test_default_boxes_of_any_kind_of_number_are_read_as_what_they_are(kind: str) -> None:
    generator = np.random.default_rng(0)
    offsets, scores = generator.normal(size=(50, 4)).astype(np.float32), generator.random((50, 3)).astype(np.float32)
    boxes = (generator.integers(0, 8, (50, 2, 2)) / 8).astype(np.float32)
    boxes = np.sort(boxes, axis=1).reshape(50, 4) + np.array([0, 0, 0.125, 0.125], np.float32)
    expected = postprocess(offsets, scores, boxes, VARIANCES, Postprocess())
    raw = postprocess(offsets, scores, boxes.astype(kind), VARIANCES, Postprocess())
    np.testing.assert_array_equal(raw.boxes_xyxy, expected.boxes_xyxy)
    assert len(raw)


def test_memory_follows_the_candidates_not_the_limit() -> None:
    boxes = np.array([[0.1, 0.1, 0.5, 0.5]], np.float32)
    arrays = (np.zeros((1, 4), np.float32), np.array([[0.1, 0.9]], np.float32), boxes)
    assert len(postprocess(*arrays, VARIANCES, Postprocess(keep_top_k=10**15))) == 1


@pytest.mark.parametrize("shape", [(), (3,), (8,), (4, 2), (1, 4)])
def test_variances_are_four_or_four_a_box(shape: tuple[int, ...]) -> None:
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.6, 0.6]], np.float32)
    with pytest.raises(ModelError, match="variances"):
        postprocess(np.zeros((2, 4)), np.full((2, 2), 0.5), boxes, np.full(shape, 0.1), Postprocess())


@EVERY
def test_each_default_box_has_its_own_variances(detect):
    """Row 2's variances are ten times as large; so is its shift."""
    boxes = np.array([[0.0, 0, 0.2, 0.2], [0.3, 0, 0.5, 0.2], [0.6, 0, 0.8, 0.2]], np.float32)
    offsets = np.array([[0.5, 0, 0, 0]] * 3, np.float32)
    scores = np.array([[0, 0.9], [0, 0.8], [0, 0.7]], np.float32)
    variances = np.array([[0.1] * 4, [0.1] * 4, [1.0] * 4], np.float32)
    if detect is on_device:
        variances = torch.tensor(variances)
    raw = detect(offsets, scores, boxes, variances, Postprocess())
    np.testing.assert_allclose(raw.boxes_xyxy[:, 0], [0.01, 0.31, 0.7], atol=1e-6)


@pytest.mark.parametrize("detect", [postprocess, in_numpy])
def test_boxes_of_certain_background_are_skipped_where_scores_sum_to_one(detect):
    """Their variances and default boxes are skipped with them."""
    random = np.random.default_rng(1)
    boxes = np.sort(random.random((60, 2, 2)), axis=1).reshape(60, 4).astype(np.float32)
    offsets, logits = random.normal(size=(60, 4)).astype(np.float32), random.normal(size=(60, 3))
    logits[::2, 0] += 20
    scores, variances = softmax(logits), random.random((60, 4)).astype(np.float32)
    every = detect(offsets, scores, boxes, variances, Postprocess())
    with mock.patch.object(module, "reference", wraps=module.reference) as reference:
        skipped = detect(offsets, scores, boxes, variances, Postprocess(), sums_to_one=True)
    assert all(len(call.args[0]) == 30 for call in reference.call_args_list)
    np.testing.assert_array_equal(skipped.boxes_xyxy, every.boxes_xyxy)
    assert len(skipped)
