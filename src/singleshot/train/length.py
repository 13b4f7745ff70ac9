"""How long a run is: when it validates, and how it ends early where its validations bring nothing more.

The mean of the last three validations (of the EMA weights, where there are some) is the curve to judge by. Where it
has not risen by half a point of mAP for a quarter of the run, the rest of the schedule is cut short: the learning rate
falls from where it is to 0 within an eighth of the run, which brings what its fall brings, and the run ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from singleshot.train.optimizer import learning_rate
from singleshot.train.recipe import Recipe

SMOOTHED = 3
"""Validations whose mean is a point of the curve."""
LEAST_GAIN = 0.005
"""Of a figure of 0..1; less is none."""
FLAT_SHARE, FEWEST_FLAT = 4, 8
"""The curve is flat for a quarter of the run's validations, but for eight at least."""
NOT_BEFORE = 0.4
"""Of the run: earlier, the curve is no guide to what a high learning rate still brings."""
LEAST_FIGURE = 0.05
"""What has learnt less has not begun to learn, and may yet."""
TAIL_SHARE = 8
"""The learning rate falls to 0 within an eighth of the run."""


@dataclass(frozen=True)
class Length:
    """The steps of a run, and those after which it validates.

    Attributes:
        steps: of the whole run, as planned.
        validate_every: steps between two validations; None without a validation set.
        tail_from: steps done when the learning rate began to fall to 0, because the run ends early; else None.
    """

    steps: int
    validate_every: int | None = None
    tail_from: int | None = None

    @property
    def tail_steps(self) -> int:
        """Over so many steps the learning rate falls to 0 where a run ends early."""
        return max(1, self.steps // TAIL_SHARE)

    @property
    def last_step(self) -> int:
        """The run is over when so many steps are done."""
        return self.steps if self.tail_from is None else min(self.steps, self.tail_from + self.tail_steps)

    def learning_rate(self, step: int, recipe: Recipe) -> float:
        """The learning rate of a step (from 0): the recipe's, and half a cosine from there to 0 where it ends early."""
        if self.tail_from is None or step < self.tail_from:
            return learning_rate(step, self.steps, recipe)
        fraction = (step - self.tail_from) / self.tail_steps
        return learning_rate(self.tail_from, self.steps, recipe) * 0.5 * (1 + math.cos(math.pi * fraction))

    def validates_after(self, step: int) -> bool:
        """Whether to validate after this step: regularly, but not just before the last, and after the last."""
        if self.validate_every is None:
            return False
        regular = step % self.validate_every == 0 and step < self.last_step - self.validate_every // 2
        return step == self.last_step or regular

    def validations_after(self, step: int) -> int:
        """How many validations are left after this step: one by one `validates_after`, without asking each."""
        if self.validate_every is None:
            return 0
        every, last = self.validate_every, self.last_step
        regular = (last - every // 2 - 1) // every - step // every
        return max(0, regular) + int(step < last)

    def flat_since(self, validations: Sequence[tuple[int, float]]) -> int | None:
        """The step since which the curve has been flat, where the run had better end; else None.

        Args:
            validations: of the run so far: the steps done, and the figure of 0..1.
        """
        figures = [figure for _, figure in validations]
        curve = [sum(figures[end - SMOOTHED : end]) / SMOOTHED for end in range(SMOOTHED, len(figures) + 1)]
        window = max(FEWEST_FLAT, -(-self.validations_after(0) // FLAT_SHARE))
        if self.tail_from is not None or len(curve) <= window or max(curve) < LEAST_FIGURE:
            return None
        done = validations[-1][0]
        saves_time = self.steps - done >= 2 * self.tail_steps
        if not saves_time or done < NOT_BEFORE * self.steps:
            return None
        if max(curve[-window:]) - max(curve[:-window]) >= LEAST_GAIN:
            return None
        first = next(place for place, point in enumerate(curve) if point > max(curve) - LEAST_GAIN)
        return validations[first + SMOOTHED - 1][0]
