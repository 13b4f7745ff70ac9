"""What a recipe takes from the data: how far images are scaled, which boxes learn, how large an update is.

Crops and expansion teach that an object may have any size. Where a microscope or a fixed camera gives each class one
size they teach what never occurs, and boxes fit less well for it. A low overlap lets boxes learn that fit badly, which
is better than none; where good ones cover every class they spoil it. And where images are crowded, half as many give
an update enough to learn from, and the run twice the updates. All three were chosen on bccd (docs/results.md).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from singleshot.augment.settings import AugmentSettings
from singleshot.box_search.recall import IOU_THRESHOLD, DefaultBoxRecall, learnable
from singleshot.box_search.study import GOOD_RECALL
from singleshot.train.recipe import Recipe
from singleshot.types import Annotations

FEWEST = 10
"""Objects that a class needs to tell how much its sizes differ."""
NARROW = 3.0
"""Classes whose sizes differ by less have one size, for the purpose of augmentation."""
CROWD, LEAST_IMAGES = 100, 8
"""An update that keeps this many objects may be halved, down to so many images."""


def fitted(
    recipe: Recipe, train_set: Annotations, recall: DefaultBoxRecall, *, given: Collection[str] = ()
) -> tuple[Recipe, list[str]]:
    """The recipe with what the data asks for, and a line on each change.

    Args:
        recipe: as it stands.
        train_set: what is learnt.
        recall: of it by the default boxes that learn.
        given: settings that the user chose, which stay.
    """
    notes = []
    if "iou_threshold" not in given and recipe.iou_threshold < IOU_THRESHOLD and recall.lowest >= GOOD_RECALL:
        notes.append(
            f"default boxes learn from an overlap of {IOU_THRESHOLD}, not {recipe.iou_threshold}: so much have "
            f"{GOOD_RECALL:.0%} of every class"
        )
        recipe = replace(recipe, iou_threshold=IOU_THRESHOLD)
    spread = size_spread(train_set)
    if spread is not None and spread < NARROW:
        expands = bool({"augment.expand_probability", "augment.max_expand_ratio"} & set(given))
        notes.append(
            f"objects of a class differ in size by a factor of {spread:.1f}: crops enlarge by at most "
            f"{math.sqrt(spread):.2f}" + ("" if expands else ", and no image is expanded")
        )
        recipe = replace(recipe, augment=narrowed(recipe.augment, spread, expands=expands))
    half, objects = recipe.batch_size // 2, len(train_set.labels) / max(1, len(train_set))
    if "batch_size" not in given and half >= LEAST_IMAGES and half * objects >= CROWD:
        notes.append(
            f"{half} images an update, not {recipe.batch_size}, as each holds some {objects:.0f} objects "
            "(--batch-size decides)"
        )
        recipe = replace(recipe, batch_size=half)
    return recipe, notes


def size_spread(annotations: Annotations) -> float | None:
    """How much larger the large objects of a class are than the small: the ninth decile of their sides by the first.

    Of several classes the median; None where no class has `FEWEST` objects.
    """
    ground_truth = learnable(annotations)
    spreads = []
    for label in np.unique(ground_truth.labels):
        sizes = ground_truth.sizes[ground_truth.labels == label]
        if len(sizes) >= FEWEST:
            small, large = np.quantile(sizes, [0.1, 0.9])
            spreads.append(large / small)
    return float(np.median(spreads)) if spreads else None


def narrowed(settings: AugmentSettings, spread: float, *, expands: bool) -> AugmentSettings:
    """The settings with crops that enlarge by no more than sizes lie from their middle, and, if so, no expansion."""
    least = 1 / math.sqrt(spread)
    samplers = tuple(replace(one, min_scale=max(one.min_scale, min(one.max_scale, least))) for one in settings.samplers)
    return replace(settings, samplers=samplers, expand_probability=settings.expand_probability if expands else 0.0)
