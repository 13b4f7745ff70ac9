from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from evaluation_examples import annotations, detections
from singleshot.errors import UnknownNameError
from singleshot.evaluate.compare import PROTOCOLS, ResampledEvaluation, compare
from singleshot.evaluate.protocols import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from singleshot.types import Annotations, Detections


def random_set(seed: int, images: int = 12) -> tuple[list[list[tuple[float, float, float, float, int]]], list[bool]]:
    generator = np.random.default_rng(seed)
    ground_truth = []
    for _ in range(images):
        corners = generator.uniform(0, 100, (int(generator.integers(0, 5)), 2))
        labels = generator.integers(0, 2, len(corners))
        ground_truth.append([(x, y, x + 40, y + 40, int(label)) for (x, y), label in zip(corners, labels, strict=True)])
    return ground_truth, [bool(flag) for flag in generator.random(sum(map(len, ground_truth))) < 0.2]


def random_detections(
    ground_truth: Sequence[Sequence[tuple[float, float, float, float, int]]], seed: int, noise: float
) -> list[Detections]:
    generator = np.random.default_rng(seed)
    detected = []
    for image in ground_truth:
        rows = []
        for left, top, right, bottom, label in [*image, (60, 60, 90, 90, 0)]:
            dx, dy = generator.normal(0, noise, 2)
            rows.append((left + dx, top + dy, right + dx, bottom + dy, label, float(generator.random())))
        detected.append(detections(rows))
    return detected


def repeated(
    ground_truth: Sequence[Sequence[tuple[float, float, float, float, int]]],
    difficult: Sequence[bool],
    times: Sequence[int],
) -> Annotations:
    flags = iter(difficult)
    of_images = [[next(flags) for _ in image] for image in ground_truth]
    rows = [image for image, count in zip(ground_truth, times, strict=True) for _ in range(count)]
    marks = [flag for each, count in zip(of_images, times, strict=True) for _ in range(count) for flag in each]
    return annotations(rows, difficult=marks)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(6))
def test_weights_are_as_good_as_repeated_images(seed: int, protocol: str) -> None:
    ground_truth, difficult = random_set(seed)
    detected = random_detections(ground_truth, seed, noise=8)
    times = np.random.default_rng(seed).integers(0, 4, len(ground_truth))
    expected = evaluate(
        repeated(ground_truth, difficult, times.tolist()),
        [each for each, count in zip(detected, times, strict=True) for _ in range(count)],
        protocol,
    )
    resampled = ResampledEvaluation.of(annotations(ground_truth, difficult=difficult), detected, protocol)
    assert resampled.mean_ap(times) == pytest.approx(expected.mean_ap, abs=1e-6)


def test_a_model_does_not_differ_from_itself() -> None:
    ground_truth, difficult = random_set(1)
    detected = random_detections(ground_truth, 1, noise=10)
    result = compare(annotations(ground_truth, difficult=difficult), detected, detected, resamples=50)
    assert (result.difference, result.low, result.high) == (0, 0, 0)
    assert "no difference that these images show" in str(result)


def test_a_much_better_model_is_better_and_the_other_worse() -> None:
    ground_truth, _ = random_set(2, images=60)
    data = annotations(ground_truth)
    good, bad = random_detections(ground_truth, 3, noise=1), random_detections(ground_truth, 4, noise=25)
    better, worse = compare(data, good, bad, resamples=200), compare(data, bad, good, resamples=200)
    assert 0 < better.low < better.difference < better.high
    assert str(better).endswith("better")
    assert str(worse).endswith("worse")
    assert (worse.low, worse.high) == pytest.approx((-better.high, -better.low))


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    """Two equally noisy models, many sets: nineteen of twenty intervals hold 0, give or take."""
    holds = []
    for seed in range(60):
        ground_truth, _ = random_set(seed, images=40)
        pair = [random_detections(ground_truth, 2 * seed + which, noise=12) for which in (0, 1)]
        result = compare(annotations(ground_truth), *pair, resamples=200)
        holds.append(result.low <= 0 <= result.high)
    assert sum(holds) >= 50


def test_the_same_seed_gives_the_same_interval() -> None:
    ground_truth, _ = random_set(5)
    pair = random_detections(ground_truth, 1, noise=5), random_detections(ground_truth, 2, noise=9)
    results = [compare(annotations(ground_truth), *pair, resamples=50, seed=seed) for seed in (3, 3, 4)]
    assert results[0] == results[1] != results[2]


def test_a_set_without_ground_truth_has_nothing_to_tell_apart() -> None:
    detected = [detections([(1, 1, 9, 9, 0, 0.5)])]
    assert compare(annotations([[]]), detected, detected, resamples=5).mean_ap == 0


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="coco"):
        compare(annotations([[]]), [], [], protocol="coc")


def test_json_holds_plain_values() -> None:
    ground_truth, _ = random_set(6)
    detected = random_detections(ground_truth, 1, noise=5)
    document = compare(annotations(ground_truth), detected, detected, resamples=5).to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["interval"] == [0, 0]
