"""What the data asks for: batch size, IoU threshold, how far crops scale, each with its reason.

Crops and expansion teach that an object may have any size. Where a microscope or a fixed camera gives each class one
size they teach what never occurs, and default boxes fit less well for it. A low IoU threshold lets boxes match that fit
badly, which is better than none; where good ones reach every class it does harm. And where images are crowded, half as
many give a step enough to learn from, and the run twice the steps. All three were chosen on bccd (docs/results.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from singleshot.augment.settings import BatchSampler
from singleshot.box_search.recall import IOU_THRESHOLD, DefaultBoxRecall, learnable
from singleshot.box_search.study import GOOD_RECALL
from singleshot.train.recipe import Recipe, with_values
from singleshot.types import Annotations

FEWEST_OBJECTS = 10
"""Objects that a class needs to tell how much its sizes differ."""
NARROW_SPREAD = 3.0
"""Classes whose sizes differ by less have one size, for the purpose of augmentation."""
CROWD, FEWEST_IMAGES = 100, 8
"""A batch that keeps this many objects may be halved, down to so many images."""
SMALLEST_BATCH, FEWEST_STEPS_AN_EPOCH = 4, 4
"""A batch holds at most a quarter of the images, but four."""


@dataclass(frozen=True)
class DataFacts:
    """What the settings depend on in a training set.

    Attributes:
        images: how many.
        objects: how many.
        box_recall: fraction of the objects that have a default box of IoU 0.5, in the class where it is least.
        size_spread: how much larger the large objects of a class are than the small; None where that is not known.
        omits_difficult: the authors leave difficult objects out of training on data of this format.
    """

    images: int
    objects: int
    box_recall: float = 0.0
    size_spread: float | None = None
    omits_difficult: bool = False


class Change(NamedTuple):
    """A value that the data asks for, and why."""

    name: str
    value: Any
    reason: str


def facts_of(train_set: Annotations, recall: DefaultBoxRecall) -> DataFacts:
    """What the settings depend on in this set, with the recall of the default boxes to train."""
    return DataFacts(
        images=len(train_set),
        objects=len(train_set.labels),
        box_recall=recall.lowest,
        size_spread=size_spread(train_set),
        omits_difficult=train_set.format in {"coco", "ilsvrc"},
    )


def adapt_recipe_to_data(
    recipe: Recipe, facts: DataFacts, *, fixed: Collection[str] = ()
) -> tuple[Recipe, list[Change]]:
    """The recipe with what the data asks for, and each change.

    Args:
        recipe: with the user's values.
        facts: of the training set.
        fixed: settings that the user gave; they stay.
    """
    changes = []
    for rule in (_difficult_objects, _iou_threshold, _crops, _expansion, _crowded_images, _small_set):
        for change in rule(recipe, facts):
            if change.name in fixed or (change.name == "augment.expand_probability" and EXPAND_RATIO in fixed):
                continue
            recipe = with_values(recipe, {change.name: change.value})
            changes.append(change)
    return recipe, changes


EXPAND_RATIO = "augment.max_expand_ratio"
"""Who gives it wants expansion."""


def _difficult_objects(recipe: Recipe, facts: DataFacts) -> Iterator[Change]:
    if facts.omits_difficult and recipe.augment.keep_difficult:
        yield Change("augment.keep_difficult", False, "the authors leave difficult objects out of data of this format")


def _iou_threshold(recipe: Recipe, facts: DataFacts) -> Iterator[Change]:
    if recipe.adapt_to_data and recipe.iou_threshold < IOU_THRESHOLD and facts.box_recall >= GOOD_RECALL:
        yield Change("iou_threshold", IOU_THRESHOLD, f"{GOOD_RECALL:.0%} of every class have a default box of that IoU")


def _crops(recipe: Recipe, facts: DataFacts) -> Iterator[Change]:
    spread = facts.size_spread
    if recipe.adapt_to_data and spread is not None and spread < NARROW_SPREAD:
        reason = f"objects of a class differ in size by a factor of {spread:.1f}"
        yield Change("augment.samplers", narrowed(recipe.augment.samplers, spread), reason)


def _expansion(recipe: Recipe, facts: DataFacts) -> Iterator[Change]:
    if recipe.adapt_to_data and facts.size_spread is not None and facts.size_spread < NARROW_SPREAD:
        reason = f"objects of a class differ in size by a factor of {facts.size_spread:.1f}"
        yield Change("augment.expand_probability", 0.0, reason)


def _crowded_images(recipe: Recipe, facts: DataFacts) -> Iterator[Change]:
    half, objects = recipe.batch_size // 2, facts.objects / max(1, facts.images)
    if recipe.adapt_to_data and half >= FEWEST_IMAGES and half * objects >= CROWD and half % recipe.accumulate == 0:
        yield Change("batch_size", half, f"crowded images, of some {objects:.0f} objects each")


def _small_set(recipe: Recipe, facts: DataFacts) -> Iterator[Change]:
    most = max(SMALLEST_BATCH, facts.images // FEWEST_STEPS_AN_EPOCH)
    if recipe.accumulate == 1 and most < recipe.batch_size:
        yield Change("batch_size", most, f"the set has {facts.images} images")


def size_spread(annotations: Annotations) -> float | None:
    """How much larger the large objects of a class are than the small: the ninth decile of their sides by the first.

    Of several classes the median; None where no class has `FEWEST_OBJECTS` objects.
    """
    ground_truth = learnable(annotations)
    spreads = []
    for label in np.unique(ground_truth.labels):
        sizes = ground_truth.sizes[ground_truth.labels == label]
        if len(sizes) >= FEWEST_OBJECTS:
            small, large = np.quantile(sizes, [0.1, 0.9])
            spreads.append(large / small)
    return float(np.median(spreads)) if spreads else None


def narrowed(samplers: tuple[BatchSampler, ...], spread: float) -> tuple[BatchSampler, ...]:
    """Samplers whose crops enlarge by no more than the largest size lies from the middle one."""
    least = 1 / math.sqrt(spread)
    return tuple(
        replace(sampler, min_scale=max(sampler.min_scale, min(sampler.max_scale, least))) for sampler in samplers
    )
