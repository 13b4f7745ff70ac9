"""Advice where objects are too small for any default box: what would help, with the recall it would reach.

It is told before a run, for such a run learns little: an object without a default box of IoU 0.5 is matched to one that
hardly overlaps it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from singleshot.box_search.recall import DefaultBoxRecall, whole_percent
from singleshot.box_search.study import GOOD_RECALL
from singleshot.data.cropping import crop_set
from singleshot.data.whole_set import LabelledSet
from singleshot.spec import ModelSpec
from singleshot.tiles import SMALLEST, Tiling
from singleshot.types import Annotations

SMALL = 16.0
"""Pixels of the network's input: a cell of the finest source map of the light models."""
WANTED = 24.0
"""Pixels of the network's input that the advice makes the median small object."""
LARGEST_INPUT = 1600
"""Longest side of an input that is advised: beyond it, tiles cost less memory."""
MULTIPLE = 32
LEAST_GAIN = 0.02
"""Of recall, for a way to be worth a line."""
SAMPLE = 100
"""Images that the advice is measured on."""

MeasuredRecall = Callable[[ModelSpec, Annotations], DefaultBoxRecall]
"""Recall of a set by a detector's default boxes, once they are fitted to it."""


def advice_on_small_objects(
    spec: ModelSpec, train_set: Annotations, recall: DefaultBoxRecall, adapted: MeasuredRecall
) -> tuple[str, ...]:
    """Lines on what helps; none where every deciding class is fitted well, or what is not fitted is not small.

    Args:
        spec: the detector to train, with its chosen default boxes.
        train_set: the training set.
        recall: of the set by these boxes.
        adapted: gives the recall of default boxes that are fitted to another input size, or to other images.
    """
    lost = ~recall.matched
    if not lost.any() or recall.lowest >= GOOD_RECALL:
        return ()
    side = math.sqrt(math.prod(spec.input_size_hw)) * float(np.median(recall.ground_truth.sizes[lost]))
    if side >= SMALL:
        return ()
    sample = train_set.subset(np.linspace(0, len(train_set) - 1, min(len(train_set), SAMPLE)).astype(int).tolist())
    if not (sample.sizes_wh > 0).all():
        return ()
    width, height = spec.input_size_hw[::-1]
    lines = [
        f"small objects: {whole_percent(lost.mean())} of the objects have no default box of IoU >= "
        f"{recall.threshold:g}, and half of them are below {math.ceil(side)} pixels in the {width}x{height} input; "
        "what helps, by the recall that boxes fitted to it (--boxes adapt, or ssd boxes) reach:"
    ]
    ways = [
        (adapted(spec, sample).total, "other boxes alone"),
        *_larger_input(spec, sample, side, adapted),
        *_tiles(spec, sample, side, adapted),
    ]
    lines += [f"  {whole_percent(reached)} by {way}" for reached, way in ways if reached > recall.total + LEAST_GAIN]
    return tuple(lines) if len(lines) > 1 else ()


def _larger_input(
    spec: ModelSpec, sample: Annotations, side: float, adapted: MeasuredRecall
) -> Iterator[tuple[float, str]]:
    """An input of the images' shape in which the median small object has `WANTED` pixels."""
    wide, high = np.median(sample.sizes_wh, axis=0)
    factor = WANTED / side * math.sqrt(math.prod(spec.input_size_hw) / (wide * high))
    width, height = (max(1, round(length * factor / MULTIPLE)) * MULTIPLE for length in (wide, high))
    if max(width, height) <= LARGEST_INPUT:
        yield adapted(spec.with_input_size(height, width), sample).total, f"--input-size {width}x{height}"


def _tiles(spec: ModelSpec, sample: Annotations, side: float, adapted: MeasuredRecall) -> Iterator[tuple[float, str]]:
    """Tiles in which the median small object has `WANTED` pixels once they are the network's input."""
    wide, high = np.median(sample.sizes_wh, axis=0)
    tile = math.sqrt(wide * high) * side / WANTED
    size = max(SMALLEST, math.floor(tile / MULTIPLE) * MULTIPLE)
    if size < max(wide, high):
        labelled = LabelledSet(sample, tuple(sample.files), {})
        tiles = crop_set(labelled, Tiling(size), visible=0.5).data.annotations
        yield (
            adapted(spec, tiles).total,
            f"tiles to train on: ssd data crop DATA --tile {size}; then ssd detect --tile {size}",
        )
