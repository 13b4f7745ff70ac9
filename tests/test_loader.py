from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from singleshot.augment.pipeline import CaffeAugmentation
from singleshot.augment.settings import AugmentSettings
from singleshot.data.loader import BatchSampler, TrainingDataset, batches, collate, training_loader
from singleshot.errors import DataError
from singleshot.types import Annotations, Sample

if TYPE_CHECKING:
    from pathlib import Path


def make_set(folder: Path, images: int = 5) -> Annotations:
    """Images of noise; image i holds i boxes."""
    generator = np.random.default_rng(0)
    for i in range(images):
        pixels = generator.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    counts = np.arange(images)
    total = int(counts.sum())
    corner = generator.uniform(0, 20, (total, 2))
    return Annotations(
        format="csv",
        root=folder,
        files=tuple(f"{i}.png" for i in range(images)),
        ids=tuple(str(i) for i in range(images)),
        class_names=("a", "b"),
        category_ids=(1, 2),
        sizes_wh=np.full((images, 2), (60, 40), np.int32),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes_xyxy=np.concatenate([corner, corner + 15], axis=1).astype(np.float32),
        labels=np.arange(total, dtype=np.int64) % 2,
        difficult=np.zeros(total, bool),
        crowd=np.zeros(total, bool),
        areas=np.full(total, 225, np.float32),
    )


def training_set(folder: Path, seed: int = 0) -> TrainingDataset:
    return TrainingDataset(make_set(folder), CaffeAugmentation((32, 32), (123, 117, 104), AugmentSettings()), seed=seed)


def test_every_image_is_visited_once_an_epoch_across_batches() -> None:
    visits = [
        visit for step in BatchSampler(images=5, batch_size=3, seed=1, first_step=0, last_step=10) for visit in step
    ]
    assert Counter(visits) == {(epoch, image): 1 for epoch in range(6) for image in range(5)}


def test_order_from_a_later_step_is_the_rest_of_the_order() -> None:
    whole = list(BatchSampler(7, 4, 3, 0, 12))
    assert list(BatchSampler(7, 4, 3, 5, 12)) == whole[5:]


def test_a_batch_larger_than_the_set_repeats_images() -> None:
    (step,) = BatchSampler(2, 5, 0, 0, 1)
    assert [epoch for epoch, _ in step] == [0, 0, 1, 1, 2]


def test_epochs_and_seeds_differ() -> None:
    first, second = ([p for _, p in step] for step in BatchSampler(50, 50, 0, 0, 2))
    (other,) = BatchSampler(50, 50, 1, 0, 1)
    assert first != second
    assert first != [p for _, p in other]


def test_collate_pads_and_numbers_classes_from_one() -> None:
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    two = Sample(pixels, np.full((2, 4), 0.5, np.float32), np.array([0, 1]), np.zeros(2, bool))
    batch = collate([(Sample(pixels, *empty), "none.png"), (two, "two.png")])
    assert batch.images.shape == (2, 3, 2, 3)
    assert torch.equal(batch.images[1, :, 1, 2], torch.tensor([15, 16, 17], dtype=torch.uint8))
    assert batch.classes.tolist() == [[0, 0], [1, 2]]
    assert batch.boxes_xyxy.shape == (2, 2, 4)
    assert batch.names == ("none.png", "two.png")


def test_collate_keeps_one_row_when_no_image_has_an_object() -> None:
    sample = Sample(
        np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    )
    assert collate([(sample, "x")]).classes.tolist() == [[0]]


def test_workers_and_restarts_change_nothing(tmp_path: Path) -> None:
    samples = training_set(tmp_path)
    order = BatchSampler(5, 2, 0, 0, 4)
    alone = list(training_loader(samples, order, workers=0))
    helped = list(batches(samples, order, workers=2))
    late = list(training_loader(samples, BatchSampler(5, 2, 0, 2, 4), workers=0))
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.boxes_xyxy, other.boxes_xyxy)
        assert one.names == other.names
    assert torch.equal(alone[2].images, late[0].images)


def test_the_same_image_differs_between_epochs(tmp_path: Path) -> None:
    samples = training_set(tmp_path)
    (first, _), (again, _), (later, _) = samples[(0, 4)], samples[(0, 4)], samples[(1, 4)]
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, later.image)


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    samples = TrainingDataset(make_set(tmp_path, 0), lambda sample, _generator: sample, seed=0)
    with pytest.raises(DataError, match="no images"):
        training_loader(samples, BatchSampler(1, 1, 0, 0, 1), workers=0)
