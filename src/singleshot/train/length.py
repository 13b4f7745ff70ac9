"""How long a run is, and how large its updates are: as the user says, else as the size of the set asks for."""

from __future__ import annotations

import math
from dataclasses import replace

from singleshot.errors import RequestError
from singleshot.train.options import TrainOptions
from singleshot.train.recipe import Recipe

DEFAULT_EPOCHS, MOST_EPOCHS, LEAST_UPDATES = 30, 200, 1000
"""A run has 30 epochs; of a small set so many, at most 200, that there are a thousand updates."""
MOST = 10**9
"""Updates or epochs."""


def length(options: TrainOptions, recipe: Recipe, images: int) -> tuple[Recipe, int, list[str]]:
    """Updates of the run, and what was chosen differently because the set is small."""
    if options.iterations is not None and options.epochs is not None:
        raise RequestError("give --epochs or --iterations, not both")
    reasons = []
    few = max(4, images // 4)
    if options.batch_size is None and recipe.accumulate == 1 and few < recipe.batch_size:
        reasons.append(f"{few} images an update, not {recipe.batch_size}: the set has {images} (--batch-size decides)")
        recipe = replace(recipe, batch_size=few)
    steps = options.iterations
    if steps is None:
        epochs = options.epochs
        if epochs is None:
            wanted = math.ceil(LEAST_UPDATES * recipe.batch_size / images)
            epochs = min(max(DEFAULT_EPOCHS, wanted), MOST_EPOCHS)
            if epochs > DEFAULT_EPOCHS:
                reasons.append(
                    f"{epochs} epochs, not the usual {DEFAULT_EPOCHS}, which would be only "
                    f"{math.ceil(DEFAULT_EPOCHS * images / recipe.batch_size)} updates on {images} images "
                    "(--epochs decides)"
                )
        if not 0 < epochs <= MOST:
            raise RequestError(f"--epochs is a number above 0, at most {MOST:,}, got {epochs:g}")
        steps = math.ceil(epochs * images / recipe.batch_size)
    if not 1 <= steps <= MOST:
        raise RequestError(f"a run needs from one to {MOST:,} updates, got {steps:,}: see --epochs and --iterations")
    return recipe, steps, reasons
